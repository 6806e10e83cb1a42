"""Colour: a tint of the light, or none at all."""

from __future__ import annotations

import cv2
import numpy as np

from packshot.scoring.rules.picture import Picture, quantile
from packshot.scoring.rules.registry import least, most

LIGHT_FROM = 55.0
"""L* of CIELAB from which on a ground can be taken for white or grey paper."""
PAINTED = 60.0
"""Distance from grey, in a*, b*, from which on a ground is coloured on purpose."""
COLOURFUL = 0.99


@most(
    "colour_cast",
    "The plain ground is tinted by the light; set the white balance on a white sheet, and use one kind of light.",
    unit="distance in a*, b*",
    unmeasured="the picture has no light, plain ground",
)
def colour_cast(picture: Picture) -> float | None:
    """Distance of a light, plain ground from grey, in a*, b* of CIELAB.

    Without such a ground the colour of the light cannot be told from that of things, so nothing is measured.
    """
    if picture.ground is None:
        return None
    # 8-bit CIELAB: L* of 100 is 255, grey is 128
    lightness, a, b = cv2.cvtColor(picture.ground.colour.reshape(1, 1, 3), cv2.COLOR_RGB2Lab).ravel().astype(float)
    distance = float(np.hypot(a - 128, b - 128))
    return distance if lightness / 2.55 >= LIGHT_FROM and distance <= PAINTED else None


@least("greyscale", "The picture has no colour; upload it in colour.", unit="levels of 255")
def greyscale(picture: Picture) -> float:
    """Difference between a pixel's largest and smallest channel that 1 % of the picture exceed, of 255."""
    return float(quantile(cv2.subtract(picture.highest, picture.lowest), COLOURFUL))
