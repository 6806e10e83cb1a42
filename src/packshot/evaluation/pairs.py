"""Held-out pictures degraded on purpose: mixes for the enhancer, single degradations for the attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import ImageLimits, resolve_inside
from packshot.catalog.manifest import rows_of_sets
from packshot.config import Profile, Settings
from packshot.degrade import DEGRADATIONS, LEVELS, Step, apply_mix, draw_mix

Image = NDArray[np.uint8]
IMAGES = Path("data/raw/images")


@dataclass(frozen=True)
class Pair:
    """A clean crop, its degraded copy (both RGB uint8 of one shape), and what was done to it."""

    image_id: str
    group: str
    clean: Image
    degraded: Image
    steps: tuple[Step, ...]

    @property
    def degradations(self) -> str:
        """`name:level` of each step, in order, joined by +."""
        return "+".join(map(str, self.steps))

    @property
    def family(self) -> str:
        """The families of the steps, in order, joined by +."""
        return "+".join(step.family for step in self.steps)


def pristine_rows(manifest: pd.DataFrame, profile: Profile, split: str, count: int, seed: int) -> pd.DataFrame:
    """At most `count` rows of a split whose set is pristine, shared out over the sets; the same for the same seed.

    Which rows are taken depends on each row's own identity, so added data does not reshuffle them.
    """
    rows = manifest[(manifest["split"] == split) & rows_of_sets(manifest, profile.pristine)]
    rows = rows.drop_duplicates("image_id")
    rows = rows.assign(draw=[_draw(image_id, seed) for image_id in rows["image_id"]]).sort_values("draw")
    turn = rows.groupby("source").cumcount()
    return rows.assign(turn=turn).sort_values(["turn", "source"], kind="stable").head(count)


def mixed_pairs(rows: pd.DataFrame, settings: Settings, workspace: Path) -> Iterator[Pair]:
    """One pair a row: a random crop under a mix as `packshot.degrade.draw_mix` draws it, seeded by the row."""
    for row, image, random in _crops(rows, settings, workspace):
        yield _pair(row, image, draw_mix(int(random.integers(0, 2**31))), random)


def single_pairs(rows: pd.DataFrame, settings: Settings, workspace: Path) -> Iterator[Pair]:
    """Ladders: every degradation at levels 1 to 5 of one crop, on `evaluation.singles` crops each, rows taken in turn.

    Each crop comes first as it is, with no steps.
    """
    ladders = sorted(DEGRADATIONS) * settings.evaluation.singles
    turns = np.arange(len(ladders)) % max(len(rows), 1)
    for place, (row, image, random) in enumerate(_crops(rows, settings, workspace)):
        mine = [ladders[i] for i in np.flatnonzero(turns == place)]
        if mine:
            yield _pair(row, image, (), random)
        for name in mine:
            seed = int(random.integers(0, 2**31))
            for level in LEVELS:
                step = Step(name, level)
                yield Pair(str(row["image_id"]), str(row["group"]), image, apply_mix(image, (step,), seed), (step,))


def single_count(rows: int, settings: Settings) -> int:
    """How many pairs `single_pairs` gives for so many rows."""
    ladders = len(DEGRADATIONS) * settings.evaluation.singles
    return ladders * len(LEVELS) + min(rows, ladders) if rows else 0


def _crops(
    rows: pd.DataFrame, settings: Settings, workspace: Path
) -> Iterator[tuple[pd.Series, Image, np.random.Generator]]:
    limits = ImageLimits.from_settings(settings.validation)
    side = settings.evaluation.crop
    for _, row in rows.iterrows():
        random = np.random.default_rng(_draw(str(row["image_id"]), settings.training.seed + 1))
        image = decode(resolve_inside(workspace / IMAGES, str(row["path"])), limits)
        top = int(random.integers(0, max(image.shape[0] - side, 0) + 1))
        left = int(random.integers(0, max(image.shape[1] - side, 0) + 1))
        yield row, np.ascontiguousarray(image[top : top + side, left : left + side]), random


def _pair(row: pd.Series, clean: Image, steps: tuple[Step, ...], random: np.random.Generator) -> Pair:
    degraded = apply_mix(clean, steps, int(random.integers(0, 2**31)))
    return Pair(str(row["image_id"]), str(row["group"]), clean, degraded, steps)


def _draw(image_id: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{image_id}".encode()).digest()[:8], "big")
