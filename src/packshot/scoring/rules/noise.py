"""Grain."""

from __future__ import annotations

import cv2
import numpy as np

from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import most

BLOCK = 8
QUIETEST = 0.2
"""Share of the blocks, the least busy, that is taken for even surface."""
IN_RANGE = (12, 243)
"""A block's mean brightness, of 255, outside which noise is cut off."""
FEWEST = 12
"""Blocks below which nothing can be said."""
_BEND = np.array([1, -2, 1], np.float32)
"""His mask is this one across itself."""


@most(
    "noise",
    "The picture is grainy; use more light and a low ISO setting.",
    unit="levels of 255",
    unmeasured="the picture has too few even parts",
)
def noise(picture: Picture) -> float | None:
    """Deviation of the noise in levels of 255, on the evenest blocks.

    Immerkaer (1996): his mask is blind to edges and slopes; of the mean absolute answer of each block a low quantile.
    """
    grey = picture.grey
    height, width = (side // BLOCK * BLOCK for side in grey.shape)
    if not height or not width:
        return None
    answer = np.abs(cv2.sepFilter2D(grey, cv2.CV_16S, _BEND, _BEND))[:height, :width]
    cells = (width // BLOCK, height // BLOCK)
    energy = cv2.resize(answer, cells, interpolation=cv2.INTER_AREA)
    level = cv2.resize(grey[:height, :width], cells, interpolation=cv2.INTER_AREA)
    usable = energy[(level >= IN_RANGE[0]) & (level <= IN_RANGE[1])]
    if len(usable) < FEWEST:
        return None
    return float(np.quantile(usable, QUIETEST) * np.sqrt(np.pi / 2) / 6)
