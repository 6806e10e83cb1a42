"""What a score that small changes move less costs in rank correlation.

    PACKSHOT__TRAINING__RECIPE=champion python benchmarks/gradient_norm.py --workspace WORKSPACE [--weights 0 0.1 0.3 1]

Cross-validates the overall score on the rated pictures of a workspace that has kept features, for each weight of
`training.loss.gradient_norm`: in closed form alone, where the weight moves width and ridge of the kernel machine, and
after the joint fit, where it is a term of the loss too. Printed: the rank correlation as the mean of the folds, the
mean length of the score's gradient with respect to the standardised statistics of held-out pictures, and both beside
the first weight.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from packshot.catalog.source_record import read_source
from packshot.config import Settings, load_settings
from packshot.evaluation.ablation import REST
from packshot.model.parallel import one_core
from packshot.progress import say
from packshot.training.crossval import fitted_without, group_folds
from packshot.training.dataset import Dataset, load_dataset
from packshot.training.fit import rank_correlation


def changed(settings: Settings, weight: float, **recipe: Any) -> Settings:
    """The settings with this weight of the gradient's length, and these keys of the recipe."""
    training = settings.training
    chosen = training.chosen.model_copy(update=recipe)
    loss = training.loss.model_copy(update={"gradient_norm": weight})
    recipes = training.recipes | {training.recipe: chosen}
    return settings.model_copy(update={"training": training.model_copy(update={"loss": loss, "recipes": recipes})})


def measured(settings: Settings, data: Dataset, folds: int) -> tuple[float, float]:
    """Rank correlation and length of the gradient, each the mean of the first `folds` folds."""
    rows = np.arange(len(data.index))
    fold = group_folds(data, rows, settings.training.chosen.folds, settings.training.seed)
    found = []
    for each in range(folds):
        held = fold == each
        with one_core():
            network = fitted_without(settings, data, None, rows[~held], rows[held])
        network.requires_grad_(False)
        stats = data.stats[rows[held]]
        with torch.no_grad():
            predicted, length = network.overall(network.trunk(stats)), float(network.steepness(stats))
        srcc = rank_correlation(predicted.numpy(), data.quality[rows[held]].numpy())
        found.append((srcc, length))
    means = np.mean(found, axis=0)
    return float(means[0]), float(means[1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True, help="a workspace whose features are kept")
    parser.add_argument(
        "--weights", type=float, nargs="+", default=[0.0, 0.1, 0.3, 1.0], help="the first is compared to"
    )
    parser.add_argument("--folds", type=int, default=5, help="how many of the recipe's folds (default 5)")
    parser.add_argument("--closed-form", action="store_true", help="leave the joint fit out")
    given = parser.parse_args()
    settings = load_settings()
    data = load_dataset(given.workspace, settings.profiles[read_source(given.workspace).profile])
    data = data.only(data.with_quality(np.arange(len(data.index))))
    ways: dict[str, dict[str, Any]] = {"closed form": {"learning_rate": REST, "epochs": 1}}
    if not given.closed_form:
        ways["joint fit"] = {}
    table = Table(
        "weight", "way", "SRCC", "gradient", "SRCC lost", "gradient left", title=f"{len(data.index)} pictures"
    )
    for way, recipe in ways.items():
        srcc_0 = length_0 = float("nan")
        for place, weight in enumerate(given.weights):
            srcc, length = measured(changed(settings, weight, **recipe), data, given.folds)
            if place == 0:
                srcc_0, length_0 = srcc, length
            figures = (f"{srcc:.4f}", f"{length:.4f}", f"{srcc_0 - srcc:+.4f}", f"{length / length_0:.0%}")
            table.add_row(f"{weight:g}", way, *figures)
            say(f"{way}, weight {weight:g}: SRCC {figures[0]}, gradient {figures[1]}")
    Console().print(table)


if __name__ == "__main__":
    main()
