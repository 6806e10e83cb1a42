"""What runs in a decoding process. It imports what decodes and nothing else: a worker is small and soon there."""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy: its threads would take memory that nobody uses

import ctypes
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from packshot.catalog.containers import planes
from packshot.catalog.decoding.arena import Slot, WorkerArena
from packshot.catalog.limits import BadImage

OUT_OF_MEMORY = 77
"""Exit status of a worker whose decoder wanted more memory than it may have."""
LARGE_RESULT = 72 * 2**20
"""Bytes from which on what a decoder has freed is given back to the system at once."""
_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 192 * 2**20
"""Bytes that a worker keeps of what it has freed: taking it from the system anew costs as much as decoding."""
_LARGE = 64 * 2**20
"""Bytes of a piece that is not kept: the next step of the same picture may need the room."""


@dataclass(frozen=True)
class Refused:
    """A BadImage on its way to the owner."""

    reason: Any
    detail: str


@dataclass(frozen=True)
class Task:
    """Call `function(*arguments)` with at most `memory` more bytes than the worker began with."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    memory: int
    slot: Slot | None


class _Worker:
    """What a worker keeps from task to task."""

    arena: WorkerArena | None = None
    data_at_start = 0


def begin(file: int | None, owner: int) -> None:
    """Make a new process a worker of `owner`; `file` is the arena's."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a decoder that hangs lets no handler run
    _die_with(owner)
    _preload()
    _keep_freed_memory()
    _Worker.arena = None if file is None else WorkerArena(file)
    _Worker.data_at_start = _data_bytes()


def run(task: Task) -> Any:
    """The result of a task, an InSlot where it has arrays; a Refused where it raised BadImage."""
    _bound_memory(task.memory)
    desk = None if task.slot is None or _Worker.arena is None else _Worker.arena.desk(task.slot)
    try:
        with nullcontext() if desk is None else planes.handed_over_in(desk.plane):
            found = task.function(*task.arguments)
    except BadImage as bad:
        return Refused(bad.reason, bad.detail)
    except MemoryError:
        # what the decoder holds cannot be known, so nothing else is decoded in this process
        os._exit(OUT_OF_MEMORY)
    except Exception as error:
        return Refused("not_an_image", f"the decoder fails on the file ({type(error).__name__}: {error})")
    left = None if desk is None else desk.left(found)
    if left is None:
        return found
    if left.touched > LARGE_RESULT:
        del found
        _give_back_memory()
    return left


def nothing() -> None:
    """A task that shows that a worker is there."""


def _preload() -> None:
    """Import the decoders now: the deadline is the picture's."""
    import cv2
    from PIL import Image

    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    Image.preinit()
    Image.init()


def _die_with(owner: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != owner:
        os._exit(0)  # it died before


def _bound_memory(most: int) -> None:
    """Bound what the process may allocate; shared slots and libraries do not count."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _Worker.data_at_start + most
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _data_bytes() -> int:
    if not sys.platform.startswith("linux"):
        return 0
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))


def _keep_freed_memory() -> None:
    _libc("mallopt", _M_MMAP_THRESHOLD, _LARGE)
    _libc("mallopt", _M_TRIM_THRESHOLD, _KEPT)


def _give_back_memory() -> None:
    _libc("malloc_trim", 0)


def _libc(name: str, *arguments: int) -> None:
    """Call a function of glibc; other libraries lack these."""
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
    if function is not None:
        function(*arguments)
