"""Where a network is computed: on a CUDA device where there is one, without asking torch where there is none."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from packshot.errors import PackshotError

if TYPE_CHECKING:
    import torch

ROCM = Path("/dev/kfd")


class NoSuchDevice(PackshotError):
    """A device is asked for that is missing, or whose library is not installed."""

    exit_code = 66


def on_cuda(device: str) -> bool:
    """Whether `auto`, `cpu` or `cuda` means a CUDA (or ROCm) device here. Raises NoSuchDevice where cuda is missing.

    torch, which takes seconds to import, is asked only where a driver has found a device.
    """
    if device == "cpu" or (device == "auto" and not (_torch_is_installed() and _driver_finds_a_device())):
        return False
    if not _torch_is_installed():
        raise NoSuchDevice(
            "training.device is cuda, which needs torch: pip install 'packshot[train]', or set it to cpu"
        )
    return choose_device(device).type == "cuda"


def choose_device(name: str) -> torch.device:
    """`auto`: CUDA where there is one. Raises NoSuchDevice where cuda is asked for and missing."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise NoSuchDevice("training.device is cuda, but torch finds no CUDA device; set it to auto or cpu")
    return torch.device(name)


def _torch_is_installed() -> bool:
    return importlib.util.find_spec("torch") is not None


@functools.cache
def _driver_finds_a_device() -> bool:
    if ROCM.exists():
        return True
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    return False
