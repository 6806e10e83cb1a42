"""What a judge asks of whatever computes for it, and the torch way to do it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from packshot.model.enhancer import Codes, enhance_tiled
from packshot.model.network import Features, PackshotNet
from packshot.model.parallel import each_on_one_core, worker_count
from packshot.model.preprocess import Image


class Runtime(Protocol):
    """Computes what is large of a network; the heads, which are small, stay with torch. Several threads may ask."""

    def features(self, images: Sequence[Image]) -> Features:
        """Of each image (uint8, H x W x 3, RGB, any size) by itself, in order; on the network's device."""

    def enhanced(self, image: Image, codes: Codes) -> Image:
        """One image at its own size, under the codes of the trunk."""


OpenRuntime = Callable[[PackshotNet, int], Runtime]
"""Makes a runtime of a loaded network and a number of threads, 0 being all cores that this process may use."""


class TorchRuntime:
    """The network as it was trained. Threads take turns: each call uses all cores."""

    def __init__(self, network: PackshotNet, threads: int) -> None:
        self._network = network
        self._workers = worker_count(threads)
        self._turn = threading.Lock()

    def features(self, images: Sequence[Image]) -> Features:
        """See Runtime."""
        with self._turn:
            if self._network.device.type == "cpu":
                found = list(each_on_one_core(self._one, images, min(self._workers, len(images))))
            else:
                found = [self._one(image) for image in images]
        return stacked(found)

    def enhanced(self, image: Image, codes: Codes) -> Image:
        """See Runtime."""
        pixels = torch.from_numpy(np.array(image, copy=True))
        with self._turn:
            return np.asarray(enhance_tiled(self._network.enhancer, pixels, codes).numpy(), dtype=np.uint8)

    def _one(self, image: Image) -> Features:
        with torch.inference_mode():
            return self._network.features(image)


def stacked(found: Sequence[Features]) -> Features:
    """Features of several images as one."""
    return Features(torch.cat([each.stats for each in found]), torch.cat([each.gram for each in found]))
