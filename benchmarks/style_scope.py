"""Whether styles are given to the products they were taught for, and refused to others, also to kinds never shown.

    python benchmarks/style_scope.py --workspace WORKSPACE

Learns the scope from the cached features of a trained workspace, as training does, once with all sets and once without
each set that has no styles. Printed: on groups of the test split, the share of pictures with a style that lose it; for
each other set the share refused, on its test groups where it was shown, and on all of it where it was not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from packshot.config import load_settings
from packshot.evaluation.heldout import profile_of
from packshot.model.network import PackshotNet
from packshot.trained import read_trained
from packshot.training import layout
from packshot.training.dataset import Dataset, load_dataset
from packshot.training.scope import learn_scope

BATCH = 256


@torch.no_grad()
def looked_at(network: PackshotNet, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and style vectors of all rows."""
    style = []
    for start in range(0, len(data.index), BATCH):
        style.append(network.style_space(data.gram[start : start + BATCH].float()).numpy())
    return network.embed(data.stats).numpy(), np.concatenate(style)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True, help="a trained workspace with its features")
    given = parser.parse_args()
    settings = load_settings()
    data = load_dataset(given.workspace, profile_of(settings, given.workspace))
    embedding, style = looked_at(read_trained(given.workspace / layout.BUNDLE), data)
    inside, source = (data.style >= 0).numpy(), data.index["source"].to_numpy(dtype=str)
    split, group = (data.index[name].to_numpy(dtype=str) for name in ("split", "group"))
    others = sorted(set(source[~inside]))
    table = Table("learned without", "in scope, lost", *(f"{name}, refused" for name in others))
    for left_out in (None, *others):
        rows = np.isin(split, ["train", "validation"]) & (source != left_out)
        loss, seed = settings.training.style_scope_loss, settings.training.seed
        scope = learn_scope(embedding[rows], style[rows], inside[rows], group[rows], loss, seed)
        if scope is None:
            parser.error("there are too few pictures with styles, or without")
        covered, test = scope.covers(embedding, style), split == "test"
        cells = [~covered[(source == name) & ~inside & (test | (name == left_out))] for name in others]
        table.add_row(
            left_out or "–", f"{(~covered[test & inside]).mean():.3f}", *(f"{each.mean():.3f}" for each in cells)
        )
    Console().print(table)


if __name__ == "__main__":
    main()
