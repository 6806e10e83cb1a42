"""What each part of the recipe earns: the cross-validation again without it, on the same folds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from packshot.config import Profile, Settings
from packshot.errors import PackshotError
from packshot.evaluation import metrics as m
from packshot.evaluation import plots
from packshot.evaluation.heldout import profile_of
from packshot.evaluation.resampling import Statistic, paired_bootstrap
from packshot.evaluation.run import fold_figures
from packshot.files import write_parquet
from packshot.model.backbone import build_backbone
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.progress import say
from packshot.training.crossval import cross_validated
from packshot.training.dataset import Dataset, Pairs, load_dataset, load_pairs

WHOLE = "the whole recipe"
REST = 1e-12
"""A learning rate at which nothing moves from its closed-form start."""
TABLE, PLOT = Path("reports/ablation.parquet"), Path("reports/ablation.png")
_TOLD = {
    "quality/srcc_folds": "SRCC",
    "quality/srcc_within_folds": "SRCC within subsets",
    "style/accuracy_folds": "style accuracy",
}


class UnknownVariant(PackshotError):
    """A variant is named that there is not."""

    exit_code = 2


@dataclass(frozen=True)
class Inputs:
    """What a cross-validation is given."""

    settings: Settings
    data: Dataset
    pairs: Pairs | None


Change = Callable[[Inputs], Inputs]


def variants(settings: Settings) -> dict[str, Change]:
    """Every variant by name, each leaving one thing out of the recipe in force."""
    found: dict[str, Change] = {
        "closed form alone": lambda inputs: _with_recipe(inputs, learning_rate=REST, epochs=1),
        "trunk at rest": lambda inputs: _with_recipe(inputs, trunk_lr_factor=0.0),
        "no ranking loss": lambda inputs: _with_loss(inputs, ranking=0.0),
        "no degraded copies": lambda inputs: replace(inputs, pairs=None),
        "quality alone": lambda inputs: _with_loss(inputs, style=0.0, attributes=0.0),
        "style alone": lambda inputs: _with_loss(inputs, quality=0.0, ranking=0.0, attributes=0.0),
        "no Gram vectors": lambda inputs: replace(
            inputs, data=replace(inputs.data, gram=torch.zeros_like(inputs.data.gram))
        ),
        "no signal statistics": lambda inputs: _masked(inputs, lambda block: block.stage is not None),
        "signal statistics alone": lambda inputs: _masked(inputs, lambda block: block.stage is None),
        "last stage only": lambda inputs: _masked(inputs, lambda block: block.last or block.stage is None),
        "no first three stages": lambda inputs: _masked(inputs, lambda block: block.stage is None or block.stage >= 3),
    }
    if len(settings.network.long_sides) > 1:
        found["largest view only"] = lambda inputs: _masked(inputs, lambda block: block.view == 0)
    return found


def ablate(settings: Settings, workspace: Path, only: Sequence[str] = ()) -> pd.DataFrame:
    """Cross-validate the recipe and each variant (or those of `only`); needs `packshot features` and nothing after it.

    Returns, and writes to `reports/ablation.parquet` and `.png`: variant, set, figure, value, and the difference to the
    whole recipe with its interval over groups (`low`, `high`) where rows can be paired. Raises UnknownVariant.
    """
    known = variants(settings)
    for name in only:
        if name not in known:
            raise UnknownVariant(f"there is no variant {name!r}; there are {', '.join(known)}")
    profile = profile_of(settings, workspace)
    inputs = Inputs(settings, load_dataset(workspace, profile, settings.training.chosen), load_pairs(workspace))
    chosen = {WHOLE: _as_it_is} | {name: known[name] for name in only or known}
    folds: dict[str, pd.DataFrame] = {}
    for place, (name, change) in enumerate(chosen.items(), start=1):
        say(f"ablation {place} of {len(chosen)}: {name}")
        changed = change(inputs)
        folds[name] = cross_validated(changed.settings, changed.data, changed.pairs, name)
    table = pd.DataFrame(_rows(folds, profile, settings))
    write_parquet(workspace / TABLE, table)
    _draw(table, workspace / PLOT)
    return table


def _as_it_is(inputs: Inputs) -> Inputs:
    return inputs


def _with_recipe(inputs: Inputs, **changes: Any) -> Inputs:
    training = inputs.settings.training
    recipes = training.recipes | {training.recipe: training.chosen.model_copy(update=changes)}
    return _with_training(inputs, recipes=recipes)


def _with_loss(inputs: Inputs, **changes: float) -> Inputs:
    return _with_training(inputs, loss=inputs.settings.training.loss.model_copy(update=changes))


def _with_training(inputs: Inputs, **changes: Any) -> Inputs:
    training = inputs.settings.training.model_copy(update=changes)
    return replace(inputs, settings=inputs.settings.model_copy(update={"training": training}))


@dataclass(frozen=True)
class _Block:
    """The statistics of one stage of one backbone in one view; of the signal where there is no stage."""

    view: int
    stage: int | None
    last: bool
    columns: int


def _blocks(settings: Settings) -> list[_Block]:
    """The blocks that the statistics of an image consist of, in order."""
    stages = []
    for name in settings.network.backbone.split("+"):
        with torch.device("meta"):
            channels = build_backbone(name).channels
        stages += [(stage, stage == len(channels) - 1, 2 * count) for stage, count in enumerate(channels)]
    deep = [_Block(view, *stage) for view in range(len(settings.network.long_sides)) for stage in stages]
    return [*deep, _Block(0, None, False, SIGNAL_SIZE)]


def _masked(inputs: Inputs, keep: Callable[[_Block], bool]) -> Inputs:
    """The statistics of all other blocks at zero, where standardisation leaves them out."""
    kept = [keep(block) for block in _blocks(inputs.settings) for _ in range(block.columns)]
    mask = torch.tensor(kept, dtype=torch.float32)
    data = replace(inputs.data, stats=inputs.data.stats * mask)
    pairs = replace(inputs.pairs, stats=inputs.pairs.stats * mask) if inputs.pairs is not None else None
    return replace(inputs, data=data, pairs=pairs)


def _rows(folds: dict[str, pd.DataFrame], profile: Profile, settings: Settings) -> Iterable[dict[str, Any]]:
    whole = folds[WHOLE]
    for name, frame in folds.items():
        found = fold_figures(frame, profile)
        for prefix, told in _TOLD.items():
            for set_name in profile.quality if prefix.startswith("quality") else profile.style:
                key = f"{prefix}/{set_name}"
                if key not in found:
                    continue
                row = {"variant": name, "set": set_name, "figure": told, "value": found[key]}
                row |= {"difference": np.nan, "low": np.nan, "high": np.nan}
                if name != WHOLE and told != "SRCC within subsets":
                    row |= _difference(frame, whole, set_name, told, settings)
                yield row


def _difference(frame: pd.DataFrame, whole: pd.DataFrame, name: str, told: str, settings: Settings) -> dict[str, float]:
    """Of the figure over the rows of all folds together, by resampling groups."""
    column = "quality_mos" if told == "SRCC" else "style"
    mine, other = (each[(each["source"] == name) & each[column].notna()] for each in (frame, whole))
    statistic = _srcc if told == "SRCC" else _accuracy
    interval = paired_bootstrap(
        list(mine["group"]),
        statistic(mine),
        statistic(other),
        resamples=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        seed=settings.training.seed,
    )
    return {"difference": interval.difference, "low": interval.low, "high": interval.high}


def _srcc(rows: pd.DataFrame) -> Statistic:
    predicted, actual = (rows[name].to_numpy(dtype=float) for name in ("quality_oof", "quality_mos"))
    return lambda weights: m.weighted_srcc(predicted, actual, weights)


def _accuracy(rows: pd.DataFrame) -> Statistic:
    predicted, actual = (rows[name].to_numpy(dtype=str) for name in ("style_oof", "style"))
    return lambda weights: m.weighted_accuracy(predicted, actual, weights)


def _draw(table: pd.DataFrame, path: Path) -> None:
    shown = table[table["difference"].notna()].iloc[::-1].reset_index(drop=True)
    fig, axes = plots.figure(7.6, 1.6 + 0.28 * len(shown))
    axes.axvline(0, color=plots.INK, linewidth=1)
    colours = dict(zip(sorted(shown["figure"].unique()), plots.PALETTE, strict=False))
    for place, row in enumerate(shown.to_dict("records")):
        reach = [[row["difference"] - row["low"]], [row["high"] - row["difference"]]]
        axes.errorbar(row["difference"], place, xerr=reach, fmt="o", color=colours[row["figure"]], capsize=3)
    for figure, colour in colours.items():
        axes.plot([], [], "o", color=colour, label=figure)
    axes.set_yticks(range(len(shown)), list(shown["variant"] + ", " + shown["set"]))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("difference to the whole recipe, over the rows of all folds, with its interval", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="best")
    fig.suptitle("What is lost where a part is left out", fontsize=11, color=plots.INK)
    plots.save(fig, path)
