"""What goes wrong with product pictures every day, at any strength: for measuring and showing, never for training.

Written apart from the catalogue that training draws from, so that a figure on these says something of damage that the
model was not shown in just this form. Pure functions of (image, strength, seed).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from packshot.degrade.catalogue import Image, Plane

Change = Callable[[Plane, float, np.random.Generator], Plane]


@dataclass(frozen=True)
class Everyday:
    """One everyday damage. `usual` is its strength in the unit that the docstring of `change` names, `others` are
    milder and stronger ones."""

    name: str
    usual: float
    others: tuple[float, ...]
    change: Change


@dataclass(frozen=True)
class Plan:
    """Damages that are applied one after another, each at a strength; `name` is what tables call it."""

    name: str
    steps: tuple[tuple[str, float], ...]


def dark(plane: Plane, gamma: float, generator: np.random.Generator) -> Plane:
    """Too little light: values to the power `gamma`, over 1."""
    return np.asarray(plane**gamma, dtype=np.float32)


def flat(plane: Plane, share: float, generator: np.random.Generator) -> Plane:
    """Haze: `share` of the contrast around mid grey is left, 0..1."""
    return np.asarray(0.5 + (plane - 0.5) * share, dtype=np.float32)


def cast(plane: Plane, strength: float, generator: np.random.Generator) -> Plane:
    """Warm light on a camera set for daylight: red is raised and blue lowered by `strength`, a share of each."""
    return np.asarray(plane * np.array([1 + strength, 1.0, 1 - strength], dtype=np.float32), dtype=np.float32)


def noise(plane: Plane, sigma: float, generator: np.random.Generator) -> Plane:
    """Gaussian noise of deviation `sigma`, in levels of 255."""
    return plane + generator.standard_normal(plane.shape, dtype=np.float32) * np.float32(sigma / 255)


def blur(plane: Plane, sigma: float, generator: np.random.Generator) -> Plane:
    """Out of focus: a Gaussian of deviation `sigma`, pixels."""
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), dtype=np.float32)


def jpeg(plane: Plane, quality: float, generator: np.random.Generator) -> Plane:
    """Saved as JPEG of `quality`, 1..100."""
    pixels = cv2.cvtColor(_to_bytes(plane), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    found = cv2.imdecode(np.asarray(data), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(np.asarray(found), cv2.COLOR_BGR2RGB), dtype=np.float32) / np.float32(255)


EVERYDAY: dict[str, Everyday] = {
    known.name: known
    for known in (
        Everyday("dark", 2.0, (1.6, 2.6), dark),
        Everyday("flat", 0.5, (0.65, 0.4), flat),
        Everyday("cast", 0.18, (0.12, 0.28), cast),
        Everyday("noise", 16.0, (10.0, 26.0), noise),
        Everyday("blur", 1.6, (1.1, 2.4), blur),
        Everyday("jpeg", 14.0, (20.0, 8.0), jpeg),
    )
}

MIXES: tuple[tuple[str, ...], ...] = (("dark", "noise"), ("cast", "jpeg"), ("flat", "noise"), ("dark", "cast"))


def usual_plans() -> list[Plan]:
    """Each damage at its usual strength."""
    return [Plan(name, ((name, known.usual),)) for name, known in EVERYDAY.items()]


def other_plans() -> list[Plan]:
    """Each damage at its milder and its stronger strength, and mixes of two at their milder ones."""
    singles = [
        Plan(f"{name} {strength:g}", ((name, strength),))
        for name, known in EVERYDAY.items()
        for strength in known.others
    ]
    mixes = [Plan("+".join(names), tuple((name, EVERYDAY[name].others[0]) for name in names)) for names in MIXES]
    return [*singles, *mixes]


def damaged(image: Image, plan: Plan, seed: int) -> Image:
    """`image` (uint8, H x W x 3, RGB) after the steps of `plan`; the same arguments give the same pixels."""
    generator = np.random.default_rng(seed)
    plane: Plane = image.astype(np.float32) / np.float32(255)
    for name, strength in plan.steps:
        plane = np.clip(EVERYDAY[name].change(plane, strength, generator), 0, 1)
    return _to_bytes(plane)


def _to_bytes(plane: Plane) -> Image:
    return np.asarray(np.rint(np.clip(plane, 0, 1) * 255), dtype=np.uint8)
