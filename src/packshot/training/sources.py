"""Where the fit loop gets features from: kept ones (frozen backbone), or images (backbone in training)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch

from packshot.config import Recipe
from packshot.model.network import Features, PackshotNet
from packshot.model.preprocess import Image, to_tensor, views
from packshot.training.dataset import Dataset, Pairs, Rows
from packshot.training.pairs import crop_of, spoiled, steps_of

READERS = 8
CHUNK = 32
"""Images that go through the backbone together: bounds the memory of a validation."""


class FeatureSource(Protocol):
    """Features of rows, on the network's device."""

    def rows(self, rows: Rows) -> Features:
        """Features of catalogue rows."""

    def pairs(self, rows: Rows) -> torch.Tensor:
        """Statistics of degraded copies, N x S."""


class KeptFeatures:
    """From `data/features/`: the backbone is frozen."""

    def __init__(self, network: PackshotNet, data: Dataset, pairs: Pairs | None) -> None:
        self.network, self.data, self.copies = network, data, pairs

    def rows(self, rows: Rows) -> Features:
        """Features of catalogue rows."""
        device = self.network.device
        return Features(self.data.stats[rows].to(device), self.data.gram[rows].float().to(device))

    def pairs(self, rows: Rows) -> torch.Tensor:
        """Statistics of degraded copies, N x S."""
        if self.copies is None:
            raise ValueError("there are no pairs to take features of")
        return self.copies.stats[rows].to(self.network.device)


class LiveFeatures:
    """From the images: upper stages learn, in mixed precision on CUDA. Images of one size go through together."""

    def __init__(
        self,
        network: PackshotNet,
        data: Dataset,
        pairs: Pairs | None,
        opener: Callable[[str], Image],
        recipe: Recipe,
        seed: int,
    ) -> None:
        self.network, self.data, self.copies = network, data, pairs
        self.opener, self.recipe, self.seed = opener, recipe, seed

    def rows(self, rows: Rows) -> Features:
        """Features of catalogue rows, with gradients into the stages that are not frozen."""
        paths = [str(self.data.index["path"].iloc[row]) for row in rows]
        with ThreadPoolExecutor(READERS) as readers:
            return self._features(list(readers.map(self.opener, paths)))

    def pairs(self, rows: Rows) -> torch.Tensor:
        """Statistics of degraded copies, N x S, with gradients likewise."""
        with ThreadPoolExecutor(READERS) as readers:
            return self._features(list(readers.map(self._copy, rows.tolist()))).stats

    def _copy(self, row: int) -> Image:
        if self.copies is None:
            raise ValueError("there are no pairs to take features of")
        entry: Any = self.copies.index.iloc[row]
        image_id, copy = str(entry["image_id"]), int(entry["copy"])
        clean = crop_of(self.opener(str(entry["path"])), image_id, self.recipe, self.seed)
        return spoiled(clean, image_id, steps_of(image_id, self.recipe, self.seed)[copy], copy, self.seed)

    def _features(self, images: Sequence[Image]) -> Features:
        by_size: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            by_size.setdefault(image.shape, []).append(place)
        order: list[int] = []
        found: list[Features] = []
        for places in by_size.values():
            for start in range(0, len(places), CHUNK):
                some = places[start : start + CHUNK]
                order += some
                found.append(self._same_size([images[place] for place in some]))
        back = torch.tensor(order, device=self.network.device).argsort()
        stats = torch.cat([part.stats for part in found])[back]
        return Features(stats, torch.cat([part.gram for part in found])[back])

    def _same_size(self, images: Sequence[Image]) -> Features:
        device = self.network.device
        long_sides = self.network.architecture.long_sides
        by_view = zip(*(views(image, long_sides) for image in images), strict=True)
        batches = [torch.cat([to_tensor(view, device) for view in each]) for each in by_view]
        with mixed_precision(device):
            return self.network.features_of_views(batches)


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 autocast on CUDA, which needs no gradient scaling; nothing on a CPU."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()
