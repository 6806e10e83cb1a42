"""Light: too little, too much, cut off."""

from __future__ import annotations

from packshot.scoring.rules.picture import Picture, quantile
from packshot.scoring.rules.registry import least, most

BRIGHTEST, DARKEST = 0.98, 0.05
WHITE, BLACK = 254, 1


@least(
    "dark",
    "The picture is too dark; take it again with more light or a longer exposure.",
    unit="share of white",
)
def dark(picture: Picture) -> float:
    """Luma that only 2 % of the picture exceed, 0..1: a black product on white is not dark."""
    return float(quantile(picture.grey, BRIGHTEST) / 255)


@most(
    "light",
    "The product is washed out, even its darkest parts are pale; take it again with a shorter exposure.",
    unit="share of white",
)
def light(picture: Picture) -> float:
    """Luma that 5 % of the product are below, 0..1; the ground does not count."""
    return float(quantile(picture.grey, DARKEST, picture.product) / 255)


@most(
    "clipped",
    "Much of the product is burnt out or lost in black; use softer light, and expose so that it keeps its detail.",
    unit="share of the product",
)
def clipped(picture: Picture) -> float:
    """Share of the product that is white or black without detail, 0..1; the ground does not count."""
    lost = (picture.highest >= WHITE) | (picture.highest <= BLACK)
    return float(lost[picture.product].mean())
