"""What a batch came to, in a few lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from packshot.scoring.batch import ScoreReport
from packshot.scoring.decisions import reason_code
from packshot.scoring.faults import common_faults
from packshot.scoring.verdicts import verdict_parts

DECISIONS = ("accept", "enhance", "review", "reject")
MOST_REASONS = 5


def summary(report: ScoreReport) -> str:
    """Pictures by decision, the commonest reasons of those that are not accepted as they are, and a fault that so many
    have that it may be the shop's look."""
    return "\n".join((*_decisions(report), *_reasons(report), *_look(report), "", f"verdicts: {report.verdicts}"))


def _decisions(report: ScoreReport) -> Iterator[str]:
    yield f"{report.rows} pictures, {report.judged} of them judged now, by {report.model}"
    for decision in DECISIONS:
        count = report.decisions.get(decision, 0)
        yield f"  {decision:8}{count:8}{_share(count, report.rows)}"
    if report.errors:
        yield f"  {report.errors} of them could not be judged"


def _reasons(report: ScoreReport) -> Iterator[str]:
    counts = commonest(report.verdicts) if isinstance(report.verdicts, Path) else {}
    if counts:
        yield "commonest reasons"
    for code, count in counts.items():
        yield f"  {code:24}{count:8}{_share(count, report.rows)}"


def _look(report: ScoreReport) -> Iterator[str]:
    if not isinstance(report.verdicts, Path):
        return
    parts = verdict_parts(report.verdicts, ["faults"])
    for name, (there, of) in common_faults(row for part in parts for row in part["faults"].to_pylist()).items():
        yield f"{there} of {of} pictures have the fault {name}: if that is how the shop wants them, name it in"
        yield f"  scoring.accepted_faults: [{name}]; it then decides nothing"


def commonest(verdicts: Path) -> Mapping[str, int]:
    """How many pictures of a verdict file that are not accepted have each of the commonest reasons, by its code."""
    counts = Counter[str]()
    for part in verdict_parts(verdicts, ["decision", "reasons"]):
        for decision, reasons in zip(part["decision"].to_pylist(), part["reasons"].to_pylist(), strict=True):
            if decision != "accept":
                counts.update({reason_code(reason) for reason in reasons})
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:MOST_REASONS])


def _share(count: int, rows: int) -> str:
    return f"{count / rows:8.1%}" if rows else ""
