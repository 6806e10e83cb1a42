"""Group folds: every labelled row is predicted by a model that saw nothing of its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from packshot.catalog.source_record import read_source
from packshot.config import Settings
from packshot.model.network import PackshotNet
from packshot.model.parallel import one_core
from packshot.progress import say
from packshot.training.build import architecture_of
from packshot.training.calibration import temperature
from packshot.training.dataset import Dataset, Pairs, Rows, load_dataset, load_pairs
from packshot.training.fit import Task, fit
from packshot.training.sources import KeptFeatures
from packshot.training.warm_start import refit_quality, warm_start

INNER_SHARE = 8
"""One group in this many of a fold's training groups stops the training early."""


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of `rows`: quality (N, NaN where there is no score) and style logits (N x styles)."""

    rows: Rows
    fold: npt.NDArray[np.int64]
    quality: torch.Tensor
    logits: torch.Tensor


def cross_validate(settings: Settings, workspace: Path) -> pd.DataFrame:
    """`cross_validated` of a workspace's features. Raises FeaturesMissing."""
    profile = settings.profiles[read_source(workspace).profile]  # type: ignore[index]
    return cross_validated(
        settings, load_dataset(workspace, profile, settings.training.chosen), load_pairs(workspace), "cross-validation"
    )


def cross_validated(settings: Settings, data: Dataset, pairs: Pairs | None, what: str) -> pd.DataFrame:
    """Out-of-fold predictions of all labelled rows, by `recipe.folds` group folds.

    Everything that learns (standardisation, PCA, kernel, style space, heads, joint training) is fitted again in every
    fold, from kept features, without the enhancer. Columns: image_id, source, subset, group, fold, quality_mos,
    quality_oof, style, style_oof, style_confidence_oof.
    """
    labelled = data.quality.isfinite().numpy() | (data.style >= 0).numpy()
    found = out_of_fold(settings, data, pairs, np.flatnonzero(labelled), what)
    frame = data.index.iloc[found.rows][["image_id", "source", "subset", "group", "quality_mos", "style"]].copy()
    rated = data.quality[found.rows].isfinite().numpy()
    styled = (data.style[found.rows] >= 0).numpy()
    frame["fold"] = found.fold
    frame["quality_mos"] = frame["quality_mos"].where(rated)
    frame["quality_oof"] = np.where(rated, found.quality.double().numpy(), np.nan)
    confidence, best = _calibrated(found, data).max(dim=1)
    names = np.array([*data.styles, None], dtype=object)
    frame["style"] = frame["style"].where(styled)
    frame["style_oof"] = names[np.where(styled, best.numpy(), len(data.styles))]
    frame["style_confidence_oof"] = np.where(styled, confidence.double().numpy(), np.nan)
    columns = ["image_id", "source", "subset", "group", "fold", "quality_mos", "quality_oof"]
    return frame[[*columns, "style", "style_oof", "style_confidence_oof"]].reset_index(drop=True)


def _calibrated(found: OutOfFold, data: Dataset) -> torch.Tensor:
    """Style probabilities, those of each fold at the temperature that suits the others; N x styles."""
    labels = data.style[found.rows]
    likely = torch.zeros_like(found.logits)
    for each in np.unique(found.fold):
        held = torch.from_numpy(found.fold == each)
        others = ~held & (labels >= 0)
        likely[held] = torch.softmax(found.logits[held] / temperature(found.logits[others], labels[others]), dim=1)
    return likely


def out_of_fold(settings: Settings, data: Dataset, pairs: Pairs | None, rows: Rows, what: str) -> OutOfFold:
    """Predict each of `rows` by a model fitted on the others' groups; unlabelled rows of the data set never take part
    in a fold but serve as pictures to find principal components on, unless they share a group with it."""
    folds = settings.training.chosen.folds
    fold = group_folds(data, rows, folds, settings.training.seed)
    quality = torch.full((len(rows),), torch.nan)
    logits = torch.zeros(len(rows), max(len(data.styles), 1))
    for each in range(folds):
        held = fold == each
        if not held.any() or held.all():
            continue
        with one_core():
            network = fitted_without(settings, data, pairs, rows[~held], rows[held])
        with torch.inference_mode():
            seen = network.perceive(KeptFeatures(network, data, pairs).rows(rows[held]), *_text(data, rows[held]))
        quality[torch.from_numpy(held)] = seen.quality
        logits[torch.from_numpy(held)] = seen.logits
        say(f"{what}: fold {each + 1} of {folds} done")
    return OutOfFold(rows, fold, quality, logits)


def group_folds(data: Dataset, rows: Rows, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """A fold number for each of `rows`: whole groups, dealt so that every subset and style is spread evenly.

    Groups are dealt largest first, ties in seeded order, to the fold that has least of their most frequent stratum.
    """
    frame = data.index.iloc[rows]
    stratum = frame["source"].astype(str) + "/" + frame["subset"].fillna(frame["style"]).fillna("").astype(str)
    table = pd.DataFrame({"group": frame["group"].astype(str).to_numpy(), "stratum": stratum.to_numpy()})
    size = table.groupby("group").size()
    main = table.groupby("group")["stratum"].agg(lambda values: values.mode().iloc[0])
    shuffled = np.random.default_rng(seed).permutation(np.sort(size.index.to_numpy(dtype=object)))
    order = sorted(shuffled, key=lambda group: -int(size[group]))
    filled: dict[str, npt.NDArray[np.int64]] = {}
    chosen: dict[str, int] = {}
    for group in order:
        counts = filled.setdefault(str(main[group]), np.zeros(folds, dtype=np.int64))
        chosen[group] = int(counts.argmin())
        counts[chosen[group]] += int(size[group])
    return np.array([chosen[group] for group in table["group"]], dtype=np.int64)


def fitted_without(settings: Settings, data: Dataset, pairs: Pairs | None, rows: Rows, held: Rows) -> PackshotNet:
    """A network fitted on `rows`, and on unlabelled rows and pairs that share no group with `held`."""
    forbidden = set(data.index["group"].iloc[held])
    groups = data.index["group"].iloc[rows].to_numpy(dtype=object)
    inner = np.isin(groups, _some_groups(groups, settings.training.seed))
    outside = np.setdiff1d(np.arange(len(data.index)), np.concatenate([rows, held]))
    unlabelled = outside[~data.index["group"].iloc[outside].isin(forbidden | set(groups[inner])).to_numpy()]
    pair_rows = [_pair_rows(pairs, split, forbidden) for split in ("train", "validation")]
    torch.manual_seed(settings.training.seed)
    learned = rows if data.teacher is None else np.concatenate([rows, unlabelled])
    network = PackshotNet(architecture_of(settings, data.styles, len(learned), max(len(pair_rows[0]), 1)))
    network.backbone.requires_grad_(False)
    seed, steepness = settings.training.seed, settings.training.loss.gradient_norm
    warm_start(network, data, np.concatenate([rows[~inner], unlabelled]), pairs, pair_rows[0], seed, steepness)
    task = Task(data, pairs, rows[~inner], rows[inner], pair_rows[0], pair_rows[1], enhance=False)
    fit(network, task, KeptFeatures(network, data, pairs), settings.training, quiet=True)
    refit_quality(network, data, learned, pairs, pair_rows[0], seed, steepness)
    return network.eval()


def _pair_rows(pairs: Pairs | None, split: str, forbidden: set[str]) -> Rows:
    return np.zeros(0, dtype=np.int64) if pairs is None else pairs.of_split(split, sorted(forbidden))


def _some_groups(groups: npt.NDArray[np.object_], seed: int) -> Sequence[str]:
    known = np.unique(groups.astype(str))
    count = max(1, len(known) // INNER_SHARE)
    return sorted(np.random.default_rng(seed).permutation(known)[:count].tolist())


def _text(data: Dataset, rows: Rows) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    if not data.text.shape[1]:
        return None, None
    return data.text[rows].float(), data.has_text[rows].float()
