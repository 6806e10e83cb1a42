"""A frame drawn around the picture, or bars beside it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from packshot.model.ground import WHITE_FROM
from packshot.scoring.rules.picture import Picture, Pixels
from packshot.scoring.rules.registry import most

DEEPEST = 0.2
"""A frame is looked for in this share of the picture from each side."""
STEP = 12
"""Least change, of 255, across the inner edge of a frame."""
WHOLE = 0.9
"""Share of the inner edge that has to change."""
EVEN = 0.9
"""Share of every line of a frame that has one colour, within STEP."""


@most("border", "{value:.0f} sides of the picture carry a frame or a bar; upload the picture without it.")
def border(picture: Picture) -> float:
    """How many of the four sides carry an even band that ends in one straight edge, 0..4.

    A white band is not one: it cannot be told from the ground of a box.
    """
    grey = picture.plan_grey
    sides = (grey, grey[::-1], grey.T, grey.T[::-1])
    return float(sum(_framed(side) for side in sides))


def _framed(lines: Pixels) -> bool:
    """Whether the first lines of a picture are a band."""
    count, length = lines.shape[:2]
    deepest = min(int(DEEPEST * count), (length - 1) // 2)
    if deepest < 1 or count < deepest + 2:
        return False
    near = np.ascontiguousarray(lines[: deepest + 2])
    middle = np.repeat(near[:, length // 2, None], length, axis=1)
    even = (cv2.absdiff(near, middle) <= STEP).mean(axis=1) >= EVEN
    depth = np.arange(1, deepest + 1)
    # an edge that was scaled takes two lines
    changed = _step(near, 1)[:-1] | _step(near, 2)
    passed = np.cumsum(np.pad(changed, ((0, 0), (1, 0))), axis=1, dtype=np.int32)
    inside = passed[depth - 1, length - depth] - passed[depth - 1, depth]
    edge = inside >= WHOLE * (length - 2 * depth)
    band = (np.logical_and.accumulate(even) & (near[:, length // 2] < WHITE_FROM))[depth - 1]
    return bool((edge & band).any())


def _step(near: Pixels, over: int) -> NDArray[np.bool_]:
    return np.asarray(cv2.absdiff(near[over:], near[:-over]) > STEP)
