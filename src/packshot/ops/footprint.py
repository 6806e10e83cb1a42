"""How much memory a run and all its processes take."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

EVERY_S = 5.0


@dataclass
class Footprint:
    """The largest sum of proportional set sizes seen so far, in MB (10^6 bytes)."""

    peak_mb: float = 0.0


@contextmanager
def watched() -> Iterator[Footprint]:
    """Sample this process and everything it started, every 5 s, while the block runs.

    Proportional set size counts a page that several processes share once, so the sum is what the machine gives.
    """
    footprint = Footprint()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            footprint.peak_mb = max(footprint.peak_mb, _now_mb())
            ended.wait(EVERY_S)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield footprint
    finally:
        ended.set()
        thread.join()


def _now_mb() -> float:
    own = psutil.Process()
    total = 0
    for process in [own, *own.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6
