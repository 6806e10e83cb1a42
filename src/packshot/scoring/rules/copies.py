"""Copies of pictures that the shop has: told from all rows of a batch, so nothing is measured on one alone."""

from __future__ import annotations

from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import least, most

EXACT, NEAR = "exact_duplicate", "near_duplicate"
ELSEWHERE = "This picture also stands for another product, or for one that is not named; check that it shows this one."
"""What is told where no picture of the same SKU is shown in its place."""


@most(EXACT, "This product has this very file already; upload another view of it, or leave it out.", unit="copies")
def exact_duplicate(picture: Picture) -> float | None:
    """1 where the bytes of another picture are the same."""
    return None


@least(
    NEAR, "This product has this picture already, in another size or format; upload another view of it.", unit="share"
)
def near_duplicate(picture: Picture) -> float | None:
    """How much the picture differs, where it differs most, from another that shows the same: 0 not at all, up to 1."""
    return None
