"""White behind the product, as marketplaces ask."""

from __future__ import annotations

import numpy as np

from packshot.model.ground import WHITE_FROM
from packshot.scoring.rules.border import framed
from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import least

RIM = 4
"""Width, in pixels of the view, of the border that is looked at."""
SIDES = 4
ALL_AROUND = 0.01
"""Share of the border that is white, below which something may run all around."""


@least(
    "white_ground",
    "The ground is not pure white; show the product on pure white that reaches the edges of the picture.",
    unit="share of the border",
    unmeasured="a frame that may be the product's own runs all around, so there is no ground",
)
def white_ground(picture: Picture) -> float | None:
    """Share of the border that is white: every channel at 250 or above. None where a frame all around may be the
    product's own: it fills the picture, and `framed` asks a person."""
    white = picture.lowest >= WHITE_FROM
    inside = np.zeros_like(white)
    inside[RIM:-RIM, RIM:-RIM] = True
    share = float(white[~inside].mean())
    return None if share < ALL_AROUND and framed(picture) == SIDES else share
