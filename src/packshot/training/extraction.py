"""What the frozen backbone says of an image, kept by content: a second run, or new data, costs only what is new."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from packshot.catalog import statistics as picture_statistics
from packshot.files import write_bytes
from packshot.model import backbone as backbone_module
from packshot.model import ground, preprocess, statistics
from packshot.model.network import PackshotNet
from packshot.model.preprocess import Image
from packshot.training.pretrained import fingerprint

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Extractor:
    """Backbone features of images as float16 arrays `stats` (S) and `gram` (G)."""

    network: PackshotNet
    key: str
    """16 hex digits: weights, views and the code that turns pixels into features."""

    @classmethod
    def of(cls, network: PackshotNet) -> Extractor:
        """The extractor of the network's backbone and views."""
        digest = hashlib.sha256(fingerprint(network.backbone).encode())
        digest.update(json.dumps([network.architecture.long_sides, preprocess.VERSION]).encode())
        for module in (ground, preprocess, statistics, backbone_module, picture_statistics):
            digest.update(inspect.getsource(module).encode())
        return cls(network, digest.hexdigest()[:16])

    def __call__(self, image: Image) -> Arrays:
        """Features of one image, uint8 H x W x 3 RGB. Computed alone, so that no batch can change them."""
        with torch.inference_mode():
            found = self.network.features(image)
        most = np.finfo(np.float16).max
        return {
            "stats": np.clip(found.stats[0].cpu().numpy(), -most, most).astype(np.float16),
            "gram": found.gram[0].cpu().numpy().astype(np.float16),
        }


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

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"
