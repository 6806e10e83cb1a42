"""The best picture of every SKU, the one after it, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packshot.exports.copies import Copies, copies_in
from packshot.exports.source import NothingToExport, VerdictFile
from packshot.exports.weights import INPUTS, lower_bounds
from packshot.progress import say
from packshot.spreadsheet import write_csv

COLUMNS = (
    *("sku", "batch_id", "path", "enhanced_path", "decision", "quality_low", "why"),
    *("second_batch_id", "second_path", "second_quality_low", "pictures"),
)
_READ = tuple(dict.fromkeys((*INPUTS, "sku", "batch_id", "path", "enhanced_path")))
_RANKS = {"accept": 0, "enhance": 0, "review": 1}
"""Decisions on pictures that may be shown; those a person has still to look at come last."""


@dataclass(frozen=True)
class Candidate:
    """A picture of a SKU that may be shown; `low` is the lower bound of the quality to show."""

    batch_id: str
    path: str
    enhanced_path: str | None
    decision: str
    low: float

    @property
    def order(self) -> tuple[int, float, str, str]:
        """The smaller, the better: decision, then quality; names make it unambiguous."""
        return (_RANKS[self.decision], -self.low, self.batch_id, self.path)


@dataclass
class Standing:
    """What is known of a SKU so far."""

    pictures: int = 0
    first: Candidate | None = None
    second: Candidate | None = None

    def meet(self, candidate: Candidate) -> None:
        """Let one more picture compete."""
        if self.first is None or candidate.order < self.first.order:
            self.first, self.second = candidate, self.first
        elif self.second is None or candidate.order < self.second.order:
            self.second = candidate


def write_best(files: Sequence[VerdictFile], out: Path) -> dict[str, Any]:
    """Write a CSV row for each SKU, sorted by it; without a path where none of its pictures may be shown.

    A copy in whose place another picture of its SKU is shown is neither. Raises NothingToExport where no row has a SKU.
    """
    standings: dict[str, Standing] = {}
    nameless, copies = 0, copies_in(files)
    for file in files:
        for sku, candidate in _pictures(file, copies):
            if sku is None:
                nameless += 1
                continue
            standing = standings.setdefault(sku, Standing())
            standing.pictures += 1
            if candidate is not None:
                standing.meet(candidate)
    if not standings:
        raise NothingToExport("no row has a SKU; score with a catalogue that has one (`packshot score --catalog`)")
    if nameless:
        say(f"{nameless} row(s) without a SKU are left out")
    rows = (_row(sku, standings[sku]) for sku in sorted(standings))
    write_csv(out, COLUMNS, rows)
    without = sum(standing.first is None for standing in standings.values())
    return {"best": str(out), "skus": len(standings), "without_picture": without, "rows_without_sku": nameless}


def _pictures(file: VerdictFile, copies: Copies) -> Iterator[tuple[str | None, Candidate | None]]:
    for batch in copies.batches(file, _READ):
        for row, low in zip(batch.to_pylist(), lower_bounds(batch).tolist(), strict=True):
            judged = row["error"] is None and row["decision"] in _RANKS and math.isfinite(low)
            usable = judged and row["duplicate_of"] is None
            yield row["sku"], _candidate(row, low) if usable else None


def _candidate(row: dict[str, Any], low: float) -> Candidate:
    shown = row["enhanced_path"] if row["decision"] == "enhance" else None
    return Candidate(row["batch_id"], row["path"], shown, row["decision"], low)


def _row(sku: str, standing: Standing) -> dict[str, Any]:
    first, second = standing.first, standing.second
    row: dict[str, Any] = {"sku": sku, "pictures": standing.pictures, "why": _why(standing.pictures, first, second)}
    if first is not None:
        row |= {"batch_id": first.batch_id, "path": first.path, "enhanced_path": first.enhanced_path}
        row |= {"decision": first.decision, "quality_low": first.low}
    if second is not None:
        row |= {"second_batch_id": second.batch_id, "second_path": second.path, "second_quality_low": second.low}
    return row


def _why(pictures: int, first: Candidate | None, second: Candidate | None) -> str:
    if first is None:
        return f"none of {pictures} may be shown: all were rejected or could not be judged"
    notes = []
    if first.decision == "review":
        notes.append("none is accepted; a person has to look at it first")
    if second is None:
        return "; ".join([*notes, "the only one that may be shown"])
    if _RANKS[first.decision] < _RANKS[second.decision]:
        return "; ".join([*notes, f"{_done(first.decision)}, the next waits for review"])
    ahead = f"quality is at least {first.low:.2f}, of the next {second.low:.2f}"
    return "; ".join([*notes, ahead])


def _done(decision: str) -> str:
    return {"accept": "accepted", "enhance": "enhanced", "review": "waits for review"}[decision]
