"""The verdict on a picture as a contract: what command, Parquet file, Python call and service give, in one typed shape.

`docs/verdict.schema.json` is made of `Verdict` (`packshot verdict-schema --write`). Within a major version fields are
added and none is renamed or removed, so a reader ignores those it does not know. Nothing here needs a model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from packshot.errors import PackshotError

SCHEMA_VERSION = "1.1"
"""MAJOR.MINOR of the shape below."""
SCHEMA_FILE = "docs/verdict.schema.json"

Kind = Literal["rule", "score", "fault"]
Status = Literal["passed", "failed", "not_checked"]
Severity = Literal["reject", "review", "enhance", "note"]
Bound = Literal["least", "most"]
Done = Literal["fixed", "improved", "not_fixed", "not_tried"]
Unit = Annotated[float, Field(ge=0, le=1)]


class SchemaUnknown(PackshotError):
    """A verdict is of another major version of the schema than this program knows."""

    exit_code = 65


class Part(BaseModel):
    """Frozen; numbers are finite."""

    model_config = ConfigDict(
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )


class Where(Part):
    """A box in the picture: shares of its width from the left and of its height from the top, 0..1."""

    x0: Unit
    y0: Unit
    x1: Unit
    y1: Unit

    @model_validator(mode="after")
    def _has_an_inside(self) -> Self:
        if self.x0 > self.x1 or self.y0 > self.y1:
            raise ValueError(f"a box runs from left to right and from top to bottom, not {self}")
        return self


class Check(Part):
    """One thing that a picture was asked."""

    kind: Kind
    """A rule of the catalogue's profile, a bound on a score, or a fault that the model tells."""
    rule: str
    """Its name; unique among the checks of its kind. That of a failed one stands as code in `reasons` or `findings`."""
    status: Status
    why: str | None = None
    """Of `not_checked`: why."""
    severity: Severity | None = None
    """What a failure leads to by itself: back to the seller, to a person, to an attempt at enhancing, or nothing but a
    note. Null where the verdict does not say."""
    measured: float | None = None
    required: float | None = None
    """The least or the most that passes, as `bound` says; in `unit`, as `measured` is."""
    bound: Bound | None = None
    unit: str | None = None
    probability: Unit | None = None
    """Of a fault: how likely it is there."""
    where: Where | None = None
    advice: str | None = None
    """Of `failed`: what to do, for the seller."""
    done: Done | None = None
    """Of `failed`: the enhanced picture, which is shown in its place, passes; it fails by less; enhancing was tried and
    did not mend it; or nothing was tried. Null where the verdict does not say."""

    @model_validator(mode="after")
    def _says_why_not(self) -> Self:
        if (self.status == "not_checked") != (self.why is not None):
            raise ValueError(f"{self.rule} is {self.status}: `why` belongs to what was not checked, and to that alone")
        return self


class Verdict(Part):
    """What was found in one picture, what was decided, and by which model."""

    schema_version: str = SCHEMA_VERSION
    batch_id: str | None = None
    path: str
    """Relative to the folder that was scored."""
    image_id: str | None = None
    """sha256 of the file."""
    sku: str | None = None
    title: str | None = None
    sender: str | None = None
    category: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    decision: Literal["accept", "enhance", "review", "reject"]
    reasons: tuple[str, ...] = ()
    """`code: figure and bound`, the heaviest first."""
    quality: Unit | None = None
    """The overall score; null, as the other scores, where the picture could not be judged."""
    quality_low: float | None = None
    """Ends of its 90 % interval."""
    quality_high: float | None = None
    scale: str | None = None
    """The shop's own scale that the score and its interval are on."""
    judged_quality: Unit | None = None
    """The score before that scale; null without one."""
    judged_low: float | None = None
    judged_high: float | None = None
    sharpness: Unit | None = None
    colour_balance: Unit | None = None
    detail: Unit | None = None
    style: str | None = None
    style_reason: str | None = None
    """`code: sentence`: why there is no style, where the model knows some."""
    style_confidence: float | None = None
    notes: tuple[str, ...] = ()
    """What is odd beside the pixels."""
    profile: str | None = None
    """The catalogue rules in force."""
    checks: tuple[Check, ...] = ()
    duplicate_of: str | None = None
    same_as: str | None = None
    displaces: tuple[str, ...] = ()
    enhanced_path: str | None = None
    """Relative to the folder of the verdicts; the picture to show in place of `path`."""
    enhanced_id: str | None = None
    """sha256 of that file."""
    quality_after: float | None = None
    error: str | None = None
    """`code: sentence`: why the picture could not be judged."""
    model_name: str | None = None
    model_version: int | None = None
    run_id: str | None = None
    data_rev: str | None = None
    code_rev: str | None = None
    params_hash: str | None = None
    scored_at: datetime | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Verdict:
        """The verdict in a row of `verdicts.parquet`, also of one written before there were checks: those are then told
        from `findings`, `measures` and `reasons`. Raises SchemaUnknown."""
        version = row.get("schema_version") or SCHEMA_VERSION
        if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            raise SchemaUnknown(
                f"{row['path']}: the verdict is of schema {version}, this program reads {SCHEMA_VERSION}; "
                "read it with the Packshot that wrote it, or score the picture again"
            )
        known = {name: _finite(row[name]) for name in cls.model_fields if row.get(name) is not None}
        known["schema_version"] = SCHEMA_VERSION
        if row.get("checks") is None:
            known["checks"] = tuple(checks_told(row))
        return cls.model_validate(known)

    def failed(self) -> Iterator[Check]:
        """The checks that the picture fails, in order."""
        return (check for check in self.checks if check.status == "failed")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


SCORED = {
    "low_quality": "quality",
    "low_sharpness": "sharpness",
    "low_colour_balance": "colour_balance",
    "low_detail": "detail",
}
"""Checks of scores, by the code of the reason that a failure gives, with the column they look at."""
UNCERTAIN = "uncertain"
"""The check of the interval's width."""
SCORE_UNIT = "score, 0 to 1"


def checks_told(row: Mapping[str, Any]) -> Iterator[Check]:
    """The checks of a verdict that was written without them."""
    yield from _rules_told(row)
    codes = {reason.split(":", 1)[0] for reason in row.get("reasons") or ()}
    for code, name in SCORED.items():
        value = _finite(row.get(name))
        if value is None:
            why = row.get("error") or "the judge gave no score"
            yield Check(kind="score", rule=code, status="not_checked", why=why, bound="least", unit=SCORE_UNIT)
        else:
            status: Status = "failed" if code in codes else "passed"
            yield Check(kind="score", rule=code, status=status, measured=value, bound="least", unit=SCORE_UNIT)


def _rules_told(row: Mapping[str, Any]) -> Iterator[Check]:
    broken = {finding["rule"]: finding for finding in row.get("findings") or ()}
    measures = dict(row.get("measures") or ())
    if not broken and not measures:
        why = row.get("error") or "the verdict was written without the catalogue rules"
        yield Check(kind="rule", rule="catalogue_rules", status="not_checked", why=why)
    for name in dict.fromkeys((*broken, *measures)):
        if name not in broken:
            yield Check(kind="rule", rule=name, status="passed", measured=_finite(measures[name]))
            continue
        found = broken[name]
        yield Check(
            kind="rule",
            rule=name,
            status="failed",
            severity=found["effect"],
            measured=_finite(found["value"]),
            required=_finite(found["threshold"]),
            bound="least" if found["value"] < found["threshold"] else "most",
            where=box(found.get("where")),
            advice=found["sentence"],
        )


def box(corners: Any) -> Where | None:
    """From (x0, y0, x1, y1), brought into the picture; None of None."""
    if corners is None:
        return None
    x0, y0, x1, y1 = (min(max(float(value), 0.0), 1.0) for value in corners)
    return Where(x0=x0, y0=y0, x1=x1, y1=y1)


def json_schema() -> str:
    """The JSON Schema of a verdict, as it stands in SCHEMA_FILE."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "x-schema-version": SCHEMA_VERSION}
    schema = Verdict.model_json_schema(mode="serialization")
    return json.dumps(head | schema, indent=1, ensure_ascii=False) + "\n"
