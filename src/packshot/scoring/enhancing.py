"""One picture enhanced, wherever that is asked for: with the colours of its input where its own would move too far."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from packshot.catalog.image import Pixels
from packshot.config import ScoringSettings
from packshot.scoring.fidelity import colour_shift, is_grey, with_colours_of
from packshot.scoring.judging import JudgeLike, MenderLike

NOTHING_GAINS = "no repair is sure to bring the picture nearer to the true one"


@dataclass(frozen=True)
class Repaired:
    """A repaired picture, H x W x 3 uint8 RGB, and by how many dB it is expected to be nearer to the true one; None
    where the model does not say, and the judge's scores have to."""

    image: Pixels
    gain: float | None


def repaired(
    judge: JudgeLike,
    pixels: Pixels,
    rules: ScoringSettings,
    faults: Collection[str] | None,
    balance_gained: Callable[[Pixels], float],
) -> Repaired | None:
    """The best that a model can make of a picture with these faults (None: not known which), with the colours of its
    input where its own may not be believed. None where it knows what repairs gain, and none does.

    `balance_gained` says, of an image, by how much its colours are judged better balanced.
    """
    if isinstance(judge, MenderLike) and judge.mends:
        mended = judge.mend(pixels, rules.max_harm, faults)
        if mended is None:
            return None
        image = with_colours_of(pixels, mended.image) if is_grey(pixels) else mended.image
        return Repaired(image, mended.gain)
    image = judge.enhance(pixels)
    return Repaired(true_colours(pixels, image, rules, lambda: balance_gained(image)), None)


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
