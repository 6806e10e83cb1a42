"""The network as it was trained, in torch: on a CUDA device, and for backbones that nothing else knows."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch

from packshot.inference.devices import choose_device
from packshot.inference.features import Features
from packshot.inference.runtime import stacked
from packshot.inference.tones import Codes, Tones
from packshot.inference.weights import Source, WeightsUnreadable
from packshot.model.enhancer import Codes as TorchCodes
from packshot.model.enhancer import enhance_tiled
from packshot.model.network import PackshotNet
from packshot.model.parallel import each_on_one_core, worker_count
from packshot.model.preprocess import Image


def network_of(source: Source) -> PackshotNet:
    """The network with its weights, for inference, on the CPU. Raises WeightsUnreadable where they do not fit it."""
    network = PackshotNet(source.architecture)
    try:
        network.load_state_dict({name: torch.tensor(values) for name, values in source.weights.items()})
    except RuntimeError as error:
        raise WeightsUnreadable(f"these are not this network's weights: {error}") from error
    return network.requires_grad_(False).eval()


def source_of(network: PackshotNet) -> Source:
    """What a network is made of, copied as it is now."""
    weights = {name: value.detach().float().cpu().numpy().copy() for name, value in network.state_dict().items()}
    return Source(network.architecture, weights)


def open_torch(source: Source, threads: int, device: str = "auto") -> TorchRuntime:
    """An OpenRuntime; `device` is auto, cpu or cuda."""
    return TorchRuntime(network_of(source).to(choose_device(device)), threads)


class TorchRuntime:
    """Threads take turns: each call uses all cores."""

    def __init__(self, network: PackshotNet, threads: int) -> None:
        self._network = network.eval()
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

    def enhanced(self, image: Image, codes: Codes, tones: Tones) -> Image:
        """See Runtime. The network makes curves and table itself."""
        pixels = torch.from_numpy(np.array(image, copy=True))
        parts = (codes.curves[None], codes.mixture[None], codes.modulation)
        told = TorchCodes(*(torch.tensor(each, device=self._network.device) for each in parts))
        with self._turn:
            return np.asarray(enhance_tiled(self._network.enhancer, pixels, told).numpy(), dtype=np.uint8)

    def _one(self, image: Image) -> Features:
        with torch.inference_mode():
            found = self._network.features(image)
            return Features(found.stats.float().cpu().numpy(), found.gram.float().cpu().numpy())
