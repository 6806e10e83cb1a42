"""What a piece of work uses, with all that it starts, and what that costs by the rates of `params.yaml`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from packshot.config import CostSettings
from packshot.errors import PackshotError
from packshot.files import write_json

EVERY_S = 5.0
REPORT_TO = "PACKSHOT_GPU_REPORTS"
"""Environment variable that names the folder where a metered process leaves its GPU seconds for the one above it."""
HOUR = 3600.0
GIB_IN_MB = 2**30 / 1e6


@dataclass(frozen=True)
class Usage:
    """Wall, CPU and GPU seconds, and the largest memory in MB (10^6 bytes) at any moment.

    A GPU second is a second in which one CUDA device held memory of the work.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    peak_mb: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.wall_s + other.wall_s,
            self.cpu_s + other.cpu_s,
            self.gpu_s + other.gpu_s,
            max(self.peak_mb, other.peak_mb),
        )


def price(usage: Usage, rates: CostSettings) -> float:
    """What `usage` costs, in `rates.currency`: cores and devices by the seconds used, the largest memory all along."""
    memory = usage.peak_mb / GIB_IN_MB * usage.wall_s * rates.memory_gib_hour
    return (usage.cpu_s * rates.cpu_core_hour + usage.gpu_s * rates.gpu_hour + memory) / HOUR


def as_record(usage: Usage, rates: CostSettings) -> dict[str, Any]:
    """Usage and price as plain data for JSON."""
    rounded = {name: round(value, 3) for name, value in asdict(usage).items()}
    return rounded | {"price": round(price(usage, rates), 6), "currency": rates.currency}


class Meter:
    """What has been used since it was made. `so_far` may be called from any thread."""

    def __init__(self, ranks: int, reports: Path) -> None:
        own = psutil.Process()
        self._root = own.parent() or own if ranks > 1 else own
        self._ranks, self._reports = ranks, reports
        self._lock = threading.Lock()
        self._begun = self._looked = time.monotonic()
        self._cpu_before = self._processes()[0]
        self._cpu_s = self._gpu_s = self._peak_mb = 0.0

    def so_far(self) -> Usage:
        """The usage up to now."""
        with self._lock:
            self._look()
            return Usage(
                self._looked - self._begun,
                self._cpu_s,
                self._gpu_s * self._ranks + _reported(self._reports),
                self._peak_mb,
            )

    def _look(self) -> None:
        now = time.monotonic()
        self._gpu_s += _devices_held() * (now - self._looked)
        self._looked = now
        cpu_s, memory_mb = self._processes()
        # a process that was killed and not waited for takes its seconds with it
        self._cpu_s = max(self._cpu_s, cpu_s - self._cpu_before)
        self._peak_mb = max(self._peak_mb, memory_mb)

    def _processes(self) -> tuple[float, float]:
        """CPU seconds of the root and all below it, ended ones included, and the memory they hold now, in MB.

        Proportional set size counts a page that several processes share once, so the sum is what the machine gives.
        """
        seconds = memory = 0.0
        tree = [self._root]
        with suppress(psutil.Error):
            tree += self._root.children(recursive=True)
        for process in tree:
            with suppress(psutil.Error):
                times = process.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
                memory += process.memory_full_info().pss
        return seconds, memory / 1e6


@contextmanager
def metered(ranks: int = 1) -> Iterator[Meter]:
    """Meter this process and everything it starts, every 5 s and when asked, while the block runs.

    GPU seconds of processes below come from their own `metered` blocks, so two blocks must not be open in one process.
    `ranks` above 1: so many processes share the work, all below the parent of this one on its machine; each is taken
    to hold a device for as long as this one.
    """
    above = os.environ.get(REPORT_TO)
    ended = threading.Event()
    with tempfile.TemporaryDirectory(prefix="packshot-usage-") as folder:
        meter = Meter(ranks, Path(folder))

        def watch() -> None:
            while not ended.wait(EVERY_S):
                meter.so_far()

        thread = threading.Thread(target=watch, daemon=True)
        os.environ[REPORT_TO] = folder
        thread.start()
        try:
            yield meter
        finally:
            ended.set()
            thread.join()
            _hand_up(above, meter.so_far().gpu_s)


def _hand_up(above: str | None, gpu_s: float) -> None:
    if above is None:
        os.environ.pop(REPORT_TO, None)
        return
    os.environ[REPORT_TO] = above
    # whoever is above may be gone by now; that is no failure of this work
    if Path(above).is_dir():
        with suppress(PackshotError):
            write_json(Path(above) / f"{uuid.uuid4().hex}.json", gpu_s)


def _reported(folder: Path) -> float:
    return sum(float(json.loads(path.read_text())) for path in folder.glob("[!.]*.json"))


def _devices_held() -> int:
    """CUDA devices that hold memory of this process. Never the first to touch CUDA, nor to import torch."""
    cuda = sys.modules.get("torch.cuda")
    begun = getattr(cuda, "is_initialized", None)
    if cuda is None or begun is None or not begun():
        return 0
    return sum(cuda.memory_reserved(device) > 0 for device in range(cuda.device_count()))
