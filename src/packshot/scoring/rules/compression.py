"""Blocks that a lossy codec left."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import most

Plane = NDArray[np.uint8]

BLOCK = 8
VISIBLE = 4
"""Levels by which a step has to top its neighbours: what lies below is not seen."""
LEAST_ACTIVE = 0.03
"""Share of a column that has to have visible steps for it to count."""
FEWEST_COLUMNS = 5
"""One straight edge of the product is no grid: of fewer columns at a phase the others count as without."""
LARGEST = 1024
"""The middle of a larger picture stands for it: blocks are lost where a picture is scaled."""


@most(
    "compression",
    "Heavy compression left blocks; upload the file as it came from the camera, or save it again from that one.",
    unit="share",
    unmeasured="the picture is smaller than 32 pixels",
)
def compression(picture: Picture) -> float | None:
    """How much more often a step between two pixels tops its neighbours on edges of 8 x 8 blocks than elsewhere, 0..1.

    Found at whatever phase the grid has, so that a picture that was cropped after it was compressed is told too.
    Even areas have no steps and do not count; nor does how high a step is, or one edge of the product would decide.
    """
    height, width = picture.height, picture.width
    if min(height, width) < 4 * BLOCK:
        return None
    top, left = max(0, (height - LARGEST) // 2), max(0, (width - LARGEST) // 2)
    part = np.ascontiguousarray(picture.pixels[top : top + LARGEST, left : left + LARGEST, 1])
    return max(0.0, (_excess(part) + _excess(cv2.transpose(part))) / 2)


def _excess(plane: Plane) -> float:
    step = cv2.absdiff(plane[:, 1:], plane[:, :-1])
    here, before, after = (np.ascontiguousarray(step[:, at : at + step.shape[1] - 2]) for at in (1, 0, 2))
    highest = cv2.max(before, after)
    tops = _counts(cv2.compare(cv2.subtract(here, VISIBLE), highest, cv2.CMP_GT))
    active = _counts(cv2.compare(cv2.max(here, highest), VISIBLE, cv2.CMP_GT))
    counted = active >= LEAST_ACTIVE * len(plane)
    columns = counted.sum(axis=0)
    shares = np.where(counted, tops / np.maximum(active, 1), 0).sum(axis=0) / np.maximum(columns, FEWEST_COLUMNS)
    edge = int(shares.argmax())
    return float(shares[edge] - np.delete(shares, edge).mean())


def _counts(plane: Plane) -> NDArray[np.float64]:
    """Pixels of each column that are not 0; the columns in rows of 8 phases."""
    columns = cv2.reduce(cv2.min(plane, 1), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
    return np.asarray(columns[: len(columns) // BLOCK * BLOCK].reshape(-1, BLOCK), np.float64)
