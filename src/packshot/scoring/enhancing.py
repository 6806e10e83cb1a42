"""One picture enhanced, wherever that is asked for: with the colours of its input where its own would move too far."""

from __future__ import annotations

from collections.abc import Callable

from packshot.catalog.image import Pixels
from packshot.config import ScoringSettings
from packshot.scoring.fidelity import colour_shift, is_grey, with_colours_of


def true_colours(pixels: Pixels, image: Pixels, rules: ScoringSettings, balance_gained: Callable[[], float]) -> Pixels:
    """`image`, the enhanced form of `pixels` (both H x W x 3 uint8 RGB), or its lightness with the colours of `pixels`.

    What has no colour gets none. Else the colours of the product may move by `max_colour_shift`, or further where the
    judge finds them better balanced for it by `min_gain`: a cast that is removed is no fault. `balance_gained` is asked
    only where that decides.
    """
    if not is_grey(pixels) and (
        colour_shift(pixels, image) <= rules.max_colour_shift or balance_gained() >= rules.min_gain
    ):
        return image
    return with_colours_of(pixels, image)
