"""The checks of a verdict: every rule of a profile, bound on a score and fault, and how the picture stood it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from packshot.config import RuleBound, ScoringSettings
from packshot.faults.kinds import KINDS
from packshot.scoring.contract import SCORE_UNIT, SCORED, UNCERTAIN, Check, Done, Severity, box
from packshot.scoring.decisions import Enhanced
from packshot.scoring.faults import KEPT
from packshot.scoring.rules import RULES, Finding, Picture, findings, profile_in_force
from packshot.scoring.rules.copies import EXACT, NEAR
from packshot.scoring.rules.findings import Profile

COPIES = (EXACT, NEAR)
"""Rules that a picture passes unless a copy of it is met."""
FRAME = ("longest_side", "shortest_side", "megapixels", "aspect", "format")
"""Rules that ask nothing but width, height and format."""
NOT_A_NUMBER = "its value is not a number"
NOT_ASKED = {
    "status": "not_checked",
    "why": "the faults that the model tells decide, not how wide the interval is",
    "severity": "note",
    "advice": None,
    "done": None,
}
"""Of the interval's width, where faults decide."""
FIX = {
    "low_quality": "Take the picture again in good light and in focus, or send a better one.",
    "low_sharpness": "Take the picture again in focus, or send the original in full size.",
    "low_colour_balance": "Set the white balance, and light the product evenly.",
    "low_detail": "Send the original: noise or compression hides detail.",
    UNCERTAIN: "A person has to look; labels of such pictures make the score surer.",
}
"""What to do about a score."""


@dataclass(frozen=True)
class Mending:
    """Whether enhancing was tried, and what came of it; None where it gave no picture."""

    tried: bool = False
    enhanced: Enhanced | None = None


def checks_of(
    row: Mapping[str, Any], scoring: ScoringSettings, broken: Sequence[Finding] = (), mending: Mending | None = None
) -> list[Check]:
    """The checks of a row of the verdicts whose other columns are filled.

    `broken`: the rules that the picture breaks. Of a picture that could not be read nothing was checked; of one that
    could not be judged, no score.
    """
    mending = mending or Mending()
    kept = row.get("enhanced_path") is not None
    profile = profile_in_force(scoring)
    unread = row["error"] if row.get("measures") is None else None
    unasked = dict.fromkeys(profile, unread) if unread is not None else {}
    after = mending.enhanced if kept else None
    still = {finding.rule for finding in after.findings} if after else set()
    done = {name: _done(mending.tried, after is not None, name not in still) for name in profile}
    rules = rule_checks(row.get("measures") or {}, profile, broken, unasked, done)
    return [*rules, *_score_checks(row, scoring, mending.tried, after), *_fault_checks(row)]


def rule_checks(
    measures: Mapping[str, float],
    profile: Profile,
    broken: Sequence[Finding],
    unasked: Mapping[str, str] | None = None,
    done: Mapping[str, Done] | None = None,
) -> Iterator[Check]:
    """A check for each rule of a profile, in its order. `unasked`: why a rule was not asked; `done`: what was done
    about it, where it is broken."""
    found = {finding.rule: finding for finding in broken}
    unasked, done = unasked or {}, done or {}
    for name, bound in profile.items():
        value = measures.get(name)
        if name in unasked:
            yield _rule(name, bound, status="not_checked", why=unasked[name])
        elif name in found:
            yield _failed(found[name], done.get(name))
        elif value is not None and not math.isfinite(value):
            yield _rule(name, bound, status="not_checked", why=NOT_A_NUMBER)
        elif value is None and name not in COPIES:
            yield _rule(name, bound, status="not_checked", why=RULES[name].unmeasured)
        else:
            yield _rule(name, bound, status="passed", measured=0.0 if value is None and name == EXACT else value)


def ask(row: Mapping[str, Any], rules: Profile, name: str, asked: Profile | None) -> list[Check]:
    """The rules of the profile `name`, asked of a stored row by what was measured when it was scored with another one,
    whose bounds are `asked` (None where they are not known any more). What was not measured is not checked."""
    stored = {check["rule"]: check for check in row["checks"] or () if check["kind"] == "rule"}
    measures = _stored_measures(row, rules)
    unasked = dict(_unasked(row, rules, name, measures, stored, asked))
    broken = findings({rule: value for rule, value in measures.items() if rule not in unasked}, rules)
    done = {rule: check["done"] for rule, check in stored.items() if check["done"] is not None}
    return list(rule_checks(measures, rules, broken, unasked, done))


def _stored_measures(row: Mapping[str, Any], rules: Profile) -> dict[str, float]:
    """What was measured, and what follows from width, height and format of a row."""
    known: dict[str, float] = {}
    if row["width"] and row["height"]:
        frame = Picture(np.broadcast_to(np.uint8(0), (row["height"], row["width"], 3)), row["format"])
        told = ((rule, RULES[rule].measure(frame)) for rule in FRAME)
        known = {rule: value for rule, value in told if value is not None}
    return {rule: value for rule, value in (known | dict(row["measures"] or ())).items() if rule in rules}


def _unasked(
    row: Mapping[str, Any],
    rules: Profile,
    name: str,
    measures: Mapping[str, float],
    stored: Mapping[str, Mapping[str, Any]],
    asked: Profile | None,
) -> Iterator[tuple[str, str]]:
    """Why rules cannot be told from a stored row."""
    scored_with = row["profile"] or "no profile"
    again = f"score it with --profile {name}"
    bounds = {rule: bound.threshold for rule, bound in (asked or {}).items()}
    bounds |= {rule: check["required"] for rule, check in stored.items()}
    for rule, bound in rules.items():
        if rule in measures:
            if _looked_once(rule, measures[rule], bound.threshold, bounds.get(rule)):
                yield rule, f"under the bound of {scored_with} only the first, rougher look was taken; {again}"
        elif row["error"] is not None and row["measures"] is None:
            yield rule, row["error"]
        elif rule not in bounds:
            yield rule, f"it was not asked: the picture was scored with {scored_with}; {again}"
        elif rule in stored and stored[rule]["why"] is not None:
            yield rule, stored[rule]["why"]


def _looked_once(rule: str, value: float, threshold: float, first: float | None) -> bool:
    """Whether a value that breaks a bound may be that of the first look, which the bound `first` was content with."""
    known = RULES[rule]
    if known.second_look is None or not known.broken(value, threshold):
        return False
    return first is None or not known.broken(value, first)


def with_copy(checks: Sequence[Mapping[str, Any]], finding: Finding, withdrawn: bool) -> list[dict[str, Any]]:
    """The stored checks of a picture that a copy was met of. `withdrawn`: its enhanced picture is not shown."""
    told = _failed(finding, "not_tried").model_dump()
    marked = [told if _is(check, finding.rule) else dict(check) for check in checks]
    for check in marked:
        if withdrawn and check["done"] in KEPT:
            check["done"] = "not_fixed"
    return marked


def _is(check: Mapping[str, Any], rule: str) -> bool:
    return bool(check["kind"] == "rule" and check["rule"] == rule)


def _rule(name: str, bound: RuleBound, **more: Any) -> Check:
    rule = RULES[name]
    return Check(
        kind="rule",
        rule=name,
        severity=bound.effect,
        required=bound.threshold,
        bound=rule.bound,
        unit=rule.unit or None,
        **more,
    )


def _failed(finding: Finding, done: Done | None) -> Check:
    rule = RULES[finding.rule]
    return Check(
        kind="rule",
        rule=finding.rule,
        status="failed",
        severity=finding.effect,
        measured=finding.value,
        required=finding.threshold,
        bound=rule.bound,
        unit=rule.unit or None,
        where=box(finding.where),
        advice=finding.sentence,
        done=done,
    )


def _score_checks(
    row: Mapping[str, Any], scoring: ScoringSettings, tried: bool, after: Enhanced | None
) -> Iterator[Check]:
    for code, name in SCORED.items():
        least = scoring.accept_at if name == "quality" else scoring.attribute_floor
        severity: Severity = "enhance" if name == "quality" else "note"
        mended = getattr(after.scores, name) >= least if after else False
        done = _done(tried, after is not None, mended)
        yield _score(row, code, row.get(name), least, "least", severity, done)
    low, high = row.get("quality_low"), row.get("quality_high")
    width = None if low is None or high is None else high - low
    told = _score(row, UNCERTAIN, width, scoring.review_width, "most", "review", "not_tried")
    if row.get("faults") is not None and told.status != "not_checked":
        yield told.model_copy(update=NOT_ASKED)
    else:
        yield told


def _score(
    row: Mapping[str, Any], code: str, value: float | None, bound: float, side: Any, severity: Severity, done: Done
) -> Check:
    said: dict[str, Any] = {"kind": "score", "rule": code, "severity": severity}
    said |= {"required": bound, "bound": side, "unit": SCORE_UNIT}
    if value is None or not math.isfinite(value):
        return Check(**said, status="not_checked", why=row.get("error") or "the judge gave no score")
    missed = value < bound if side == "least" else value > bound
    if not missed:
        return Check(**said, status="passed", measured=value)
    return Check(**said, status="failed", measured=value, advice=FIX[code], done=done)


def _fault_checks(row: Mapping[str, Any]) -> Iterator[Check]:
    """Those of the column `faults`, where the model tells any; a fault that is not there has no strength."""
    for fault in row.get("faults") or ():
        kind = KINDS.get(fault["fault"])
        severity = "enhance" if kind is None or kind.mendable else "review"
        said = {"kind": "fault", "rule": fault["fault"], "severity": severity, "unit": fault["unit"]}
        numbers = fault["probability"], fault["strength"]
        if not all(number is not None and math.isfinite(number) for number in numbers):
            yield Check(**said, status="not_checked", why=NOT_A_NUMBER)
        elif fault["present"]:
            told = {"measured": fault["strength"], "probability": fault["probability"], "done": fault["outcome"]}
            yield Check(**said, **told, status="failed", advice=kind.sentence if kind else None)
        else:
            yield Check(**said, status="passed", probability=fault["probability"])


def _done(tried: bool, kept: bool, mended: bool) -> Done:
    if kept and mended:
        return "fixed"
    return "not_fixed" if tried else "not_tried"
