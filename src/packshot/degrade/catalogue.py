"""The degradations: pure functions of (image, level, generator), registered by name.

Strengths are the five level values of each degradation, mild to severe, in the unit its docstring
names. Levels follow the practice of KADID-10k (Lin et al., 2019) and ImageNet-C (Hendrycks and
Dietterich, 2019): level 1 is just visible, level 5 spoils the picture. One seed gives one random
pattern, scaled by the level, so that a higher level is never milder.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from packshot.errors import PackshotError

Image = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]
Family = Literal["blur", "noise", "compression", "exposure", "colour", "detail", "geometry"]
Attribute = Literal["sharpness", "colour_balance", "detail"]
Strengths = tuple[float, float, float, float, float]
Change = Callable[[Plane, float, np.random.Generator], Plane]

LEVELS = (1, 2, 3, 4, 5)
FAMILY_ATTRIBUTE: dict[Family, Attribute] = {
    "blur": "sharpness",
    "geometry": "sharpness",
    "colour": "colour_balance",
    "exposure": "colour_balance",
    "noise": "detail",
    "compression": "detail",
    "detail": "detail",
}
MID_GREY = 0.5
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class DegradationError(PackshotError):
    """An unknown degradation, a level outside 1..5, or an array that is not an RGB image."""


@dataclass(frozen=True)
class Degradation:
    """One way to spoil an image.

    `attribute` is the quality attribute that suffers; the other attributes stay near 1.
    """

    name: str
    family: Family
    strengths: Strengths
    change: Change

    @property
    def attribute(self) -> Attribute:
        """`sharpness`, `colour_balance` or `detail`."""
        return FAMILY_ATTRIBUTE[self.family]


DEGRADATIONS: dict[str, Degradation] = {}


def _register(family: Family, *strengths: float) -> Callable[[Change], Change]:
    def add(change: Change) -> Change:
        name = change.__name__
        first, second, third, fourth, fifth = strengths
        DEGRADATIONS[name] = Degradation(name, family, (first, second, third, fourth, fifth), change)
        return change

    return add


def apply(image: Image, name: str, level: int, seed: int) -> Image:
    """Degrade `image` (uint8, H x W x 3, RGB) by the named degradation at `level` 1..5.

    Returns a new array of the same shape and type; the same arguments give the same pixels.
    Raises DegradationError for an unknown name, a level outside 1..5 or another kind of array.
    """
    if name not in DEGRADATIONS:
        raise DegradationError(f"unknown degradation {name!r}; known: {', '.join(sorted(DEGRADATIONS))}")
    if level not in LEVELS:
        raise DegradationError(f"level of {name} must be 1..5, is {level!r}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise DegradationError(f"expected an RGB image, uint8 H x W x 3, found {image.dtype} {image.shape}")
    degradation = DEGRADATIONS[name]
    generator = np.random.default_rng([seed & 0xFFFFFFFF, zlib.crc32(name.encode())])
    plane = image.astype(np.float32) / 255.0
    changed = degradation.change(plane, degradation.strengths[level - 1], generator)
    return _to_bytes(changed)


def _to_bytes(plane: Plane) -> Image:
    values: Image = np.rint(np.clip(plane, 0.0, 1.0) * 255.0).astype(np.uint8)
    return values


def _array(value: Any) -> Plane:
    return np.asarray(value, dtype=np.float32)


def _filter(plane: Plane, kernel: Plane) -> Plane:
    return _array(cv2.filter2D(plane, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))


def _gaussian(plane: Plane, sigma: float) -> Plane:
    return _array(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def _luma(plane: Plane) -> Plane:
    return _array((plane @ LUMA)[..., None])


@_register("blur", 0.8, 1.4, 2.2, 3.4, 5.0)
def gaussian_blur(plane: Plane, sigma: float, generator: np.random.Generator) -> Plane:
    """Gaussian of standard deviation `sigma`, pixels."""
    return _gaussian(plane, sigma)


@_register("blur", 1.5, 2.5, 4.0, 6.0, 9.0)
def defocus_blur(plane: Plane, radius: float, generator: np.random.Generator) -> Plane:
    """Disc of `radius` pixels, with a soft rim of one pixel."""
    reach = int(np.ceil(radius)) + 1
    ys, xs = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return _filter(plane, _array(np.clip(radius + 0.5 - np.hypot(xs, ys), 0.0, 1.0)))


@_register("blur", 4.0, 7.0, 11.0, 17.0, 25.0)
def motion_blur(plane: Plane, length: float, generator: np.random.Generator) -> Plane:
    """Straight movement of the camera by `length` pixels in a random direction."""
    angle = generator.uniform(0.0, np.pi)
    reach = int(np.ceil(length / 2)) + 1
    ys, xs = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = xs * np.cos(angle) + ys * np.sin(angle)
    across = -xs * np.sin(angle) + ys * np.cos(angle)
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0.0, 1.0) * np.clip(1.0 - np.abs(across), 0.0, 1.0)
    return _filter(plane, _array(kernel))


@_register("noise", 0.025, 0.05, 0.085, 0.13, 0.2)
def gaussian_noise(plane: Plane, deviation: float, generator: np.random.Generator) -> Plane:
    """Independent normal noise in each channel; `deviation` as a share of full scale."""
    return _array(plane + deviation * generator.standard_normal(plane.shape, dtype=np.float32))


@_register("noise", 0.04, 0.08, 0.13, 0.2, 0.3)
def shot_noise(plane: Plane, deviation: float, generator: np.random.Generator) -> Plane:
    """Photon noise: its deviation grows with the root of the signal and is `deviation` at white."""
    return _array(plane + deviation * np.sqrt(plane) * generator.standard_normal(plane.shape, dtype=np.float32))


@_register("noise", 0.004, 0.012, 0.03, 0.07, 0.14)
def impulse_noise(plane: Plane, share: float, generator: np.random.Generator) -> Plane:
    """A `share` of pixels turns black or white."""
    draw = generator.random(plane.shape[:2])[..., None]
    salt = generator.random(plane.shape[:2])[..., None] < 0.5
    return _array(np.where(draw < share, np.where(salt, 1.0, 0.0), plane))


@_register("noise", 0.04, 0.08, 0.14, 0.22, 0.32)
def chroma_noise(plane: Plane, deviation: float, generator: np.random.Generator) -> Plane:
    """Blotchy colour noise that leaves brightness alone, as of a dark room; `deviation` of full scale."""
    noise = _gaussian(generator.standard_normal(plane.shape, dtype=np.float32), 1.2) * np.float32(4.2)
    return _array(plane + deviation * (noise - _luma(noise)))


@_register("compression", 45, 28, 17, 10, 5)
def jpeg(plane: Plane, quality: float, generator: np.random.Generator) -> Plane:
    """JPEG at `quality` 1..100."""
    return _recode(plane, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, int(quality)])


@_register("compression", 40, 25, 14, 7, 1)
def webp(plane: Plane, quality: float, generator: np.random.Generator) -> Plane:
    """Lossy WebP at `quality` 1..100."""
    return _recode(plane, ".webp", [cv2.IMWRITE_WEBP_QUALITY, int(quality)])


@_register("compression", 60, 40, 25, 15, 8)
def repeated_jpeg(plane: Plane, quality: float, generator: np.random.Generator) -> Plane:
    """JPEG of `quality` three times over, shifted between, as of pictures passed from site to site."""
    for shift in (3, 5):
        plane = _recode(plane, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
        plane = np.roll(plane, shift, axis=(0, 1))
    plane = _recode(plane, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.roll(plane, -8, axis=(0, 1))


def _recode(plane: Plane, suffix: str, options: list[int]) -> Plane:
    # 16383 is the largest side that WebP holds; a longer image is coded in strips
    limit = 16000
    strips = []
    for top in range(0, plane.shape[0], limit):
        row = []
        for left in range(0, plane.shape[1], limit):
            tile = np.ascontiguousarray(_to_bytes(plane[top : top + limit, left : left + limit])[..., ::-1])
            _, code = cv2.imencode(suffix, tile, options)
            row.append(_array(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1] / 255.0)
        strips.append(np.concatenate(row, axis=1))
    return _array(np.concatenate(strips, axis=0))


@_register("exposure", 0.82, 0.66, 0.5, 0.36, 0.22)
def underexposure(plane: Plane, gain: float, generator: np.random.Generator) -> Plane:
    """Light multiplied by `gain` in linear light (gamma 2.2), as of too short an exposure."""
    return _array(plane * gain ** (1 / 2.2) * (1 - 0.15 * (1 - gain)))


@_register("exposure", 1.25, 1.55, 1.95, 2.5, 3.3)
def overexposure(plane: Plane, gain: float, generator: np.random.Generator) -> Plane:
    """Light multiplied by `gain` in linear light (gamma 2.2); highlights clip."""
    return _array(plane * gain ** (1 / 2.2))


@_register("exposure", 0.8, 0.65, 0.5, 0.36, 0.22)
def low_contrast(plane: Plane, scale: float, generator: np.random.Generator) -> Plane:
    """Deviation from mid-grey multiplied by `scale`: haze, a dirty lens."""
    return _array((plane - MID_GREY) * scale + MID_GREY)


@_register("exposure", 1.3, 1.65, 2.1, 2.8, 4.0)
def high_contrast(plane: Plane, scale: float, generator: np.random.Generator) -> Plane:
    """Deviation from mid-grey multiplied by `scale`; shadows and highlights clip."""
    return _array((plane - MID_GREY) * scale + MID_GREY)


@_register("colour", 0.06, 0.12, 0.2, 0.3, 0.42)
def warm_cast(plane: Plane, strength: float, generator: np.random.Generator) -> Plane:
    """Tungsten light: red up, blue down by `strength` (relative gain)."""
    return _array(plane * np.array([1 + strength * 0.6, 1.0, 1 - strength]))


@_register("colour", 0.06, 0.12, 0.2, 0.3, 0.42)
def cool_cast(plane: Plane, strength: float, generator: np.random.Generator) -> Plane:
    """Shade: blue up, red down by `strength` (relative gain)."""
    return _array(plane * np.array([1 - strength, 1.0, 1 + strength * 0.6]))


@_register("colour", 0.05, 0.1, 0.17, 0.26, 0.38)
def green_cast(plane: Plane, strength: float, generator: np.random.Generator) -> Plane:
    """Fluorescent light: red and blue down by `strength` (relative gain)."""
    return _array(plane * np.array([1 - strength, 1.0, 1 - strength * 0.8]))


@_register("colour", 0.7, 0.5, 0.32, 0.16, 0.0)
def desaturation(plane: Plane, saturation: float, generator: np.random.Generator) -> Plane:
    """Colour difference from luma multiplied by `saturation`."""
    luma = _luma(plane)
    return _array(luma + saturation * (plane - luma))


@_register("colour", 1.4, 1.9, 2.5, 3.3, 4.5)
def oversaturation(plane: Plane, saturation: float, generator: np.random.Generator) -> Plane:
    """Colour difference from luma multiplied by `saturation`; strong colours clip."""
    luma = _luma(plane)
    return _array(luma + saturation * (plane - luma))


@_register("colour", 8.0, 16.0, 28.0, 45.0, 70.0)
def hue_shift(plane: Plane, degrees: float, generator: np.random.Generator) -> Plane:
    """Hues turned by `degrees` about the grey axis, either way."""
    angle = np.deg2rad(degrees) * (1 if generator.random() < 0.5 else -1)
    cosine, sine = np.cos(angle), np.sin(angle) / np.sqrt(3.0)
    third = (1 - cosine) / 3
    turn = np.full((3, 3), third) + np.eye(3) * cosine + sine * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return _array(plane @ _array(turn).T)


@_register("detail", 2, 3, 4, 6, 9)
def pixelation(plane: Plane, block: float, generator: np.random.Generator) -> Plane:
    """Blocks of `block` pixels, each of one colour."""
    small = _shrink(plane, block)
    return _array(cv2.resize(small, (plane.shape[1], plane.shape[0]), interpolation=cv2.INTER_NEAREST))


@_register("detail", 1.6, 2.2, 3.0, 4.2, 6.0)
def upscaling(plane: Plane, factor: float, generator: np.random.Generator) -> Plane:
    """Shrunk by `factor` and enlarged again: a thumbnail sold as a picture."""
    small = _shrink(plane, factor)
    return _array(cv2.resize(small, (plane.shape[1], plane.shape[0]), interpolation=cv2.INTER_CUBIC))


def _shrink(plane: Plane, factor: float) -> Plane:
    height, width = plane.shape[:2]
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    return _array(cv2.resize(plane, size, interpolation=cv2.INTER_AREA))


@_register("detail", 20, 13, 9, 6, 4)
def posterisation(plane: Plane, steps: float, generator: np.random.Generator) -> Plane:
    """Only `steps` values a channel: banding of smooth gradients."""
    return _array(np.rint(plane * (steps - 1)) / (steps - 1))


@_register("detail", 3, 5, 7, 11, 17)
def median_smoothing(plane: Plane, window: float, generator: np.random.Generator) -> Plane:
    """Median over `window` x `window` pixels: noise reduction that wipes texture away."""
    return _array(cv2.medianBlur(_to_bytes(plane), int(window))) / np.float32(255.0)


@_register("detail", 0.8, 1.6, 2.8, 4.5, 7.0)
def oversharpening(plane: Plane, amount: float, generator: np.random.Generator) -> Plane:
    """Unsharp mask of radius 1.5 pixels with gain `amount`: halos."""
    return _array(plane + amount * (plane - _gaussian(plane, 1.5)))


@_register("geometry", 0.6, 1.1, 1.8, 2.8, 4.2)
def jitter(plane: Plane, distance: float, generator: np.random.Generator) -> Plane:
    """Every pixel fetched from a random place at a deviation of `distance` pixels."""
    offsets = generator.standard_normal((2, *plane.shape[:2]), dtype=np.float32) * np.float32(distance * 0.7)
    return _displace(plane, offsets[0], offsets[1])


@_register("geometry", 0.8, 1.6, 2.8, 4.5, 7.0)
def ripple(plane: Plane, amplitude: float, generator: np.random.Generator) -> Plane:
    """Smooth random waves of `amplitude` pixels, as through uneven glass."""
    height, width = plane.shape[:2]
    coarse = (max(2, width // 24), max(2, height // 24))
    waves = [
        _array(
            cv2.resize(
                generator.standard_normal(coarse[::-1], dtype=np.float32),
                (width, height),
                interpolation=cv2.INTER_CUBIC,
            )
        )
        for _ in range(2)
    ]
    return _displace(plane, waves[0] * np.float32(amplitude), waves[1] * np.float32(amplitude))


@_register("geometry", 0.006, 0.013, 0.024, 0.04, 0.065)
def lens_distortion(plane: Plane, strength: float, generator: np.random.Generator) -> Plane:
    """Barrel distortion: the corner moves by `strength` of the half diagonal."""
    height, width = plane.shape[:2]
    ys, xs = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
    ys, xs = ys - np.float32((height - 1) / 2), xs - np.float32((width - 1) / 2)
    radius = (xs**2 + ys**2) / np.float32(max((height**2 + width**2) / 4, 1.0))
    return _displace(plane, xs * radius * np.float32(strength), ys * radius * np.float32(strength))


def _displace(plane: Plane, right: Plane, down: Plane) -> Plane:
    # OpenCV's remap counts pixels in 16 bits, so an image with a longer side is mapped in tiles by hand
    height, width = plane.shape[:2]
    xs = np.arange(width, dtype=np.float32)[None, :] + right
    ys = np.arange(height, dtype=np.float32)[:, None] + down
    if max(height, width) < 32767:
        return _array(cv2.remap(plane, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    columns = np.clip(np.rint(xs), 0, width - 1).astype(np.int64)
    rows = np.clip(np.rint(ys), 0, height - 1).astype(np.int64)
    return _array(plane[rows, columns])
