"""What the faults of a picture make of it: which are there, what the decision is, and what is told. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from packshot.config import ScoringSettings
from packshot.faults.detector import Found
from packshot.faults.kinds import KINDS
from packshot.scoring.rules.findings import Finding

Outcome = Literal["fixed", "improved", "not_fixed", "not_tried", "none"]
"""Of a fault that is there: it is gone from the enhanced picture that is kept, it is weaker there, it is neither, or
nothing was tried; `none` where there is no such fault."""
WORDS: dict[Outcome, str] = {
    "fixed": "fixed",
    "improved": "improved",
    "not_fixed": "not fixed",
    "not_tried": "enhancing not tried",
}
KEPT: tuple[Outcome, ...] = ("fixed", "improved")
"""What an enhanced picture is good for that is shown."""
RULE_FAULTS = {
    "colour_cast": "cast",
    **{name: name for name in ("dark", "light", "noise", "blur", "compression")},
}
"""Catalogue rules that measure a fault in their own way."""
COMMON = 0.6
"""Share of a batch from which one fault is rather the shop's look than an accident."""
FEWEST = 20
"""Pictures of a batch below which that is not asked."""


def present(faults: Sequence[Found] | None, rules: ScoringSettings) -> tuple[Found, ...]:
    """The faults that are there and count: first those that nothing mends, then the surest."""
    there = [
        one for one in faults or () if one.present(rules.fault_false_alarms) and one.fault not in rules.accepted_faults
    ]
    return tuple(sorted(there, key=lambda one: (KINDS[one.fault].mendable, one.alarm, -one.probability)))


def first_verdict(there: Sequence[Found], rules: ScoringSettings) -> Literal["enhance", "reject"]:
    """Of a picture with these faults: enhancing is tried, unless one that nothing mends is beyond doubt."""
    lasting = [one for one in there if not KINDS[one.fault].mendable]
    return "reject" if any(hopeless(one, rules) for one in lasting) else "enhance"


def to_mend(faults: Sequence[Found] | None, there: Sequence[Found], broken: Sequence[Finding]) -> frozenset[str] | None:
    """The faults that enhancing is to mend: those that are there, and those that a broken rule names which asks for
    enhancing. None where faults are not known, so that any may be there."""
    if faults is None:
        return None
    ruled = {RULE_FAULTS[one.rule] for one in broken if one.effect == "enhance" and one.rule in RULE_FAULTS}
    return frozenset({one.fault for one in there} | ruled)


def hopeless(found: Found, rules: ScoringSettings) -> bool:
    """Whether a fault is strong and sure, so that nobody has to look."""
    return found.probability >= rules.fault_sure and KINDS[found.fault].is_strong(found.strength)


def reason(found: Found, rules: ScoringSettings, outcome: Outcome) -> str:
    """A fault as a reason: its name, how strong it is, and what that costs."""
    kind = KINDS[found.fault]
    lost = outcome not in KEPT and hopeless(found, rules) and (not kind.mendable or outcome == "not_fixed")
    return f"{kind.name}: {kind.tell(found.strength)}, {'cannot be fixed; reshoot' if lost else WORDS[outcome]}"


def reasons(there: Sequence[Found], rules: ScoringSettings, outcomes: Mapping[str, Outcome]) -> tuple[str, ...]:
    """The faults that are there as reasons; `outcomes` by fault, not tried where it names none."""
    return tuple(reason(one, rules, outcomes.get(one.fault, "not_tried")) for one in there)


def is_fixed(reason: str) -> bool:
    """Whether a reason tells of a fault that is gone from the picture that is shown."""
    return reason.endswith(f", {WORDS['fixed']}")


def not_shown(
    told: Sequence[str], rows: Sequence[Mapping[str, Any]] | None
) -> tuple[list[str], list[dict[str, Any]] | None]:
    """Reasons and the column `faults` of a picture whose enhanced version is not shown after all: nothing is fixed."""
    said = [_unsaid(text) for text in told]
    if rows is None:
        return said, None
    return said, [{**row, "outcome": "not_fixed"} if row["outcome"] in KEPT else dict(row) for row in rows]


def _unsaid(reason: str) -> str:
    for outcome in KEPT:
        if reason.endswith(f", {WORDS[outcome]}"):
            return f"{reason.removesuffix(WORDS[outcome])}{WORDS['not_fixed']}"
    return reason


def retold(
    told: Sequence[str], there: Sequence[Found], rules: ScoringSettings, outcomes: Mapping[str, Outcome]
) -> tuple[str, ...]:
    """Reasons in which faults stand as not tried, with what came of them instead."""
    now = dict(zip(reasons(there, rules, {}), reasons(there, rules, outcomes), strict=True))
    return tuple(now.get(text, text) for text in told)


def outcomes_of(
    there: Sequence[Found], after: Sequence[Found] | None, rules: ScoringSettings, kept: bool
) -> dict[str, Outcome]:
    """What an attempt at enhancing did to each fault; `after` is what is found in the enhanced picture, None where that
    is not known, and `kept` whether it replaces the input."""
    if not kept or after is None:
        return {one.fault: "not_fixed" for one in there}
    left = {one.fault: one for one in present(after, rules)}
    return {one.fault: _outcome(one, left.get(one.fault)) for one in there}


def _outcome(before: Found, after: Found | None) -> Outcome:
    if after is None:
        return "fixed"
    milder = KINDS[before.fault].is_milder(after.strength, before.strength)
    return "improved" if milder and after.probability <= before.probability else "not_fixed"


def fault_rows(
    faults: Sequence[Found] | None, there: Sequence[Found], outcomes: Mapping[str, Outcome]
) -> list[dict[str, Any]] | None:
    """The column `faults`: every fault that was looked for; None where none was."""
    if faults is None:
        return None
    named = {one.fault for one in there}
    return [
        {
            "fault": one.fault,
            "probability": one.probability,
            "strength": one.strength,
            "unit": KINDS[one.fault].unit,
            "present": one.fault in named,
            "outcome": outcomes.get(one.fault, "not_tried") if one.fault in named else "none",
        }
        for one in faults
    ]


def common_faults(rows: Iterable[Sequence[Mapping[str, Any]] | None]) -> dict[str, tuple[int, int]]:
    """Faults that so many pictures of a batch have that they may be the shop's look, from the column `faults`: how many
    pictures have one, of how many."""
    count, pictures = Counter[str](), 0
    for found in rows:
        if found is not None:
            pictures += 1
            count.update(one["fault"] for one in found if one["present"])
    if pictures < FEWEST:
        return {}
    return {name: (there, pictures) for name, there in count.most_common() if there >= COMMON * pictures}
