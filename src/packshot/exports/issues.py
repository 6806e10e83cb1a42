"""What a marketplace would hold against each picture, as JSON Lines in the marketplace's own shape of an issue."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packshot.config import RequirementSource, ScoringSettings
from packshot.errors import PackshotError
from packshot.exports.source import VerdictFile
from packshot.files import atomic_path
from packshot.progress import say
from packshot.scoring.checks import ask
from packshot.scoring.contract import Check
from packshot.scoring.decisions import reason_code
from packshot.scoring.rules import profile_in_force
from packshot.scoring.rules.findings import Profile

READABLE = "readable"
"""The rule that a file which no decoder can read breaks, wherever it is sent."""
UNREADABLE = frozenset({"not_an_image", "empty_file", "damaged", "truncated", "unsupported_format"})
"""Codes of an `error` that say so of the file; the others are limits of ours, or tell of our machine."""
_KEPT = ("batch_id", "path", "image_id", "sku", "decision", "enhanced_path")
_READ = (
    *_KEPT,
    *("schema_version", "error", "profile", "checks", "measures", "findings", "width", "height", "format"),
)


class UnknownProfile(PackshotError):
    """There is no such profile of catalogue rules."""

    exit_code = 2


@dataclass(frozen=True)
class Asked:
    """What a marketplace asks by a rule, in words, and where it says so; None where the bound is the shop's own."""

    asks: str
    source: RequirementSource

    def as_record(self) -> dict[str, Any]:
        return {"asks": self.asks, **self.source.model_dump(mode="json")}


Shape = Callable[[Check, Asked | None], Mapping[str, Any]]
"""A failed check in a marketplace's shape."""


def write_issues(
    scoring: ScoringSettings, files: Sequence[VerdictFile], out: Path, profile: str, shape: Shape
) -> dict[str, Any]:
    """Write a line for each picture: which it is, the `issues` it has by `profile`, and what was `not_checked`.

    A batch that was scored with another profile is asked the rules of this one by what was measured then. What the
    enhanced picture, which is shown in place of the input, does not have any more is no issue. Raises UnknownProfile.
    """
    rules = _rules(scoring, profile)
    asked = requirements(scoring, rules)
    codes, unasked = Counter[str](), Counter[str]()
    pictures = troubled = 0
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for row in (row for file in files for row in file.each(_READ)):
            checks = _checks(row, scoring, profile, rules)
            issues = [dict(shape(check, asked.get(check.rule))) for check in _failed(checks)]
            skipped = {check.rule: check.why for check in checks if check.status == "not_checked"}
            facts = {name: row[name] for name in _KEPT} | {"profile": profile, "scored_with": row["profile"]}
            told = [{"rule": rule, "why": why} for rule, why in skipped.items()]
            line = facts | {"issues": issues, "not_checked": told}
            lines.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            codes.update(issue["code"] for issue in issues)
            unasked.update(skipped.keys())
            pictures, troubled = pictures + 1, troubled + bool(issues)
    if unasked:
        named = ", ".join(f"{rule} ({count})" for rule, count in unasked.most_common())
        say(f"not checked, each with why in its line: {named}")
    counts = {"codes": dict(codes), "not_checked": dict(unasked)}
    return {"issues": str(out), "pictures": pictures, "with_issues": troubled, **counts}


def requirements(scoring: ScoringSettings, rules: Profile) -> dict[str, Asked]:
    """By rule: what the marketplace asks by it, of those that have a source."""
    sourced = ((name, bound) for name, bound in rules.items() if bound.source is not None)
    return {name: Asked(str(bound.asks), scoring.sources[str(bound.source)]) for name, bound in sourced}


def check_record(check: Check, asked: Asked | None) -> dict[str, Any]:
    """What goes into an issue beside the marketplace's own fields: the check, and the requirement with its source."""
    return {"check": check.model_dump(mode="json"), "requirement": asked.as_record() if asked else None}


def _rules(scoring: ScoringSettings, profile: str) -> Profile:
    if profile not in scoring.profiles:
        raise UnknownProfile(
            f"there is no profile {profile!r} in scoring.profiles; there is {', '.join(scoring.profiles)}"
        )
    return profile_in_force(scoring.model_copy(update={"profile": profile}))


def _checks(row: Mapping[str, Any], scoring: ScoringSettings, profile: str, rules: Profile) -> list[Check]:
    stored = row["checks"]
    if row["profile"] == profile and stored is not None:
        checks = [Check.model_validate(check) for check in stored if check["kind"] == "rule"]
    else:
        checks = ask(row, rules, profile, scoring.profiles.get(row["profile"] or ""))
    if row["error"] is not None and reason_code(row["error"]) in UNREADABLE:
        unreadable = Check(kind="rule", rule=READABLE, status="failed", severity="reject", advice=row["error"])
        return [unreadable, *checks]
    return checks


def _failed(checks: Sequence[Check]) -> Iterator[Check]:
    return (check for check in checks if check.status == "failed" and check.done != "fixed")
