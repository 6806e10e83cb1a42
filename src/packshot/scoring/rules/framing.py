"""How the product stands in the frame, told where the ground is plain."""

from __future__ import annotations

import numpy as np

from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import least, most

SPECK = 0.002
"""Share of the picture below which what stands on the ground is no part of the product."""
OWN_PRODUCT = 0.25
"""Share of the largest part's area from which on a second part is a product of its own."""


@least(
    "fill",
    "The product is small in the frame; move closer or crop, so that it fills at least {threshold:.0%} of it.",
    unit="share of the frame",
    unmeasured="the picture has no plain ground",
)
def fill(picture: Picture) -> float | None:
    """The longer of the product's width and height, as a share of the frame's."""
    parts = picture.parts
    if parts is None:
        return None
    height, width = picture.plan.shape[:2]
    boxes = parts[parts[:, 4] >= SPECK * height * width]
    if not len(boxes):
        return 0.0
    low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:4]).max(axis=0)
    return float(((high - low) / (width, height)).max())


@most(
    "overfill",
    "The product comes close to the edges; leave some room around it, so that it fills at most {threshold:.0%}.",
    unit="share of the frame",
    unmeasured="the picture has no plain ground",
)
def overfill(picture: Picture) -> float | None:
    """The same, for shops that ask for room around the product."""
    return fill(picture)


@most(
    "products",
    "Several things stand apart in the picture; show the product that is sold, and nothing else.",
    unit="things",
    unmeasured="nothing stands on a plain ground",
)
def products(picture: Picture) -> float | None:
    """How many things of about the size of the largest stand apart on the ground."""
    parts = picture.parts
    if parts is None or not len(parts):
        return None
    areas = parts[:, 4]
    return float(np.sum(areas >= max(OWN_PRODUCT * areas[0], SPECK * picture.plan_grey.size)))
