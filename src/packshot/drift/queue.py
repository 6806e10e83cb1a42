"""Which pictures of a batch that drifted are most worth a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
COLUMNS = ("image_id", "batch", "path", "sender", "embedding", "quality_low", "quality_high")
"""What is known of a picture that may be chosen."""
UNSURE = "the judge is unsure"
NEAR = 0.3
"""Pictures nearer to each other than this share of their median distance from the middle of the batch are taken for
near-duplicates. Copies of garments lie at .11 (JPEG at quality 60), .23 (three quarters of the size) and .24 (5 % cut
off each side), medians of 14; of 1,549 garments 1.9 % have a neighbour within .3."""


@dataclass(frozen=True)
class Chosen:
    """Number of a row, and why it was chosen."""

    row: int
    why: str


def typical_paths(drift: Mapping[str, Any]) -> dict[str, str]:
    """Path to what it is typical of, from a drift.json: pictures of the whole drift, then of each figure in turn."""
    figures: list[tuple[str, Sequence[str]]] = [("the drift as a whole", drift.get("examples", []))]
    figures += [(f"{row['name']} ({row['effect']:+.1f})", row["examples"]) for row in drift.get("drifted", [])]
    found: dict[str, str] = {}
    for turn in range(max((len(paths) for _, paths in figures), default=0)):
        for what, paths in figures:
            if turn < len(paths):
                found.setdefault(paths[turn], what)
    return found


def choose(
    frame: pd.DataFrame, typical: Mapping[str, str], size: int, per_sender: int, queued: Collection[str]
) -> list[Chosen]:
    """At most `size` rows of `frame` (COLUMNS): a third typical of what drifted, a third where the judge is least sure
    (widest interval), the rest those that lie furthest, by embedding, from all chosen before.

    No picture comes twice, no near-duplicate of one that was chosen, none whose content is in `queued`, and of one
    sender at most `per_sender`, those in `queued` counted in.
    """
    chooser = _Chooser(frame, per_sender, queued)
    third = size // 3
    chooser.take(_typical(frame, typical), third)
    chooser.take(_widest(frame), 2 * third)
    chooser.take(chooser.furthest(), size)
    return chooser.chosen


def _typical(frame: pd.DataFrame, typical: Mapping[str, str]) -> Iterator[Chosen]:
    rows = {str(path): number for number, path in enumerate(frame["path"])}
    return (Chosen(rows[path], f"typical of {what}") for path, what in typical.items() if path in rows)


def _widest(frame: pd.DataFrame) -> Iterator[Chosen]:
    width = (frame["quality_high"] - frame["quality_low"]).to_numpy(dtype=float)
    order = np.argsort(-width, kind="stable")
    return (Chosen(int(row), f"{UNSURE}: interval {width[row]:.2f} wide") for row in order)


class _Chooser:
    """What is chosen so far, and how far every picture is from it."""

    def __init__(self, frame: pd.DataFrame, per_sender: int, queued: Collection[str]) -> None:
        self.chosen: list[Chosen] = []
        self._points = np.vstack(frame["embedding"].to_list()).astype(float)
        self._ids = [str(image_id) for image_id in frame["image_id"]]
        self._senders = [None if pd.isna(sender) else str(sender) for sender in frame["sender"]]
        self._per_sender = per_sender
        self._of_sender: Counter[str | None] = Counter()
        self._nearest = np.full(len(frame), np.inf)
        centre = np.median(self._points, axis=0)
        self._near = NEAR * float(np.median(np.linalg.norm(self._points - centre, axis=1)))
        for row, image_id in enumerate(self._ids):
            if image_id in queued:
                self._count(row)

    def take(self, candidates: Iterator[Chosen], until: int) -> None:
        """Take candidates in their order until so many are chosen in all."""
        while len(self.chosen) < until and (candidate := next(candidates, None)) is not None:
            if self._fits(candidate.row):
                self.chosen.append(candidate)
                self._count(candidate.row)

    def furthest(self) -> Iterator[Chosen]:
        """Again and again the picture that is furthest from all chosen (Gonzalez 1985)."""
        while fitting := [row for row in range(len(self._ids)) if self._fits(row)]:
            row = max(fitting, key=lambda one: self._nearest[one])
            yield Chosen(row, "unlike all chosen before")

    def _fits(self, row: int) -> bool:
        sender = self._senders[row]
        return bool(self._nearest[row] > self._near) and (sender is None or self._of_sender[sender] < self._per_sender)

    def _count(self, row: int) -> None:
        self._of_sender[self._senders[row]] += 1
        self._nearest = np.minimum(self._nearest, np.linalg.norm(self._points - self._points[row], axis=1))
