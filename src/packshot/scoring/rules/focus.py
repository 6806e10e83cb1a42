"""Blur, told at the edges of what is sharpest."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from packshot.scoring.rules.picture import Picture, Pixels
from packshot.scoring.rules.registry import most

REBLUR = 1.0
"""Deviation, in pixels, of the blur that edges are compared under."""
WEAKEST = 96
"""Least gradient of an edge after that blur, by Sobel's masks: noise and JPEG blocks are below it."""
SHARPEST = 0.25
"""Share of the edges that has to be sharp: a ground out of focus is no fault."""
FEWEST = 30
"""Edge pixels below which nothing can be said."""
WORST = 10.0


@most(
    "blur",
    "Even the sharpest edges are soft; hold the camera still, focus on the product, and upload it at its full size.",
    unit="pixels",
    unmeasured="the picture has too few edges",
)
def blur(picture: Picture) -> float | None:
    """Deviation of the blur at the sharpest quarter of the edges, in pixels of the view, at most WORST.

    Zhuo and Sim (2011): blurred once more by `s`, the gradient in the middle of an edge of blur `b` falls by the factor
    sqrt(b^2 / (b^2 + s^2)), whatever its height. A white ground has no edges, so it does not count.
    """
    first, second = _gradient(picture.grey), _gradient(cv2.GaussianBlur(picture.grey, (5, 5), REBLUR))
    ridge = (second >= WEAKEST) & (cv2.dilate(second, np.ones((3, 3), np.uint8)) - second <= second >> 3)
    places = np.flatnonzero(ridge)
    if len(places) < FEWEST:
        return None
    ratio = first.take(places) / second.take(places)
    sharpest = float(np.quantile(ratio, 1 - SHARPEST))
    if sharpest <= np.sqrt(1 + (REBLUR / WORST) ** 2):
        return WORST
    return REBLUR / float(np.sqrt(sharpest**2 - 1))


def _gradient(grey: Pixels) -> NDArray[np.int16]:
    across, down = cv2.spatialGradient(grey)
    return np.asarray(np.abs(across) + np.abs(down), np.int16)
