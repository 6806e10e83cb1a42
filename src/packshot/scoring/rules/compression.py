"""Blocks that a lossy codec left."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import most

Plane = NDArray[np.uint8]

BLOCK = 8
LARGEST = 1024
"""The middle of a larger picture stands for it: blocks are lost where a picture is scaled."""


@most("compression", "Blocks of heavy compression show ({value:.2f}); save the original again at a higher quality.")
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
    tops = _counts(cv2.min(cv2.compare(here, before, cv2.CMP_GT), cv2.compare(here, after, cv2.CMP_GT)))
    active = _counts(cv2.max(cv2.max(here, before), after))
    shares = tops / np.maximum(active, 1)
    edge = int(shares.argmax())
    return float(shares[edge] - np.delete(shares, edge).mean())


def _counts(plane: Plane) -> NDArray[np.float64]:
    """Pixels that are not 0 at each of the 8 phases of the columns."""
    columns = cv2.reduce(cv2.min(plane, 1), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
    return np.asarray(columns[: len(columns) // BLOCK * BLOCK].reshape(-1, BLOCK).sum(axis=0), np.float64)
