"""How far five examples of a style go: measured with spaces that were fitted without any style label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from packshot.config import Profile, Settings
from packshot.model.examples import ExampleSpace, Floats, nearest, prototypes
from packshot.model.network import PackshotNet
from packshot.model.parallel import one_core
from packshot.training.build import architecture_of
from packshot.training.dataset import Dataset, Rows
from packshot.training.warm_start import start_style_space, start_trunk

SHOTS = 5
EPISODES = 50
"""Draws of examples that the figure is the mean of."""


def few_shot_figures(settings: Settings, data: Dataset, profile: Profile) -> dict[str, float]:
    """`style/few_shot/<set>`: accuracy with SHOTS examples a style, each of another group, on all other groups.

    The mean over EPISODES draws, and `style/few_shot_std/<set>` over them. The style space and the embedding are those
    that training starts from, which no style label has touched: to them every style is new. Absent for a set in which
    some style has too few groups.
    """
    found: dict[str, float] = {}
    sets = data.index["source"].to_numpy(dtype=object)
    for name in profile.style:
        rows = np.flatnonzero((data.style >= 0).numpy() & (sets == name))
        if not len(rows):
            continue
        labels = np.array(data.styles, dtype=object)[data.style[rows].numpy()]
        groups = data.index["group"].iloc[rows].astype(str).to_numpy(dtype=object)
        if min(len(np.unique(groups[labels == style])) for style in np.unique(labels)) <= SHOTS:
            continue
        with one_core():
            points = _points(settings, data, rows)
        random = np.random.default_rng(settings.training.seed)
        right = [_episode(points, labels, groups, random) for _ in range(EPISODES)]
        found[f"style/few_shot/{name}"] = float(np.mean(right))
        found[f"style/few_shot_std/{name}"] = float(np.std(right, ddof=1))
    return found


@torch.no_grad()
def _points(settings: Settings, data: Dataset, rows: Rows) -> Floats:
    network = PackshotNet(architecture_of(settings, data.styles, 1, 1))
    seed, learn = settings.training.seed, data.of_splits("train")
    start_trunk(network, data, learn, None, np.zeros(0, dtype=np.int64), seed)
    start_style_space(network, data, learn, styled=False, seed=seed)
    network.eval()
    blocks = [
        network.style_space(data.gram.float()).double().numpy(),
        network.embed(data.stats).double().numpy(),
    ]
    space = ExampleSpace.fit([block[learn] for block in blocks])
    return space.place([block[rows] for block in blocks])


def _episode(
    points: Floats, labels: npt.NDArray[np.object_], groups: npt.NDArray[np.object_], random: np.random.Generator
) -> float:
    shown: list[int] = []
    for style in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == style))
        _, first = np.unique(groups[rows], return_index=True)
        shown += rows[np.sort(first)[:SHOTS]].tolist()
    names, centres = prototypes(points[shown], labels[shown].tolist())
    rest = ~np.isin(groups, groups[shown])
    best, _, _ = nearest(points[rest], centres)
    return float(np.mean(np.array(names, dtype=object)[best] == labels[rest]))
