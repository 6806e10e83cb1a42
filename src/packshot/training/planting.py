"""Faults planted in whole clean pictures, at any strength and several at once: what a picture with them looks like to
the signal statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from packshot.closure import code_digest
from packshot.degrade.catalogue import DEGRADATIONS, Plane
from packshot.faults.kinds import NAMES
from packshot.model.preprocess import Image

if TYPE_CHECKING:
    from packshot.training.extraction import Arrays, Extractor

ORDER: tuple[tuple[str, ...], ...] = (("blur",), ("dark", "light", "flat"), ("cast",), ("noise",), ("compression",))
"""In which a camera and a shop add faults; of one place at most one is planted."""
COUNTS = (0.6, 0.3, 0.1)
"""How often a copy has one, two and three faults."""
HARMLESS = 0.15
"""Share of the copies that are changed without becoming faulty."""
SMALLEST = 64
"""Pixels: a picture is not shrunk below this side."""
LEAST = 0.01
"""Strength of a fault that left the picture as it was, as too little light does a black one."""
Strength = Callable[[Plane, Plane, float], float]


@dataclass(frozen=True)
class Way:
    """How a fault comes about: `name` of a degradation, or of what stands below; values from `mild` to `strong`; and
    the strength in the unit of the fault, of (before, after, value)."""

    name: str
    mild: float
    strong: float
    strength: Strength


@dataclass(frozen=True)
class Planted:
    """A copy and the strength of each fault in it, F in the order of NAMES; 0 where it is not planted."""

    image: Image
    strengths: npt.NDArray[np.float32]


def _light(plane: Plane) -> float:
    return float(np.mean(plane**2.2)) + 1e-4


def _stops(before: Plane, after: Plane, value: float) -> float:
    return abs(float(np.log2(_light(after) / _light(before))))


def _contrast_lost(before: Plane, after: Plane, value: float) -> float:
    return 100 * (1 - value)


def _tint(before: Plane, after: Plane, value: float) -> float:
    planes = [cv2.cvtColor(np.clip(plane, 0, 1).astype(np.float32), cv2.COLOR_RGB2Lab) for plane in (before, after)]
    first, second = (np.asarray(lab)[..., 1:].mean(axis=(0, 1)) for lab in planes)
    return float(np.hypot(*(second - first)))


def _levels(before: Plane, after: Plane, value: float) -> float:
    return 255 * float(np.sqrt(np.mean((after - before) ** 2)))


def _as_value(factor: float) -> Strength:
    return lambda before, after, value: factor * value


def _as_jpeg(values: tuple[float, ...]) -> Strength:
    """The quality of JPEG whose level, in the catalogue of degradations, is that of `values` at the value."""
    jpeg = DEGRADATIONS["jpeg"].strengths
    return lambda before, after, value: float(np.interp(value, values[::-1], jpeg[::-1]))


def _of_catalogue(name: str, strength: Strength) -> Way:
    values = DEGRADATIONS[name].strengths
    return Way(name, values[0], values[4], strength)


WAYS: dict[str, tuple[Way, ...]] = {
    "dark": (_of_catalogue("underexposure", _stops), Way("gamma", 1.2, 3.0, _stops)),
    "light": (_of_catalogue("overexposure", _stops), Way("gamma", 0.85, 0.35, _stops)),
    "flat": (_of_catalogue("low_contrast", _contrast_lost),),
    "cast": tuple(_of_catalogue(name, _tint) for name in ("warm_cast", "cool_cast", "green_cast")),
    "noise": tuple(
        _of_catalogue(name, _levels) for name in ("gaussian_noise", "shot_noise", "chroma_noise", "impulse_noise")
    ),
    # deviations of a disc and of a line, so that a strength is that of the Gaussian
    "blur": (
        _of_catalogue("gaussian_blur", _as_value(1.0)),
        _of_catalogue("defocus_blur", _as_value(0.5)),
        _of_catalogue("motion_blur", _as_value(12**-0.5)),
    ),
    "compression": tuple(
        _of_catalogue(name, _as_jpeg(DEGRADATIONS[name].strengths)) for name in ("jpeg", "webp", "repeated_jpeg")
    ),
}
HARMLESS_WAYS = (
    Way("gamma", 0.93, 1.08, _as_value(0.0)),
    Way("desaturation", 0.7, 0.02, _as_value(0.0)),
    Way("oversaturation", 1.1, 1.5, _as_value(0.0)),
    Way("high_contrast", 1.05, 1.3, _as_value(0.0)),
    Way("jpeg", 95, 85, _as_value(0.0)),
    Way("shrunk", 0.95, 0.6, _as_value(0.0)),
)


def plant(image: Image, lot: int) -> Planted:
    """A copy of `image` (uint8, H x W x 3, RGB) with faults drawn by `lot`; the same for the same arguments."""
    generator = np.random.default_rng([lot & 0xFFFFFFFF, lot >> 32])
    plane = _plane(image)
    strengths = np.zeros(len(NAMES), dtype=np.float32)
    if generator.random() < HARMLESS:
        way = HARMLESS_WAYS[int(generator.integers(len(HARMLESS_WAYS)))]
        return Planted(_image(_changed(plane, way.name, _value(way, generator), generator)), strengths)
    count = 1 + int(generator.choice(len(COUNTS), p=COUNTS))
    for place in sorted(generator.choice(len(ORDER), size=count, replace=False).tolist()):
        fault = ORDER[place][int(generator.integers(len(ORDER[place])))]
        way = WAYS[fault][int(generator.integers(len(WAYS[fault])))]
        value = _value(way, generator)
        after = _plane(_image(_changed(plane, way.name, value, generator)))
        strengths[NAMES.index(fault)] = max(way.strength(plane, after, value), LEAST)
        plane = after
    return Planted(_image(plane), strengths)


def planted_key(signal_key: str, image_id: str, copies: int, seed: int) -> str:
    """Cache key of what `planted_lesson` says of an image."""
    parts = [code_digest(__name__), signal_key, image_id, copies, seed]
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def planted_lesson(image: Image, image_id: str, copies: int, extractor: Extractor, seed: int) -> Arrays:
    """Of C copies of an image, `signal`, C x SIGNAL_SIZE float16, and `strengths`, C x F float32: see Planted."""
    signal, strengths = [], []
    for copy in range(copies):
        planted = plant(image, lot_of(image_id, copy, seed))
        signal.append(extractor.signal(extractor.views(planted.image))["signal"])
        strengths.append(planted.strengths)
    return {"signal": np.stack(signal), "strengths": np.stack(strengths)}


def lot_of(image_id: str, copy: int, seed: int) -> int:
    """What a copy of an image is drawn by."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{image_id}/faults/{copy}".encode()).digest()[:8], "big")


def _value(way: Way, generator: np.random.Generator) -> float:
    """Between mild and strong, evenly by ratio."""
    return float(np.exp(np.log(way.mild) + generator.random() * np.log(way.strong / way.mild)))


def _changed(plane: Plane, name: str, value: float, generator: np.random.Generator) -> Plane:
    if name == "gamma":
        return np.asarray(plane**value, dtype=np.float32)
    if name == "shrunk":
        factor = min(1.0, max(value, SMALLEST / min(plane.shape[:2])))
        return np.asarray(cv2.resize(plane, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.float32)
    return DEGRADATIONS[name].change(plane, value, generator)


def _plane(image: Image) -> Plane:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _image(plane: Plane) -> Image:
    return np.asarray(np.rint(np.clip(plane, 0, 1) * 255), dtype=np.uint8)
