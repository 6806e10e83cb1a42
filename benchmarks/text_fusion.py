"""Does text fused late tell what a product is, and does it harm where there is none?

    PACKSHOT__TRAINING__RECIPE=champion python benchmarks/text_fusion.py --workspace WORKSPACE [--sets grocery clothing]

Takes the items of a workspace that has kept features, with the category as the class, and learns it as styles are
learned: closed-form start, then the joint fit with its losses, early stopping included. Every item is predicted by a
model that saw nothing of its group. Printed, for each set: the share of items whose category is right, from the
picture alone, from the text alone, from both, and from both where the text is held back from the finished model; as
the mean over repeats (the folds dealt anew, another seed) and their deviation, also of the difference to the picture
alone. A set whose text names the category is shown a second time, without any word of any category. Last, how far
empty text moves styles and scores.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from packshot.catalog.manifest import read_manifest
from packshot.catalog.source_record import read_source
from packshot.catalog.texts import row_text
from packshot.config import Settings, load_settings
from packshot.model.network import PackshotNet
from packshot.model.text import TEXT_SIZES, SentenceEncoder, build_text_encoder
from packshot.progress import say
from packshot.revision import SPLIT_MANIFEST
from packshot.training.build import architecture_of
from packshot.training.crossval import INNER_SHARE, group_folds
from packshot.training.dataset import Dataset, Rows, load_dataset
from packshot.training.fit import Task, fit
from packshot.training.sources import KeptFeatures
from packshot.training.warm_start import warm_start

FEWEST = 3
"""Items a category must have."""
NO_CATEGORY = {"Not sure", "Other"}
NO_ROWS: Rows = np.zeros(0, dtype=np.int64)
Change = Callable[[Dataset], Dataset]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Items:
    """The items of one set: `data` has the categories as styles, and the text vectors of all items."""

    name: str
    data: Dataset
    labelled: Rows


def without_text(data: Dataset) -> Dataset:
    """The pictures alone."""
    return replace(data, text=data.text[:, :0], has_text=torch.zeros_like(data.has_text))


def without_pictures(data: Dataset) -> Dataset:
    """The texts alone."""
    return replace(data, stats=torch.zeros_like(data.stats), gram=torch.zeros_like(data.gram))


def as_it_is(data: Dataset) -> Dataset:
    """Pictures and texts."""
    return data


VARIANTS: dict[str, Change] = {"picture": without_text, "text": without_pictures, "both": as_it_is}


def without_words(text: str, categories: Sequence[str]) -> str:
    """`text` without the words of any of `categories`, singular or plural."""
    words = sorted({word for name in categories for word in re.split(r"\W+", name) if word}, key=len, reverse=True)
    return re.sub(rf"\b({'|'.join(map(re.escape, words))})(e?s)?\b", " ", text, flags=re.IGNORECASE)


def items_of(
    name: str, data: Dataset, manifest: pd.DataFrame, encoder: SentenceEncoder, size: int, *, censored: bool = False
) -> Items:
    """The rows of set `name`, with sentence vectors (N x `size`) of their texts; `censored`: less category words."""
    rows = np.flatnonzero((manifest["source"] == name).to_numpy())
    mine, kept = manifest.iloc[rows], data.only(rows)
    told = mine["category"].astype(object).where(~mine["category"].isin(NO_CATEGORY))
    counts = told.value_counts()
    categories = tuple(sorted(map(str, counts.index[counts >= FEWEST])))
    texts = [row_text(row) or "" for _, row in mine.iterrows()]
    if censored:
        texts = [without_words(text, list(map(str, counts.index))) for text in texts]
    places = [place for place, text in enumerate(texts) if text.strip()]
    vectors = torch.zeros(len(rows), size)
    vectors[places] = encoder([texts[place] for place in places])
    has_text = torch.zeros(len(rows), 1)
    has_text[places] = 1
    codes = {category: place for place, category in enumerate(categories)}
    style = torch.tensor([codes.get(category, -1) for category in told])
    changed = replace(kept, text=vectors, has_text=has_text, style=style, styles=categories)
    return Items(name, changed, changed.with_style(np.arange(len(rows))))


def fitted(settings: Settings, fresh: PackshotNet, data: Dataset, learn: Rows, held: Rows) -> PackshotNet:
    """A copy of `fresh` that learned the categories of `learn`; pictures without one serve as pictures, unless their
    group is that of an item in `held`."""
    groups = data.index["group"].astype(str).to_numpy()
    known = np.unique(groups[learn])
    stopping = np.random.default_rng(settings.training.seed).permutation(known)[: max(1, len(known) // INNER_SHARE)]
    inner = np.isin(groups[learn], stopping)
    forbidden = np.concatenate([groups[held], stopping])
    others = np.setdiff1d(np.flatnonzero(~np.isin(groups, forbidden)), learn)
    network = deepcopy(fresh)
    warm_start(network, data, np.concatenate([learn[~inner], others]), None, NO_ROWS, settings.training.seed)
    task = Task(data, None, learn[~inner], learn[inner], NO_ROWS, NO_ROWS, enhance=False)
    fit(network, task, KeptFeatures(network, data, None), settings.training, quiet=True)
    return network.eval()


@torch.inference_mode()
def said(network: PackshotNet, data: Dataset, rows: Rows, *, text: bool) -> Labels:
    """The category code that the network gives each of `rows`; `text` False holds their text back."""
    features = KeptFeatures(network, data, None).rows(rows)
    told = (data.text[rows], data.has_text[rows]) if text and data.text.shape[1] else (None, None)
    return network.perceive(features, *told).logits.argmax(dim=1).numpy()


def repeat(settings: Settings, items: Items) -> tuple[dict[str, float], PackshotNet]:
    """Share of items that each variant has right, out of fold, and the last network that learned from both."""
    labels = items.data.style[items.labelled].numpy()
    fold = group_folds(items.data, items.labelled, settings.training.chosen.folds, settings.training.seed)
    torch.manual_seed(settings.training.seed)
    fresh = PackshotNet(architecture_of(settings, items.data.styles, 1, 1))
    fresh.backbone.requires_grad_(False)
    right = {name: np.zeros(len(labels), dtype=bool) for name in ("majority", *VARIANTS, "both, text held back")}
    for each in np.unique(fold):
        held = fold == each
        right["majority"][held] = labels[held] == np.bincount(labels[~held]).argmax()
        for name, change in VARIANTS.items():
            data = change(items.data)
            network = fitted(settings, fresh, data, items.labelled[~held], items.labelled[held])
            right[name][held] = said(network, data, items.labelled[held], text=True) == labels[held]
        missing = said(network, items.data, items.labelled[held], text=False)
        right["both, text held back"][held] = missing == labels[held]
    return {name: float(found.mean()) for name, found in right.items()}, network


@torch.inference_mode()
def moved_by_empty_text(network: PackshotNet, data: Dataset) -> float:
    """Largest difference that empty text makes in logits, style vectors, scores and attributes, over all of `data`."""
    features = KeptFeatures(network, data, None).rows(np.arange(len(data.index)))
    size = TEXT_SIZES[network.architecture.text_encoder]
    alone = network.perceive(features)
    empty = network.perceive(features, torch.zeros(len(data.index), size), torch.zeros(len(data.index), 1))
    return max(float((value - getattr(empty, name)).abs().max()) for name, value in vars(alone).items())


def seeded(settings: Settings, seed: int) -> Settings:
    """The settings with another seed."""
    return settings.model_copy(update={"training": settings.training.model_copy(update={"seed": seed})})


def shown(title: str, items: Items, found: Sequence[dict[str, float]]) -> Table:
    """Each variant's mean over repeats and deviation, and the same of its difference to the picture alone."""
    labelled, texts = len(items.labelled), int(items.data.has_text[items.labelled].sum())
    told = f"{title}: {labelled} items, {len(items.data.styles)} categories, {texts} texts, {len(found)} repeats"
    table = Table("category from", "right, %", "against the picture", title=told)
    for name in found[0]:
        values = 100 * np.array([each[name] for each in found])
        lead = values - 100 * np.array([each["picture"] for each in found])
        against = "" if name == "picture" else f"{lead.mean():+.1f} ± {lead.std():.1f}"
        table.add_row(name, f"{values.mean():.1f} ± {values.std():.1f}", against)
    return table


def measured(settings: Settings, title: str, items: Items, data: Dataset, repeats: int) -> None:
    """Print the table of one set, and what empty text does to all rows of `data` in its last network."""
    found = []
    for seed in range(repeats):
        shares, network = repeat(seeded(settings, seed), items)
        found.append(shares)
        say(f"{title}: repeat {seed + 1} of {repeats} done")
    Console().print(shown(title, items, found))
    most = moved_by_empty_text(network, data)
    print(f"empty text moves logits, styles, scores and attributes of {len(data.index)} pictures by {most}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True, help="a workspace whose features are kept")
    parser.add_argument("--sets", nargs="+", default=["grocery", "clothing"], help="sets with a category")
    parser.add_argument("--repeats", type=int, default=5, help="how often folds are dealt (default 5)")
    given = parser.parse_args()
    settings = load_settings()
    name = settings.network.text_encoder
    data = load_dataset(given.workspace, settings.profiles[read_source(given.workspace).profile])
    manifest, encoder = read_manifest(given.workspace / SPLIT_MANIFEST), build_text_encoder(name)
    for chosen in given.sets:
        whole = items_of(chosen, data, manifest, encoder, TEXT_SIZES[name])
        measured(settings, chosen, whole, data, given.repeats)
        bare = items_of(chosen, data, manifest, encoder, TEXT_SIZES[name], censored=True)
        if not torch.equal(bare.data.text, whole.data.text):
            measured(settings, f"{chosen} without category words", bare, data, given.repeats)


if __name__ == "__main__":
    main()
