"""Whether the fixed task weights could be better: each one a quarter and four times as large, and Kendall's weighting.

    python benchmarks/task_weights.py --workspace WORKSPACE [--folds 2]

Cross-validates the joint fit on the labelled pictures of a workspace that has kept features, in the folds of training.
Printed, as means of the folds and beside the weights in force: the rank correlation of the overall score and its mean
within subsets, the accuracy of style, and the rank correlation of the attributes with full-reference scores on degraded
copies of groups that the fold's model never saw. Kendall's weighting (Kendall et al., 2018) learns a weight for each
task from its uncertainty.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from packshot.catalog.source_record import read_source
from packshot.config import Settings, load_settings
from packshot.model.network import PackshotNet
from packshot.model.parallel import one_core
from packshot.progress import say
from packshot.training.crossval import fitted_without, group_folds
from packshot.training.dataset import Dataset, Pairs, Rows, load_dataset, load_pairs
from packshot.training.fit import rank_correlation
from packshot.training.sources import KeptFeatures

TASKS = ("quality", "ranking", "attributes", "style")
FACTORS = (0.25, 4.0)
FIGURES = ("SRCC", "SRCC within subsets", "style accuracy", "attributes' SRCC")
FEWEST = 20


def variants(settings: Settings) -> dict[str, dict[str, Any]]:
    """Changes of the loss by name; the first is none."""
    loss = settings.training.loss
    found: dict[str, dict[str, Any]] = {"as in params.yaml": {}}
    for task in TASKS:
        for factor in FACTORS:
            found[f"{task} x {factor:g}"] = {task: getattr(loss, task) * factor}
    return found | {"Kendall's weighting": {"weighting": "uncertainty"}}


def changed(settings: Settings, loss: dict[str, Any]) -> Settings:
    """The settings with these keys of the loss."""
    training = settings.training
    return settings.model_copy(
        update={"training": training.model_copy(update={"loss": training.loss.model_copy(update=loss)})}
    )


def measured(settings: Settings, data: Dataset, pairs: Pairs, folds: int) -> tuple[float, ...]:
    """The means of FIGURES over the first `folds` folds."""
    labelled = np.union1d(data.with_quality(np.arange(len(data.index))), data.with_style(np.arange(len(data.index))))
    fold = group_folds(data, labelled, settings.training.chosen.folds, settings.training.seed)
    found = []
    for each in range(folds):
        held = labelled[fold == each]
        with one_core():
            network = fitted_without(settings, data, pairs, labelled[fold != each], held)
        found.append(figures(network.requires_grad_(False), data, pairs, held))
    return tuple(np.mean(found, axis=0).tolist())


def figures(network: PackshotNet, data: Dataset, pairs: Pairs, held: Rows) -> tuple[float, ...]:
    """FIGURES on the rows `held`, which the network never saw."""
    rated, styled = data.with_quality(held), data.with_style(held)
    source = KeptFeatures(network, data, pairs)
    judged, actual = network.perceive(source.rows(rated)).quality.numpy(), data.quality[rated].numpy()
    subsets = data.index["subset"].iloc[rated].fillna("").to_numpy(dtype=object)
    within = [
        rank_correlation(judged[subsets == name], actual[subsets == name])
        for name in np.unique(subsets.astype(str))
        if (subsets == name).sum() >= FEWEST
    ]
    told = network.perceive(source.rows(styled)).logits.argmax(dim=1)
    groups = set(data.index["group"].iloc[held])
    copies = np.flatnonzero(
        (pairs.index["group"].isin(groups) | (pairs.index["split"] == "validation")).to_numpy()
        & pairs.attributes.isfinite().all(dim=1).numpy()
    )
    seen, truth = network.aspects(pairs.stats[copies]).numpy(), pairs.attributes[copies].numpy()
    agreement = [rank_correlation(seen[:, k][truth[:, k] < 1], truth[:, k][truth[:, k] < 1]) for k in range(3)]
    return (
        rank_correlation(judged, actual),
        float(np.mean(within)),
        float((told == data.style[styled]).float().mean()),
        float(np.mean(agreement)),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True, help="a workspace whose features are kept")
    parser.add_argument("--folds", type=int, default=2, help="how many of the recipe's folds (default 2)")
    given = parser.parse_args()
    settings = load_settings()
    data = load_dataset(given.workspace, settings.profiles[read_source(given.workspace).profile])
    pairs = load_pairs(given.workspace)
    if pairs is None:
        parser.error(f"{given.workspace} has no degraded copies; run packshot features there")
    table = Table("weights", *FIGURES, title=f"recipe {settings.training.recipe}, {given.folds} folds")
    first: tuple[float, ...] = ()
    for name, loss in variants(settings).items():
        found = measured(changed(settings, loss), data, pairs, given.folds)
        first = first or found
        cells = [f"{value:.4f} ({value - base:+.4f})" for value, base in zip(found, first, strict=True)]
        table.add_row(name, *(cells if loss else [f"{value:.4f}" for value in found]))
        say(f"{name}: {', '.join(cells)}")
    Console().print(table)


if __name__ == "__main__":
    main()
