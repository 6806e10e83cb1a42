"""Mixes of one to three degradations in the order in which a camera and a shop would add them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from packshot.degrade.catalogue import DEGRADATIONS, LEVELS, Family, Image, apply

ORDER: tuple[Family, ...] = ("blur", "exposure", "colour", "detail", "noise", "compression")
"""Lens, light, white balance, processing, sensor, encoder. Geometry is left out: pixels that moved do not come back."""
HIGHEST_LEVEL = 4


@dataclass(frozen=True)
class Step:
    """One degradation of a mix."""

    name: str
    level: int

    @property
    def family(self) -> Family:
        """The family of the degradation."""
        return DEGRADATIONS[self.name].family

    def __str__(self) -> str:
        return f"{self.name}:{self.level}"


def families_of(steps: str) -> set[Family]:
    """The families of steps that are written `name:level` and joined by +."""
    return {DEGRADATIONS[step.split(":")[0]].family for step in steps.split("+") if step}


def draw_mix(seed: int) -> tuple[Step, ...]:
    """One to three degradations of different families at random levels 1..4, in camera order."""
    generator = np.random.default_rng(seed & 0xFFFFFFFF)
    chosen = generator.choice(len(ORDER), size=int(generator.integers(1, 4)), replace=False)
    steps = []
    for place in sorted(chosen.tolist()):
        names = sorted(name for name, known in DEGRADATIONS.items() if known.family == ORDER[place])
        name = names[int(generator.integers(len(names)))]
        steps.append(Step(name, int(generator.integers(1, HIGHEST_LEVEL + 1))))
    return tuple(steps)


def draw_singles(count: int, seed: int) -> list[tuple[Step, ...]]:
    """`count` single degradations of the whole catalogue, two different levels of each, no degradation drawn again
    before all were."""
    generator = np.random.default_rng(seed & 0xFFFFFFFF)
    names = sorted(DEGRADATIONS)
    order = [name for _ in range(count // (2 * len(names)) + 1) for name in generator.permutation(names)]
    drawn: list[tuple[Step, ...]] = []
    for place in range(count):
        if place % 2 == 0:
            levels = generator.permutation(LEVELS)
        drawn.append((Step(str(order[place // 2]), int(levels[place % 2])),))
    return drawn


def apply_mix(image: Image, steps: Sequence[Step], seed: int) -> Image:
    """`image` (uint8, H x W x 3, RGB) after all `steps` in turn; pure, like `packshot.degrade.apply`."""
    for place, step in enumerate(steps):
        image = apply(image, step.name, step.level, seed + place)
    return image
