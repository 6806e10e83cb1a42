"""What the frozen backbone and the signal say of an image, kept by content: a second run costs only what is new."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from packshot.closure import code_digest
from packshot.files import write_bytes
from packshot.inference.features import Features
from packshot.inference.lite_graph import is_lite, lite_feature_graph
from packshot.inference.looking import Looking
from packshot.inference.signal_on_cpu import signal_on_cpu
from packshot.inference.torch_runtime import source_of
from packshot.model import preprocess
from packshot.model.preprocess import Image, to_tensor, views
from packshot.training.pretrained import fingerprint

if TYPE_CHECKING:
    from packshot.model.network import PackshotNet

Arrays = dict[str, npt.NDArray[np.generic]]
Views = list[Image]
SEEING = ("packshot.catalog.image", "packshot.model.preprocess")
"""What turns a file into the views that are looked at."""
BACKBONE_CODE = (
    *SEEING,
    "packshot.inference.lite_graph",
    "packshot.inference.looking",
    "packshot.model.backbone",
    "packshot.model.statistics",
    "packshot.catalog.statistics",
)
SIGNAL_CODE = (*SEEING, "packshot.inference.signal_on_cpu")


@dataclass(frozen=True)
class Extractor:
    """Features of images as float16 arrays: `stats` (S) and `gram` (G)."""

    sides: tuple[int, ...]
    look: Callable[[Views], Features]
    """What the backbone says of the views of one image."""
    backbone_key: str
    """16 hex digits: weights, views and the code that turns a file into what the backbone says."""
    signal_key: str
    """16 hex digits: the largest view and the code that turns a file into signal statistics."""

    @classmethod
    def of(cls, network: PackshotNet, threads: int = 0) -> Extractor:
        """The extractor of the network's backbone and views: by OpenVINO, which takes half the time, where it knows the
        backbone; the numbers are those of torch to float16. `threads` as in `Requests`."""
        sides = network.architecture.long_sides
        lite = is_lite(network.architecture.backbone)
        look = Looking(lite_feature_graph(source_of(network)), "f32", threads) if lite else partial(_in_torch, network)
        of_backbone = _key(fingerprint(network.backbone), sides, code_digest(*BACKBONE_CODE))
        return cls(sides, look, of_backbone, _key(sides[0], code_digest(*SIGNAL_CODE)))

    @property
    def key(self) -> str:
        """Of all features."""
        return f"{self.backbone_key}-{self.signal_key}"

    def __call__(self, image: Image) -> Arrays:
        """Features of one image, uint8 H x W x 3 RGB. Computed alone, so that no batch can change them."""
        pixels = self.views(image)
        return joined(self.backbone(pixels), self.signal(pixels))

    def backbone(self, pixels: Views) -> Arrays:
        """What the backbone says of the views of one image: `stats` and `gram`."""
        found = self.look(pixels)
        return {"stats": _half(found.stats[0]), "gram": _half(found.gram[0])}

    def signal(self, pixels: Views) -> Arrays:
        """What the pixels of the first view say: `signal`."""
        return {"signal": _half(signal_on_cpu(pixels[0])[0])}

    def views(self, image: Image) -> Views:
        """One image, uint8 H x W x 3 RGB, as the network looks at it."""
        return views(image, self.sides)


def _in_torch(network: PackshotNet, shown: Views) -> Features:
    import torch

    with torch.inference_mode():
        found = network.backbone_features([to_tensor(view, network.device) for view in shown])
        return Features(found.stats.float().cpu().numpy(), found.gram.float().cpu().numpy())


def joined(backbone: Arrays, of_signal: Arrays) -> Arrays:
    """The arrays of the backbone, those of the signal behind its `stats`."""
    return {**backbone, "stats": np.concatenate([backbone["stats"], of_signal["signal"]], axis=-1)}


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps([preprocess.VERSION, *parts]).encode()).hexdigest()[:16]


def _half(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    most = np.finfo(np.float16).max
    return np.asarray(np.clip(values, -most, most), dtype=np.float16)


@dataclass(frozen=True)
class ArrayCache:
    """Named arrays by key under a folder; a damaged entry is made again."""

    folder: Path

    def get(self, key: str) -> Arrays | None:
        """The arrays kept under `key`, or None."""
        try:
            return dict(load(self._path(key).read_bytes()))
        except (OSError, SafetensorError):
            return None

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep `arrays` under `key`, atomically."""
        write_bytes(self._path(key), save({name: np.ascontiguousarray(value) for name, value in arrays.items()}))

    def kept(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays kept under `key`, else those that `make` returns, which are kept then."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"
