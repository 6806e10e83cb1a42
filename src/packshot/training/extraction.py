"""What the frozen backbone and the signal say of an image, kept by content: a second run costs only what is new."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from packshot.closure import code_digest
from packshot.files import write_bytes
from packshot.model import preprocess, signal
from packshot.model.preprocess import Image, to_tensor, views
from packshot.training.pretrained import fingerprint

if TYPE_CHECKING:
    from packshot.model.network import PackshotNet

Arrays = dict[str, npt.NDArray[np.generic]]
Views = list[torch.Tensor]
SEEING = ("packshot.catalog.image", "packshot.model.preprocess")
"""What turns a file into the views that are looked at."""
BACKBONE_CODE = (*SEEING, "packshot.model.backbone", "packshot.model.statistics", "packshot.catalog.statistics")
SIGNAL_CODE = (*SEEING, "packshot.model.signal")


@dataclass(frozen=True)
class Extractor:
    """Features of images as float16 arrays: `stats` (S) and `gram` (G)."""

    network: PackshotNet
    backbone_key: str
    """16 hex digits: weights, views and the code that turns a file into what the backbone says."""
    signal_key: str
    """16 hex digits: the largest view and the code that turns a file into signal statistics."""

    @classmethod
    def of(cls, network: PackshotNet) -> Extractor:
        """The extractor of the network's backbone and views."""
        sides = network.architecture.long_sides
        of_backbone = _key(fingerprint(network.backbone), sides, code_digest(*BACKBONE_CODE))
        return cls(network, of_backbone, _key(sides[0], code_digest(*SIGNAL_CODE)))

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
        with torch.inference_mode():
            found = self.network.backbone_features(pixels)
        return {"stats": _half(found.stats[0]), "gram": _half(found.gram[0])}

    def signal(self, pixels: Views) -> Arrays:
        """What the pixels of the first view say: `signal`."""
        with torch.inference_mode():
            return {"signal": _half(signal.signal_statistics(pixels[0])[0])}

    def views(self, image: Image) -> Views:
        """One image, uint8 H x W x 3 RGB, as the network looks at it."""
        return [to_tensor(view, self.network.device) for view in views(image, self.network.architecture.long_sides)]


def joined(backbone: Arrays, of_signal: Arrays) -> Arrays:
    """The arrays of the backbone, those of the signal behind its `stats`."""
    return {**backbone, "stats": np.concatenate([backbone["stats"], of_signal["signal"]], axis=-1)}


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps([preprocess.VERSION, *parts]).encode()).hexdigest()[:16]


def _half(values: torch.Tensor) -> npt.NDArray[np.float16]:
    most = np.finfo(np.float16).max
    return np.asarray(np.clip(values.cpu().numpy(), -most, most), dtype=np.float16)


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
