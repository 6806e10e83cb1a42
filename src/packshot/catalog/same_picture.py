"""Whether two files show the same picture: the one answer for splits and for copies in a shop.

A picture leaves a *look*: perceptual hashes by which candidates are found, and a thumbnail by which they are confirmed.
A crop of some per cent moves bits of a hash, so beside the hash of the whole there are those of CROPS: a picture cut by
at most 5 % a side is within FARTHEST bits of one of them in 99 of 100 cases.

A hash says nothing of colour and of what is printed on a label. So two thumbnails are laid over each other (a small
crop is a small change of scale and place), and what then still differs is looked at *where it differs most*: coding
and resizing leave little anywhere, another colour leaves a patch, 500 ml instead of 250 ml a few strokes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from packshot.catalog.statistics import shrink

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Crop = tuple[tuple[float, float], tuple[float, float]]

HASH_SIDE, HASH_DIGITS = 8, 16
"""A hash of a look has 8 x 8 bits, 16 hex digits."""
ROUNDED = 6
HASHED_AT = 256
"""Longest side, in pixels, that an image is shrunk to before it is hashed."""
CROPS: tuple[Crop, ...] = (
    ((0.035, 0.035), (0.025, 0.025)),
    ((0.04, 0.01), (0.025, 0.025)),
    ((0.01, 0.04), (0.025, 0.025)),
    ((0.025, 0.025), (0.05, 0.0)),
    ((0.01, 0.04), (0.0, 0.05)),
    ((0.05, 0.0), (0.01, 0.04)),
    ((0.0, 0.05), (0.04, 0.01)),
)
"""Shares of the width cut off left and right, of the height at top and bottom: chosen one after another, each the one
that brings most crops of at most 5 % a side within FARTHEST bits."""
FARTHEST = 7
"""Bits, of 64, within which two pictures are candidates."""
THUMBNAIL = 128
"""Side, in pixels, of the square thumbnail that pictures are compared by."""
THUMBNAIL_QUALITY = 92
COARSE = 32
"""Side at which two thumbnails are laid over each other first."""
PLAIN_BELOW = 4.0
"""A thumbnail whose brightness has a smaller standard deviation than this, of 255, has no structure to compare."""
MOST_SCALE, MOST_SHEAR = 0.16, 0.03
"""How far the one may be larger than the other, and how little it may be turned: two crops of 5 % a side."""
LEAST_OVERLAP = 0.5
"""Share of the one thumbnail that the other has to cover."""
SMOOTHED = 0.7
"""Deviation, in pixels, of the blur before pixels are compared."""
BASE, ON_EDGES = 8.0, 0.25
"""What a pixel may differ in a channel, of 255, and how much more where the picture itself is steep: at an edge a
tenth of a pixel, and every way of resizing, makes a difference."""
LOCAL_MOST = 1.72
"""Most that 3 x 3 pixels may differ on average, in units of what each may."""
PATCH = THUMBNAIL / 16
"""Deviation, in pixels, of the blur that leaves light and colour of a patch alone."""
PATCH_BASE, PATCH_ON_EDGES = 6.0, 0.3
"""What a patch may differ in a channel, of 255, and how much more for the mean steepness in it: a fine pattern that was
resized carelessly shows another, coarse one."""
HOPELESS = 20.0
"""Mean difference, of 255, of thumbnails laid over each other at COARSE, from which on no closer look is taken."""
FAR_APART = float("inf")


@dataclass(frozen=True)
class Look:
    """What a picture is found and compared by.

    `hashes`: of the whole and of CROPS, 16 hex digits each, one after another. `thumbnail`: a JPEG of THUMBNAIL x
    THUMBNAIL. `side`: the shorter side of the picture itself, in pixels: a small one has no finer detail to compare.
    """

    hashes: str
    thumbnail: bytes
    side: int

    @property
    def whole(self) -> str:
        """The hash of the whole picture."""
        return self.hashes[:HASH_DIGITS]

    @cached_property
    def bits(self) -> tuple[int, ...]:
        """All hashes as numbers of 64 bits, the whole first."""
        starts = range(0, len(self.hashes), HASH_DIGITS)
        return tuple(int(self.hashes[start : start + HASH_DIGITS], 16) for start in starts)

    @cached_property
    def pixels(self) -> Floats:
        """THUMBNAIL x THUMBNAIL x 3, 0..255, BGR."""
        found = cv2.imdecode(np.frombuffer(self.thumbnail, np.uint8), cv2.IMREAD_COLOR)
        return np.asarray(found, np.float32)

    @cached_property
    def plain(self) -> bool:
        """Whether there is nothing in it that could be laid over another."""
        brightness = cv2.transform(self.pixels, np.full((1, 3), 1 / 3, np.float32))
        return bool(cv2.meanStdDev(brightness)[1][0, 0] < PLAIN_BELOW)


def look_of(image: Pixels, side: int | None = None) -> Look:
    """The look of H x W x 3 uint8 RGB; `side` is the shorter one of the picture where `image` is a smaller copy."""
    small = shrink(image, HASHED_AT)
    grey = _grey(small)
    hashes = [_hash(grey), *_hashes_of_crops(grey)]
    kernel = cv2.INTER_AREA if min(small.shape[:2]) >= THUMBNAIL else cv2.INTER_CUBIC
    square = cv2.cvtColor(cv2.resize(small, (THUMBNAIL, THUMBNAIL), interpolation=kernel), cv2.COLOR_RGB2BGR)
    code = cv2.imencode(".jpg", square, [cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY])[1]
    return Look("".join(hashes), code.tobytes(), side if side is not None else min(image.shape[:2]))


def perceptual_hash(image: Pixels, side: int = HASH_SIDE) -> str:
    """`side` x `side` bits as hex, the signs of the lowest frequencies (Zauner, 2010) of H x W x 3 uint8 RGB."""
    return _hash(_grey(shrink(image, HASHED_AT)), side)


def same_picture(one: Look, other: Look) -> bool:
    """Whether two looks are of the same picture, coded again, resized or cropped by some per cent."""
    return difference(one, other) <= 1.0


def difference(one: Look, other: Look) -> float:
    """How much two pictures differ where they differ most: 0 not at all, up to 1 they are the same picture.

    Pictures without structure, and those that cannot be laid over each other, are infinitely far apart.
    """
    if one.plain or other.plain:
        return FAR_APART
    side = min(THUMBNAIL, max(COARSE, min(one.side, other.side)))
    first, second = (_at(look.pixels, side) for look in (one, other))
    placed = _placed(first, second)
    if placed is None:
        return FAR_APART
    laid, where = placed
    return max(_local(first, laid, where) / LOCAL_MOST, _in_patches(first, laid, where))


def _grey(image: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image)).convert("L")


def _hash(grey: Image.Image, side: int = HASH_SIDE) -> str:
    """As the package `imagehash` has it, which would bring scipy to every scorer."""
    pixels = np.asarray(grey.resize((4 * side, 4 * side), Image.Resampling.LANCZOS), dtype=np.float64)
    waves = _waves(side, 4 * side)
    low = np.round(waves @ pixels @ waves.T, ROUNDED)  # what is nothing is nothing, whatever it was summed up from
    below = low.size // 2 - 1
    median = np.sort(low, axis=None)[below : below + 2].mean()  # at a fifth of the cost of np.median
    return np.packbits(low > median).tobytes().hex()


@cache
def _waves(count: int, length: int) -> NDArray[np.float64]:
    """The first `count` basis functions of the cosine transform (DCT-II) of `length` values."""
    places = np.pi / length * np.outer(np.arange(count), np.arange(length) + 0.5)
    return np.asarray(2 * np.cos(places), dtype=np.float64)


def _hashes_of_crops(grey: Image.Image) -> Iterator[str]:
    square = grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)  # eight times less to resample from here on
    for (left, right), (top, bottom) in CROPS:
        box = (left * THUMBNAIL, top * THUMBNAIL, (1 - right) * THUMBNAIL, (1 - bottom) * THUMBNAIL)
        yield _hash(square.resize((4 * HASH_SIDE, 4 * HASH_SIDE), Image.Resampling.LANCZOS, box=box))


def _at(pixels: Floats, side: int) -> Floats:
    if side == pixels.shape[0]:
        return pixels
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _placed(first: Floats, second: Floats) -> tuple[Floats, NDArray[np.bool_]] | None:
    """`second` laid over `first`, and where it covers it; None where they do not fit.

    The map between them is found coarse to fine (Evangelidis and Psarakis, 2008).
    """
    side = first.shape[0]
    coarse = _at(first, COARSE), _at(second, COARSE)
    rough = _aligned(*coarse, np.eye(2, 3, dtype=np.float32), 3)
    found = _laid_over(*coarse, rough)
    if found is None:
        rough = np.eye(2, 3, dtype=np.float32)
    elif np.abs(coarse[0] - found[0])[found[1]].mean() > HOPELESS:
        return None
    return _laid_over(first, second, _aligned(first, second, _scaled(rough, side / COARSE), 5))


def _laid_over(first: Floats, second: Floats, warp: Floats) -> tuple[Floats, NDArray[np.bool_]] | None:
    scales, shears = np.diagonal(warp[:, :2]), (warp[0, 1], warp[1, 0])
    if np.abs(np.log(np.maximum(scales, 1e-6))).max() > MOST_SCALE or np.abs(shears).max() > MOST_SHEAR:
        return None
    side, back = first.shape[0], cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(second, warp, (side, side), flags=cv2.INTER_CUBIC | back, borderMode=cv2.BORDER_REPLICATE)
    whole = cv2.warpAffine(np.ones((side, side), np.float32), warp, (side, side), flags=cv2.INTER_LINEAR | back)
    inside = cv2.erode((whole > 0.999).astype(np.uint8), np.ones((5, 5)), borderValue=0) > 0
    return (np.asarray(laid, np.float32), np.asarray(inside)) if inside.mean() >= LEAST_OVERLAP else None


def _aligned(first: Floats, second: Floats, warp: Floats, blur: int) -> Floats:
    """The 2 x 3 map from places in `first` to places in `second`; `warp` itself where no better one is found."""
    grey = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (first, second)]
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    try:
        found = cv2.findTransformECC(grey[0], grey[1], warp.copy(), cv2.MOTION_AFFINE, stop, None, blur)[1]
    except cv2.error:
        return warp
    return np.asarray(found, np.float32)


def _scaled(warp: Floats, factor: float) -> Floats:
    """The same map where each pixel is `factor` pixels; the middle of the first pixel is 0."""
    moved = warp.copy()
    moved[:, 2] = factor * warp[:, 2] + (factor - 1) / 2 * (1 - warp[:, :2].sum(axis=1))
    return moved


def _local(first: Floats, second: Floats, where: NDArray[np.bool_]) -> float:
    one, other = (cv2.GaussianBlur(image, (0, 0), SMOOTHED) for image in (first, second))
    steep = cv2.dilate(np.maximum(_steepness(one), _steepness(other)), np.ones((3, 3)))
    share = np.abs(one - other).max(axis=2) / (BASE + ON_EDGES * steep)
    return float(cv2.blur(share, (3, 3))[where].max())


def _steepness(image: Floats) -> Floats:
    """Largest change from pixel to pixel over the channels."""
    across, down = (cv2.Sobel(image, -1, x, 1 - x, ksize=3, scale=1 / 8) for x in (1, 0))
    return np.asarray(np.sqrt(across**2 + down**2).max(axis=2), np.float32)


def _in_patches(first: Floats, second: Floats, where: NDArray[np.bool_]) -> float:
    """Largest difference of a patch, in units of what it may; nothing outside of `where` counts."""
    weight = where.astype(np.float32)
    patch = PATCH * first.shape[0] / THUMBNAIL
    differing = cv2.GaussianBlur((first - second) * weight[..., None], (0, 0), patch)
    steep = cv2.GaussianBlur(np.maximum(_steepness(first), _steepness(second)) * weight, (0, 0), patch)
    shares = np.maximum(cv2.GaussianBlur(weight, (0, 0), patch), 1e-3)
    may = PATCH_BASE + PATCH_ON_EDGES * steep / shares
    return float((np.abs(differing).max(axis=2) / shares / may)[where].max())
