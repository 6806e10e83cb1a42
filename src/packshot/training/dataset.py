"""The cached features as tensors, with the labels that each row has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from packshot.catalog.manifest import INBOX
from packshot.config import Profile, Recipe
from packshot.degrade.mixes import families_of
from packshot.errors import PackshotError
from packshot.training import layout

Rows = npt.NDArray[np.int64]


class FeaturesMissing(PackshotError):
    """The features stage has not run, or its files do not belong together."""


class NoLabels(PackshotError):
    """The training split lacks what a model needs."""

    exit_code = 65


@dataclass(frozen=True)
class Teacher:
    """`stats` N x S: each row as the teacher sees it; `trunk_dim`: the axes on which it tells quality; `human_share`,
    0..1: of people in the target of a picture that they scored, the rest being the teacher's."""

    stats: torch.Tensor
    trunk_dim: int
    human_share: float

    def only(self, rows: Rows) -> Teacher:
        """As it sees these rows."""
        return replace(self, stats=self.stats[torch.from_numpy(rows)])


@dataclass(frozen=True)
class Dataset:
    """All rows of the workspace. `quality` N (NaN: unknown), `style` N (-1: unknown), `source` N codes; `teacher` where
    the recipe has one."""

    index: pd.DataFrame
    stats: torch.Tensor
    gram: torch.Tensor
    text: torch.Tensor
    has_text: torch.Tensor
    quality: torch.Tensor
    style: torch.Tensor
    source: torch.Tensor
    styles: tuple[str, ...]
    teacher: Teacher | None = None

    def of_splits(self, *splits: str) -> Rows:
        """Row numbers of these splits."""
        return np.flatnonzero(self.index["split"].isin(splits).to_numpy())

    def only(self, rows: Rows) -> Dataset:
        """The data set of these rows."""
        places = torch.from_numpy(rows)
        columns = ("stats", "gram", "text", "has_text", "quality", "style", "source")
        kept = {name: getattr(self, name)[places] for name in columns}
        teacher = None if self.teacher is None else self.teacher.only(rows)
        return replace(self, index=self.index.iloc[rows].reset_index(drop=True), teacher=teacher, **kept)

    def with_quality(self, rows: Rows) -> Rows:
        """Those of `rows` that have a score."""
        chosen: Rows = rows[self.quality.isfinite().numpy()[rows]]
        return chosen

    def with_style(self, rows: Rows) -> Rows:
        """Those of `rows` that have a style."""
        chosen: Rows = rows[(self.style >= 0).numpy()[rows]]
        return chosen


@dataclass(frozen=True)
class Pairs:
    """Degraded copies; copy 0 of each image is clean, and `clean` is the row of that copy, for every row."""

    index: pd.DataFrame
    stats: torch.Tensor
    attributes: torch.Tensor
    severity: torch.Tensor
    patches: torch.Tensor
    clean: torch.Tensor

    @cached_property
    def aligned(self) -> npt.NDArray[np.bool_]:
        """Whether each row's pixels are where the clean copy has them, so that they can be compared."""
        return np.array(["geometry" not in families_of(steps) for steps in self.index["degradations"]], dtype=bool)

    def repairable(self, rows: Rows) -> Rows:
        """Those of `rows` that the enhancer can learn from, clean copies included."""
        chosen: Rows = rows[self.aligned[rows]]
        return chosen

    def of_split(self, split: str, without: Sequence[str] = ()) -> Rows:
        """Row numbers of a split, leaving out groups named in `without`."""
        keep = (self.index["split"] == split) & ~self.index["group"].isin(set(without))
        return np.flatnonzero(keep.to_numpy())


def load_dataset(workspace: Path, profile: Profile, recipe: Recipe | None = None) -> Dataset:
    """Read `data/features/`, with the teacher of the recipe, where one is named that has any. Labels count in the sets
    that the profile says carry them, and in pictures that were labelled after scoring. Raises FeaturesMissing."""
    index, arrays = _read(workspace, layout.INDEX, layout.VALUES)
    rated = index["source"].isin((*profile.quality, INBOX)).to_numpy()
    styled = index["source"].isin((*profile.style, INBOX)) & index["style"].notna()
    styles = tuple(sorted(index.loc[styled, "style"].astype(str).unique()))
    codes = {name: place for place, name in enumerate(styles)}
    style = [codes[str(name)] if known else -1 for name, known in zip(index["style"], styled, strict=True)]
    return Dataset(
        index=index,
        stats=arrays["stats"].float(),
        gram=arrays["gram"],
        text=arrays["text"],
        has_text=arrays["has_text"],
        quality=torch.tensor(np.where(rated, index["quality_mos"].astype(float), np.nan), dtype=torch.float32),
        style=torch.tensor(style, dtype=torch.int64),
        source=torch.tensor(pd.factorize(index["source"])[0].astype(np.int64)),
        styles=styles,
        teacher=_teacher(workspace, recipe, len(index)) if recipe is not None and recipe.teacher is not None else None,
    )


def _teacher(workspace: Path, recipe: Recipe, rows: int) -> Teacher:
    path = workspace / layout.TEACHER_VALUES
    if not path.exists():
        raise FeaturesMissing(f"{path} does not exist; run `packshot features` with this recipe first")
    with safe_open(path, framework="pt") as file:
        stats, told = file.get_tensor("stats"), file.metadata()
    if len(stats) != rows:
        raise FeaturesMissing(f"{layout.INDEX} has {rows} rows, {path} has {len(stats)}; run `packshot features` again")
    return Teacher(stats, int(told["trunk_dim"]), recipe.human_share)


def load_pairs(workspace: Path) -> Pairs:
    """Read the degraded pairs. Raises FeaturesMissing."""
    index, arrays = _read(workspace, layout.PAIR_INDEX, layout.PAIR_VALUES)
    place = np.arange(len(index))
    copy = index["copy"].to_numpy(dtype=np.int64)
    return Pairs(
        index=index,
        stats=arrays["stats"].float(),
        attributes=arrays["attributes"],
        severity=arrays["severity"],
        patches=arrays["patches"],
        clean=torch.from_numpy((place - copy).astype(np.int64)),
    )


def _read(workspace: Path, index_path: Path, values_path: Path) -> tuple[pd.DataFrame, dict[str, torch.Tensor]]:
    for path in (index_path, values_path):
        if not (workspace / path).exists():
            raise FeaturesMissing(f"{workspace / path} does not exist; run `packshot features` first")
    index = pd.read_parquet(workspace / index_path)
    arrays: dict[str, torch.Tensor] = load_file(workspace / values_path)
    if len(index) != len(arrays["stats"]):
        raise FeaturesMissing(
            f"{index_path} has {len(index)} rows, {values_path} has {len(arrays['stats'])}; "
            "run `packshot features` again"
        )
    return index, arrays
