"""Ways to repair a picture, and what each would change: tones, detail, both by the network; light and focus by formula.

Which of them is nearest to the true picture is for `packshot.inference.gain` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import cv2
import numpy as np
import numpy.typing as npt

from packshot.inference.heads import Heads
from packshot.inference.runtime import Runtime
from packshot.inference.tones import Codes, Tones, enhance_tiled
from packshot.model.ground import keep_white_ground
from packshot.model.parallel import one_core
from packshot.model.preprocess import Image

LIGHT = frozenset({"dark", "light", "flat", "cast"})
"""What tones mend."""
GRAIN = frozenset({"noise"})
"""What the network's detail mends. Against blur a formula gains more, and compression alone is mended by nothing."""
Enhance = Callable[[Image, Codes], Image]
"""One picture at its own size, under the codes of the trunk."""
LIFTS = (0.75, 0.6, 0.47, 0.37)
"""Exponents of values 0..1 that bring light back."""
DIMS = (1.35, 1.8)
"""And that take some away."""
FOCUS = (0.8, 1.2, 1.7, 2.4)
"""Deviations, pixels, of the Gaussian that is undone."""
HARMFUL = -0.3
"""Gain, dB, below which a stronger way of the same family will not help either."""
REGULARISED = 0.006
"""Least power that is divided by: what is below it is taken for noise of rounding."""
STRIP = 1024
"""Rows and columns of the parts in which focus is restored; they overlap by OVERLAP, more in larger pictures."""
OVERLAP = 32


@dataclass(frozen=True)
class Repair:
    """One way: `name`, the faults that it is for, and how. A picture that is `scale` times as large as the one that
    was looked at is out of focus by as many times more pixels."""

    name: str
    mends: frozenset[str]
    apply: Callable[[Image, float], Image]

    @property
    def family(self) -> str:
        """What is done, however strongly: the first word of the name."""
        return self.name.partition(" ")[0]


@dataclass(frozen=True)
class Enhancing:
    """A network's enhancer: `heads` say how, `runtime` does it."""

    heads: Heads
    runtime: Runtime

    def codes(self, image: Image) -> Codes:
        """What the trunk says about one image, uint8 H x W x 3 RGB."""
        features = self.runtime.features([image])
        with one_core():
            return self.heads.codes(features.stats)

    def enhanced(self, image: Image, codes: Codes) -> Image:
        """The image under these codes, at its own size."""
        return self.runtime.enhanced(image, codes, self.heads.tones(codes))

    def repairs(self, image: Image) -> Iterator[Repair]:
        """Every way to repair the image; the network looks at it once one is applied that asks it."""

        def said() -> tuple[Codes, Tones]:
            codes = self.codes(image)
            return codes, self.heads.tones(codes)

        return repairs(self.enhanced, said)


def repairs(enhanced: Enhance, said: Callable[[], tuple[Codes, Tones]]) -> Iterator[Repair]:
    """Every way for the picture that the codes of `said`, and the tones they mix, are of. `enhanced` runs the whole
    network, once for each picture; `said` is asked once, and only by the ways that need it."""
    said = cache(said)
    last: list[tuple[Image, Image]] = []

    def detail(image: Image, scale: float = 1.0) -> Image:
        if not last or last[0][0] is not image:
            last[:] = [(image, enhanced(image, said()[0].without_tones()))]
        return last[0][1]

    def tones(image: Image, scale: float = 1.0) -> Image:
        codes, toning = said()
        return enhance_tiled(image, toning, codes.modulation)

    yield Repair("tones", LIGHT, tones)
    yield Repair("detail", GRAIN, detail)
    yield Repair("both", LIGHT | GRAIN, lambda image, scale: tones(detail(image)))
    for exponent in LIFTS:
        yield Repair(f"lift {exponent:g}", frozenset({"dark"}), _to_the_power(exponent))
    for exponent in DIMS:
        yield Repair(f"dim {exponent:g}", frozenset({"light"}), _to_the_power(exponent))
    for sigma in FOCUS:
        yield Repair(f"focus {sigma:g}", frozenset({"blur"}), _refocused(sigma))


def names() -> tuple[str, ...]:
    """Of all ways, in order."""
    return (
        *("tones", "detail", "both"),
        *(f"lift {exponent:g}" for exponent in LIFTS),
        *(f"dim {exponent:g}" for exponent in DIMS),
        *(f"focus {sigma:g}" for sigma in FOCUS),
    )


def gains_of(ways: Iterable[Repair], gain: Callable[[Repair], float]) -> list[tuple[Repair, float]]:
    """The ways that were tried, each with its gain, as `gain` has it of one; `ways` in the order of `names`.

    Of a family the mildest comes first, and once one is HARMFUL, or does harm and more than the one before, stronger
    ones are not tried.
    """
    found: list[tuple[Repair, float]] = []
    for _, members in groupby(ways, key=lambda way: way.family):
        last = -np.inf
        for way in members:
            found.append((way, gain(way)))
            if found[-1][1] < max(HARMFUL, min(last, 0)):
                break
            last = found[-1][1]
    return found


def kept_ground(image: Image, repaired: Image) -> Image:
    """`repaired` with the plain white ground of `image`."""
    return keep_white_ground(image, repaired)


def _to_the_power(exponent: float) -> Callable[[Image, float], Image]:
    table = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return lambda image, scale: np.asarray(cv2.LUT(image, table), dtype=np.uint8)


def _refocused(sigma: float) -> Callable[[Image, float], Image]:
    def apply(image: Image, scale: float) -> Image:
        reach = round(OVERLAP * max(1.0, scale))
        result = np.empty_like(image)
        for top in range(0, image.shape[0], STRIP):
            for left in range(0, image.shape[1], STRIP):
                upper, first = max(0, top - reach), max(0, left - reach)
                part = image[upper : top + STRIP + reach, first : left + STRIP + reach]
                done = np.stack([_deconvolved(part[..., channel], sigma * scale) for channel in range(3)], axis=-1)
                inner = done[top - upper : top - upper + STRIP, left - first : left - first + STRIP]
                result[top : top + STRIP, left : left + STRIP] = inner
        return result

    return apply


def _deconvolved(plane: npt.NDArray[np.uint8], sigma: float) -> npt.NDArray[np.uint8]:
    """Wiener's filter against a Gaussian, the noise being white and REGULARISED of the power."""
    height, width = plane.shape
    down, right = (cv2.getOptimalDFTSize(side + 2 * OVERLAP) - side for side in (height, width))
    border = (down // 2, down - down // 2, right // 2, right - right // 2)
    padded = cv2.copyMakeBorder(plane.astype(np.float32), *border, borderType=cv2.BORDER_REFLECT)
    vertical = np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(padded.shape[0])) ** 2).astype(np.float32)
    across = np.exp(-2 * (np.pi * sigma * np.fft.rfftfreq(padded.shape[1])) ** 2).astype(np.float32)
    response = vertical[:, None] * across[None, :]
    spectrum = np.fft.rfft2(padded) * (response * (1 + REGULARISED) / (response**2 + REGULARISED))
    sharp = np.fft.irfft2(spectrum, s=padded.shape)[border[0] : border[0] + height, border[2] : border[2] + width]
    return np.asarray(np.rint(np.clip(sharp, 0, 255)), dtype=np.uint8)
