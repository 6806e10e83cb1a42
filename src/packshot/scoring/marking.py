"""What copies change in the verdicts of a batch: the columns that name them, the finding, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from packshot.catalog.same_picture import Look
from packshot.scoring.checks import with_copy
from packshot.scoring.decisions import FORCED, SHOWN, reasons_of
from packshot.scoring.duplicates import Candidate, KnownPictures, Standing, Worth
from packshot.scoring.faults import not_shown
from packshot.scoring.rules import Finding, findings
from packshot.scoring.rules.copies import ELSEWHERE, EXACT, NEAR
from packshot.scoring.rules.findings import Profile

Rows = Sequence[Mapping[str, Any]]

DAMAGE = ("blur", "noise", "compression", "clipped")
"""Rules that tell of damage: of two copies of one size the one that breaks fewer is shown."""
CHANGED = (
    *("findings", "measures", "duplicate_of", "same_as", "displaces", "decision", "reasons"),
    *("enhanced_path", "enhanced_id", "faults"),
)
_ENTERED = (
    *("path", "image_id", "sku", "hashes", "thumbnail", "width", "height"),
    *("decision", "findings", "quality", "quality_after", "error"),
)


def looked_for(profile: Profile) -> bool:
    """Whether copies are looked for at all: with neither rule in the profile they are not."""
    return EXACT in profile or NEAR in profile


def enter_rows(table: pa.Table, known: KnownPictures, profile: Profile) -> None:
    """Take the judged rows of a shard in among the known pictures; those that could not be judged are no pictures."""
    most = min(profile[NEAR].threshold, 1.0) if NEAR in profile else 0.0
    for row in table.select(_ENTERED).to_pylist():
        if _judged(row):
            known.enter(_candidate(row), most)


def mark_copies(table: pa.Table, known: KnownPictures, profile: Profile) -> pa.Table:
    """The rows of a shard with what their copies make of them, once all rows of the batch are entered."""
    rows = table.select(["path", "error", "hashes", *CHANGED]).to_pylist()
    marked = [_marked(row, known, profile) if _judged(row) else row for row in rows]
    for name in CHANGED:
        place = table.schema.get_field_index(name)
        column = pa.array([row[name] for row in marked], type=table.schema.field(name).type)
        table = table.set_column(place, table.schema.field(name), column)
    place = table.schema.get_field_index("checks")
    return table.set_column(place, table.schema.field(place), _checked(table["checks"], rows, marked))


def _checked(checks: pa.ChunkedArray, rows: Rows, marked: Rows) -> pa.Array:
    """The checks of the rows of a shard; only those of pictures with copies are taken apart."""
    order = list(range(len(rows)))
    fresh: list[list[dict[str, Any]]] = []
    for place, (row, after) in enumerate(zip(rows, marked, strict=True)):
        found = [one for one in after["findings"] or () if one["rule"] in (EXACT, NEAR)]
        before = checks[place].as_py() if found else None
        if before is None:
            continue
        withdrawn = row["enhanced_path"] is not None and after["enhanced_path"] is None
        order[place] = len(rows) + len(fresh)
        fresh.append(with_copy(before, Finding(**found[0]), withdrawn))
    told = pa.array(fresh, type=checks.type)
    return pa.chunked_array([*checks.chunks, told], type=checks.type).take(pa.array(order, pa.int64())).combine_chunks()


def _judged(row: Mapping[str, Any]) -> bool:
    return row["error"] is None and row["hashes"] is not None


def _candidate(row: Mapping[str, Any]) -> Candidate:
    mended = row["decision"] == "enhance"
    quality = row["quality_after"] if mended and row["quality_after"] is not None else row["quality"]
    damage = sum(finding["rule"] in DAMAGE for finding in row["findings"] or ())
    look = Look(row["hashes"], row["thumbnail"], min(row["width"], row["height"]))
    worth = Worth(row["width"] * row["height"], mended, damage, quality)
    return Candidate(row["path"], row["image_id"], row["sku"] or None, look, row["decision"] in SHOWN, worth)


def _marked(row: dict[str, Any], known: KnownPictures, profile: Profile) -> dict[str, Any]:
    standing = known.standing(row["path"])
    columns = {"duplicate_of": standing.copy_of, "same_as": standing.same_as, "displaces": list(standing.displaces)}
    marked = row | columns | _told(row, standing, profile)
    known.settle(row["path"], standing, marked["decision"] in SHOWN)
    return marked


def _told(row: Mapping[str, Any], standing: Standing, profile: Profile) -> dict[str, Any]:
    """The finding; a picture of another SKU, or of none, is no more than a note, whatever the profile asks for."""
    if standing.copy_of is None and standing.same_as is None:
        return {}
    rule, value = (EXACT, 1.0) if standing.difference is None else (NEAR, standing.difference)
    if rule not in profile:
        return {}
    measures = dict(row["measures"]) | {rule: value}
    displaced = standing.copy_of is not None
    bound = profile[rule] if displaced else profile[rule].model_copy(update={"effect": "note"})
    broken = findings(measures, {**profile, rule: bound})
    if not displaced:
        broken = tuple(replace(one, sentence=ELSEWHERE) if one.rule == rule else one for one in broken)
    leading = reasons_of(broken)
    columns: dict[str, Any] = {
        "measures": list(measures.items()),
        "findings": [asdict(one) for one in broken],
        "reasons": [*leading, *(reason for reason in row["reasons"] if reason not in leading)],
    }
    effect = bound.effect
    if displaced and effect in FORCED and row["decision"] not in FORCED[: FORCED.index(effect) + 1]:
        reasons, faults = not_shown(columns["reasons"], row["faults"])
        columns |= {"decision": effect, "enhanced_path": None, "enhanced_id": None}
        columns |= {"reasons": reasons, "faults": faults}
    return columns
