"""White behind the product, as marketplaces ask."""

from __future__ import annotations

import numpy as np

from packshot.model.ground import WHITE_FROM
from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import least

RIM = 4
"""Width, in pixels of the view, of the border that is looked at."""


@least(
    "white_ground",
    "Only {value:.0%} of the picture's border is white; show the product on pure white (at least {threshold:.0%}).",
    unit="share of the border",
)
def white_ground(picture: Picture) -> float:
    """Share of the border that is white: every channel at 250 or above."""
    white = picture.lowest >= WHITE_FROM
    inside = np.zeros_like(white)
    inside[RIM:-RIM, RIM:-RIM] = True
    return float(white[~inside].mean())
