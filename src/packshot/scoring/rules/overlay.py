"""Text, marks and badges laid over the ground of a picture."""

from __future__ import annotations

import numpy as np

from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import most

LOWEST, TALLEST = 0.012, 0.16
"""Height of a mark as a share of the picture's shorter side."""
LARGEST = 0.02
"""Area of a mark as a share of the picture."""


@most(
    "overlay",
    "{value:.0f} letters or marks lie over the ground; upload the picture without text, logo or watermark.",
)
def overlay(picture: Picture) -> float | None:
    """Letter-sized marks that stand apart from the product on a plain ground.

    Print on the product is its own; so what is laid over the product alone is not told, nor anything without a ground.
    """
    parts = picture.parts
    if parts is None:
        return None
    boxes = parts[1:]
    side = min(picture.plan.shape[:2])
    width, height, area = boxes[:, 2], boxes[:, 3], boxes[:, 4]
    sized = (height >= max(LOWEST * side, 3)) & (height <= TALLEST * side)
    marks = sized & (area >= 4) & (area <= LARGEST * picture.plan_grey.size)
    # letters that touch are one part, as wide as they are many
    return float(np.maximum(1, np.rint(width[marks] / height[marks])).sum())
