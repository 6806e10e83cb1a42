"""What a few labels of a shop are worth: each subset of the scored set as a new shop of a kind that training never saw.

    python benchmarks/shop_scale.py --workspace WORKSPACE [--labels scores|decisions|mixed] [--cache FOLDER]

The quality head and the interval are solved in closed form on the other subsets, from the features of a trained
workspace, and thresholds are tuned on what their folds say. Of the subset left out pictures are drawn, labelled, and a
scale is fitted; figures are of pictures of other groups. Half of the groups, by a hash of their names, are reported on:
on the other half it was chosen that all intervals of a shop are of one width. Printed, means over the draws: share of
scores inside the interval, interval score, width over that of the judge's interval stretched to the same coverage, and
the cost of 100 decisions; each beside the judge's without labels.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from packshot.catalog.source_record import read_source
from packshot.config import DecisionCosts, Settings, load_settings
from packshot.evaluation.shop_scale import ShopLabels, TooFewLabels, fitted
from packshot.evaluation.shop_trial import Measured, measured
from packshot.evaluation.thresholds import Rated, Thresholds, tuned
from packshot.model.network import PackshotNet
from packshot.model.quality import soft_unit
from packshot.training.build import architecture_of
from packshot.training.calibration import Residuals, half_widths_out_of_fold, interval
from packshot.training.closed_form import kernel_ridge_without, squared_distances
from packshot.training.crossval import group_folds
from packshot.training.dataset import Dataset, Rows, load_dataset
from packshot.training.warm_start import refit_quality, start_trunk

COUNTS = (10, 20, 40, 60, 100)
NO_ROWS = np.zeros(0, dtype=np.int64)


@torch.no_grad()
def without(settings: Settings, data: Dataset, shop: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a judge that never saw a subset says of it, and what its folds say of the others: columns group,
    quality_mos, quality, half."""
    rated = data.with_quality(np.arange(len(data.index)))
    mine = rated[(data.index["subset"].iloc[rated] == shop).to_numpy()]
    shared = data.index["group"].isin(set(data.index["group"].iloc[mine])).to_numpy()
    others = rated[~shared[rated]]
    seed, coverage = settings.training.seed, settings.evaluation.interval_coverage
    network = PackshotNet(architecture_of(settings, data.styles, len(others), 1)).eval()
    start_trunk(network, data, others, None, NO_ROWS, seed)
    like = refit_quality(network, data, others, None, NO_ROWS, seed, settings.training.loss.gradient_norm)
    assert like is not None
    fold = group_folds(data, others, settings.training.chosen.folds, seed)
    z = network.trunk(data.stats[others]).double().numpy()
    scores = data.quality[others].double().numpy()
    landmarks, folds = len(network.quality.weights), int(fold.max()) + 1
    heads = kernel_ridge_without(z, scores[:, None], fold, folds, landmarks, like.gamma, like.ridge, seed)
    said = np.exp(-heads.gamma * squared_distances(z, heads.landmarks)) @ heads.weights + heads.bias
    judged = soft_unit(torch.from_numpy(said[np.arange(len(others)), fold])).numpy()
    scaled = network.trunk.scaled(network.trunk(data.stats[others])).double().numpy()
    found = Residuals(scaled, scores - judged, data.index["subset"].iloc[others].tolist(), fold)
    scale, _ = interval(network, found, coverage)
    half = half_widths_out_of_fold(found, coverage)
    assert half is not None
    at = network.trunk(data.stats[mine])
    of_shop = network.overall(at).double().numpy(), scale * network.expected_error(at).double().numpy()
    return _frame(data, mine, *of_shop), _frame(data, others, judged, half)


def _frame(data: Dataset, rows: Rows, quality: NDArray[np.float64], half: NDArray[np.float64]) -> pd.DataFrame:
    frame = data.index.iloc[rows][["group"]].reset_index(drop=True)
    return frame.assign(quality_mos=data.quality[rows].double().numpy(), quality=quality, half=half)


def reported(shop: pd.DataFrame) -> pd.DataFrame:
    """The half of the groups that nothing was chosen on."""
    chosen = [int(hashlib.sha256(f"p{group}".encode()).hexdigest()[:8], 16) % 2 == 1 for group in shop["group"]]
    return shop[chosen].reset_index(drop=True)


def ends(frame: pd.DataFrame, stretched: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The judge's own intervals."""
    quality, half = frame["quality"].to_numpy(), stretched * frame["half"].to_numpy()
    return np.clip(quality - half, 0, 1), np.clip(quality + half, 0, 1)


def labels_of(frame: pd.DataFrame, kind: str, costs: DecisionCosts) -> ShopLabels:
    """The pictures as the shop labels them: of mixed labels every other one is a decision alone."""
    truth = frame["quality_mos"].to_numpy()
    fit = (truth >= costs.good_from).astype(np.float64)
    decided = {"scores": False, "decisions": True, "mixed": np.arange(len(truth)) % 2 == 0}[kind]
    score = np.where(decided, np.nan, truth)
    return ShopLabels(frame["quality"].to_numpy(), frame["half"].to_numpy(), score, fit)


def draw(
    shop: pd.DataFrame, count: int, kind: str, known: Thresholds, seed: int, settings: Settings
) -> tuple[Measured, Measured, float] | None:
    """With labels, without, and the ratio of the widths at equal coverage; None where the labels are too much alike."""
    costs, coverage = settings.scoring.costs, settings.evaluation.interval_coverage
    order = np.random.default_rng([seed, count]).permutation(len(shop))
    chosen = shop.iloc[order[:count]]
    rest = shop[~shop["group"].isin(set(chosen["group"]))]
    try:
        found = fitted(labels_of(chosen, kind, costs), costs, coverage)
    except TooFewLabels:
        return None
    test = labels_of(rest, "scores", costs)
    by_shop = [found.thresholds(costs)] * len(test)
    ours = measured(test, found.quality(test.quality), *found.interval(test.quality), by_shop, costs, coverage)
    judge = measured(test, test.quality, *ends(rest), [known] * len(test), costs, coverage)
    stretched = float(np.quantile(np.abs(test.score - test.quality) / test.half, ours.coverage or 0))
    low, high = ends(rest, stretched)
    return ours, judge, (ours.width or 0) / float((high - low).mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True, help="a workspace with data/features")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--labels", choices=("scores", "decisions", "mixed"), default="scores")
    parser.add_argument("--cache", type=Path, help="folder in which the judge's predictions are kept")
    given = parser.parse_args()
    settings = load_settings()
    table = Table("left out", "labels", "coverage", "interval score", "width ratio", "cost per 100", "not fitted")
    for shop, (mine, others) in predictions(settings, given.workspace, given.cache).items():
        low, high = ends(others)
        columns = (others[name].to_numpy() for name in ("quality_mos", "quality"))
        known = tuned(Rated(*columns, low, high, tuple(others["group"].astype(str))), settings.scoring.costs)
        pictures = reported(mine)
        for count in COUNTS:
            every = [draw(pictures, count, given.labels, known, seed, settings) for seed in range(given.draws)]
            row(table, shop, count, [one for one in every if one is not None], len(every))
    Console().print(table)


def row(table: Table, shop: str, count: int, found: list[tuple[Measured, Measured, float]], draws: int) -> None:
    """One line of means over the draws."""
    if not found:
        table.add_row(shop, str(count), *["refused"] * 4, str(draws))
        return

    def means(name: str, form: str) -> str:
        with_labels, judge = (np.mean([getattr(one[side], name) for one in found]) for side in (0, 1))
        return f"{with_labels:{form}} (without {judge:{form}})"

    ratio = f"{np.mean([one[2] for one in found]):.2f}"
    figures = (means("coverage", ".3f"), means("interval_score", ".3f"), ratio, means("cost", ".1f"))
    table.add_row(shop, str(count), *figures, str(draws - len(found)))


def predictions(
    settings: Settings, workspace: Path, cache: Path | None
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """`without` for each subset, read from the cache where it is there."""
    data = load_dataset(workspace, settings.profiles[read_source(workspace).profile])  # type: ignore[index]
    found = {}
    for shop in sorted(data.index["subset"].dropna().unique()):
        files = [cache / f"{shop}-{name}.parquet" for name in ("shop", "others")] if cache else []
        if files and all(file.is_file() for file in files):
            found[shop] = (pd.read_parquet(files[0]), pd.read_parquet(files[1]))
            continue
        found[shop] = without(settings, data, shop)
        for file, frame in zip(files, found[shop], strict=False):
            file.parent.mkdir(parents=True, exist_ok=True)
            frame.to_parquet(file)
    return found


if __name__ == "__main__":
    main()
