"""What the frozen backbone says of an image, kept by content: a second run, or new data, costs only what is new."""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from packshot.catalog import statistics as picture_statistics
from packshot.files import write_bytes
from packshot.model import backbone as backbone_module
from packshot.model import preprocess, statistics
from packshot.model.network import PackshotNet
from packshot.model.preprocess import Image
from packshot.training.pretrained import fingerprint

Arrays = dict[str, npt.NDArray[np.generic]]
Item = TypeVar("Item")
Result = TypeVar("Result")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


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
        for module in (preprocess, statistics, backbone_module, picture_statistics):
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


def worker_count(threads: int) -> int:
    """`training.threads`, or what this process may use where that is 0."""
    return threads or len(os.sched_getaffinity(0))


def each_on_one_core(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """`work` of each item, in order, `workers` at a time, each with one torch thread.

    One image to a core beats many cores to one image: nobody waits for anybody. Results do not depend on `workers`.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for start in range(0, len(items), 64):
                yield from pool.map(work, items[start : start + 64])
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Ask glibc to reuse large freed blocks: giving feature maps back to the kernel costs a fifth of the time."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)
    except (OSError, AttributeError):
        return
