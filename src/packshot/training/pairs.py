"""Pristine training images spoiled on purpose: teachers of the attributes and of the enhancer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from packshot.catalog.manifest import rows_of_sets
from packshot.closure import code_digest
from packshot.degrade import DEGRADATIONS, Step, apply_mix, draw_mix, draw_singles
from packshot.degrade.full_reference import scores
from packshot.model.architecture import ATTRIBUTES
from packshot.model.preprocess import Image

if TYPE_CHECKING:
    from packshot.config import Profile, Recipe
    from packshot.training.extraction import Arrays, Extractor, Views

TEACHER_SIDE = 192
"""Pixels: the part of a crop that the full-reference scores look at."""


def pair_rows(manifest: pd.DataFrame, profile: Profile, recipe: Recipe, seed: int) -> pd.DataFrame:
    """The pristine images to degrade: `recipe.pairs` rows of train and validation, in their proportion.

    Every image draws its own lot, so added data does not reshuffle the others. Sets take turns.
    Images too small for a patch are left out.
    """
    short = manifest[["width", "height"]].min(axis=1)
    fitting = manifest[rows_of_sets(manifest, profile.pristine) & (short >= recipe.patch)]
    fitting = fitting[fitting["split"].isin(["train", "validation"])].drop_duplicates("image_id")
    fitting = fitting.assign(lot=[_lot(image_id, seed) for image_id in fitting["image_id"]]).sort_values("lot")
    turn = fitting.groupby(["split", "source"]).cumcount()
    fitting = fitting.assign(turn=turn).sort_values(["turn", "source", "lot"], kind="stable")
    share = {"train": 0.85, "validation": 0.15}
    chosen = [
        rows.head(max(1, round(recipe.pairs * share[str(split)])))
        for split, rows in fitting.groupby("split", sort=True)
    ]
    return pd.concat(chosen).drop(columns=["lot", "turn"]) if chosen else fitting.drop(columns=["lot", "turn"])


@dataclass(frozen=True)
class Spoilt:
    """A pristine crop and its degraded copies, C in all, the first unhurt; `plans` says what was done to each."""

    image_id: str
    copies: list[Image]
    plans: list[tuple[Step, ...]]


def pair_key(features_key: str, image_id: str, recipe: Recipe, seed: int) -> str:
    """Cache key of what is computed from the copies of an image: `features_key` and how copies are made."""
    parts = [features_key, image_id, recipe.mixes, recipe.singles, recipe.crop, recipe.patch, recipe.patches, seed]
    return hashlib.sha256("/".join(map(str, [code_digest(__name__), *parts])).encode()).hexdigest()


def steps_of(image_id: str, recipe: Recipe, seed: int) -> list[tuple[Step, ...]]:
    """What is done to an image, one entry a copy: nothing first, then mixes, then singles."""
    mixes = [draw_mix(_lot(f"{image_id}/{copy}", seed) & 0xFFFFFFFF) for copy in range(recipe.mixes)]
    return [(), *mixes, *draw_singles(recipe.singles, _lot(f"{image_id}/singles", seed))]


def crop_of(image: Image, image_id: str, recipe: Recipe, seed: int) -> Image:
    """The part of a pristine image that is degraded, its size and place drawn by the image.

    `recipe.crop` pixels a side at most and half of that at least: small pictures are judged by fewer views, and the
    heads must know what that looks like.
    """
    generator = np.random.default_rng(_lot(image_id, seed))
    side = int(generator.integers(max(recipe.crop // 2, recipe.patch), recipe.crop + 1))
    top = int(generator.integers(0, max(image.shape[0] - side, 0) + 1))
    left = int(generator.integers(0, max(image.shape[1] - side, 0) + 1))
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def spoiled(clean: Image, image_id: str, steps: Sequence[Step], copy: int, seed: int) -> Image:
    """`clean` after `steps`, with the randomness of this image and copy."""
    return apply_mix(clean, steps, (_lot(f"{image_id}/{copy}", seed) >> 8) & 0x7FFFFFFF)


def spoil(image: Image, image_id: str, recipe: Recipe, seed: int) -> Spoilt:
    """A part of a pristine image and its degraded copies; the same for the same id, recipe and seed."""
    clean = crop_of(image, image_id, recipe, seed)
    plans = steps_of(image_id, recipe, seed)
    return Spoilt(image_id, [spoiled(clean, image_id, steps, copy, seed) for copy, steps in enumerate(plans)], plans)


def lesson(spoilt: Spoilt, pixels: Sequence[Views], recipe: Recipe, extractor: Extractor, seed: int) -> Arrays:
    """What C copies, of which `pixels` are the views, teach, but for their signal statistics.

    `stats` C x S float16, of the backbone; `attributes` C x 3 (1 where that attribute is unhurt); `severity` C, 1 minus
    the full-reference score; `patches` C x P x patch x patch x 3 uint8, in one place of all copies.
    `attributes` is NaN for mixes: what each part did cannot be told from the sum.
    """
    return {
        "stats": np.stack([extractor.backbone(each)["stats"] for each in pixels]),
        **teachers(spoilt.copies[0], spoilt.copies, spoilt.plans),
        "patches": _patches(spoilt.copies, spoilt.image_id, recipe, seed),
    }


def signal_of(pixels: Sequence[Views], extractor: Extractor) -> Arrays:
    """`signal`, C x SIGNAL_SIZE float16, of the views of C copies."""
    return {"signal": np.stack([extractor.signal(each)["signal"] for each in pixels])}


def teachers(clean: Image, copies: Sequence[Image], plans: Sequence[tuple[Step, ...]]) -> Arrays:
    """What the copies of one picture teach, by full-reference scores of their middle: `attributes` and `severity` as in
    `lesson`. All copies have the shape of `clean`; `plans` says what was done to each."""
    top, left = (max(side - TEACHER_SIDE, 0) // 2 for side in clean.shape[:2])
    window = np.s_[top : top + TEACHER_SIDE, left : left + TEACHER_SIDE]
    near = scores([clean[window]] * len(copies), [copy[window] for copy in copies])
    attributes = np.ones((len(copies), len(ATTRIBUTES)), dtype=np.float32)
    for place, steps in enumerate(plans):
        if len(steps) == 1:
            attributes[place, ATTRIBUTES.index(DEGRADATIONS[steps[0].name].attribute)] = near[place]
        elif steps:
            attributes[place] = np.nan
    return {"attributes": attributes, "severity": (1 - near).astype(np.float32)}


def _patches(copies: Sequence[Image], image_id: str, recipe: Recipe, seed: int) -> np.ndarray:
    generator = np.random.default_rng(_lot(image_id, seed + 1))
    height, width = copies[0].shape[:2]
    windows = []
    for _ in range(recipe.patches):
        top = int(generator.integers(0, height - recipe.patch + 1))
        left = int(generator.integers(0, width - recipe.patch + 1))
        windows.append(np.s_[top : top + recipe.patch, left : left + recipe.patch])
    return np.stack([np.stack([copy[window] for window in windows]) for copy in copies])


def _lot(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")
