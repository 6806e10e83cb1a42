"""Pictures that show nothing."""

from __future__ import annotations

import cv2
import numpy as np

from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import least

SIDE = 64
"""What is looked at, in pixels: noise is averaged away."""
CELL = 4
STRUCTURE = 5.0
"""Deviation of brightness within a cell, of 255, from which on something is to be seen there."""


@least(
    "low_information",
    "Hardly anything is to be seen; upload a picture of the product.",
    unit="share of the picture",
)
def low_information(picture: Picture) -> float:
    """Share of the picture with something in it, 0..1."""
    small = cv2.resize(picture.plan_grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    cells = small.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL).std(axis=(1, 3))
    return float((cells >= STRUCTURE).mean())
