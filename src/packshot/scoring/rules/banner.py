"""A strip of one colour with words in it, laid across the picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from packshot.scoring.rules.picture import ALIKE, Picture, Pixels
from packshot.scoring.rules.registry import most

ACROSS = 0.85
"""Length of a strip, at least, as a share of the picture's width; of its height where it runs down."""
THIN, THICK = 0.04, 0.3
"""Thickness of a strip as a share of the picture's other side."""
FREE = 0.97
"""Share of a line of a strip that has its colour where no words stand, as along both its edges."""
WRITTEN = (0.3, 0.94)
"""The same where words stand: a strip without any is a part of the thing or a bar, for which there is `border`."""
WORDS = 0.2
"""Share of the thickness of a strip that its words take at least."""
CUT = 0.9
"""Share of an edge across which the colour changes: a strip ends in one line over whatever lies there."""
LIGHT = 240
"""Least channel from which on a strip is the ground that words stand on: those are asked of `overlay`."""


@most(
    "banner",
    "A strip of colour with words lies across the picture; upload the picture without it and put the words into the "
    "description.",
    unit="strips",
)
def banner(picture: Picture) -> float:
    """How many strips of one colour with words in them run across the picture, or down it, from edge to edge."""
    plan = picture.plan
    return float(_strips(plan) + _strips(plan.transpose(1, 0, 2)))


def _strips(plan: Pixels) -> int:
    """How many strips run along the lines of a picture, H x W x 3."""
    height, width = plan.shape[:2]
    aside = round((1 - ACROSS) / 2 * width)
    lines = plan[:, aside : width - aside]
    colours = lines[:, 0].astype(np.int16)
    own = np.zeros(height)
    ends_alike = np.abs(colours - lines[:, -1]).max(axis=1) <= ALIKE
    own[ends_alike] = _own(lines[ends_alike])
    if not (own >= FREE).any():
        return 0
    may = (own >= WRITTEN[0]) & (colours.min(axis=1) < LIGHT)
    new = np.abs(np.diff(colours, axis=0)).max(axis=1) > ALIKE
    breaks = np.flatnonzero(new | ~may[1:] | ~may[:-1]) + 1
    starts, ends = np.append(0, breaks), np.append(breaks, height)
    # most bands are of one line, or of none that is free
    thick = (ends - starts >= THIN * height) & np.logical_or.reduceat(own >= FREE, starts)
    bands = zip(starts[thick], ends[thick], strict=True)
    return sum(_is_strip(lines, own, int(first), int(end)) for first, end in bands)


def _own(lines: Pixels) -> NDArray[np.float64]:
    """The share of each line, N x W x 3, that has the colour of its first pixel."""
    count, width = lines.shape[:2]
    if not count:
        return np.zeros(0)
    apart = cv2.absdiff(np.ascontiguousarray(lines), np.repeat(lines[:, :1], width, axis=1))
    alike = cv2.inRange(apart, (0,) * 3, (ALIKE,) * 3)
    return np.asarray(cv2.reduce(alike, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() / (255 * width), np.float64)


def _is_strip(lines: Pixels, own: NDArray[np.float64], first: int, end: int) -> bool:
    """Whether the lines from `first` to before `end`, each with the share of it that has its colour, are a strip."""
    free = first + np.flatnonzero(own[first:end] >= FREE)
    if not len(free):
        return False
    first, end = int(free[0]), int(free[-1]) + 1
    words = ((own[first:end] >= WRITTEN[0]) & (own[first:end] <= WRITTEN[1])).mean()
    if not THIN * len(lines) <= end - first <= THICK * len(lines) or words < WORDS:
        return False
    edges = [_changes(lines, first, first - 3), _changes(lines, end - 1, end + 2)]
    return all(edge is not False for edge in edges) and any(edges)


def _changes(lines: Pixels, at: int, beyond: int) -> bool | None:
    """Whether the colour changes between two lines; None where the picture ends before. A scaled edge is two wide."""
    if not 0 <= beyond < len(lines):
        return None
    return bool((np.abs(lines[at].astype(np.int16) - lines[beyond]).max(axis=1) > ALIKE).mean() >= CUT)
