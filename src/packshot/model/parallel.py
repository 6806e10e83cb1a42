"""Many images at once on a CPU: each on a core of its own."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import cv2
from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
IN_FLIGHT = 64


def worker_count(threads: int) -> int:
    """`training.threads`, or what this process may use where that is 0."""
    return threads or len(os.sched_getaffinity(0))


def each_on_one_core(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """`work` of each item, in order, `workers` at a time, each with one torch thread where torch is used.

    One image to a core beats many cores to one image: nobody waits for anybody. Results do not depend on `workers`.
    """
    cv2.setNumThreads(1)
    keep_freed_memory()
    with one_torch_thread(), ThreadPoolExecutor(workers, initializer=_one_torch_thread_here) as pool:
        for start in range(0, len(items), IN_FLIGHT):
            yield from pool.map(work, items[start : start + IN_FLIGHT])


def _torch() -> Any:
    """torch where something of this process has imported it; None otherwise: it takes seconds."""
    return sys.modules.get("torch")


def _one_torch_thread_here() -> None:
    if (torch := _torch()) is not None:
        torch.set_num_threads(1)


def keep_freed_memory() -> None:
    """Ask glibc to reuse large freed blocks: giving feature maps back to the kernel costs a fifth of the time."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)
    except (OSError, AttributeError):
        return


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Steps so small that torch's other threads would only wait for one another, on cores that others need."""
    if (torch := _torch()) is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_core() -> Iterator[None]:
    """Matrices so small that threads would spend their time waiting for one another: numpy and torch use one."""
    with one_torch_thread(), _libraries().limit(limits=1):
        yield


@functools.cache
def _libraries() -> ThreadpoolController:
    """Looked for once: that takes longer than many a step that is to be kept to one core."""
    import numpy as np

    np.zeros((2, 2), dtype=np.float32) @ np.zeros((2, 2), dtype=np.float32)
    return ThreadpoolController()
