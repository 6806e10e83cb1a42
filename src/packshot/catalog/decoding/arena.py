"""Pixels from a worker to its owner without a copy: slots of one anonymous file that both map.

A file without a name goes when its last process does, however that ends, and has no size limit of its own, as
/dev/shm has in containers. The owner gives a slot away with a task, the worker writes into it, and the arrays that the
owner hands out lie there until the last of them is gone. Where a system has no such file, arrays travel pickled.
"""

from __future__ import annotations

import mmap
import os
import pickle
import weakref
from collections import deque
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from threading import RLock
from typing import Any

import numpy as np

IDLE_BYTES = 64 * 2**20
"""Slots that nobody uses keep at most so much memory together: touching it anew costs more than copying into it."""
ALIGNED = 64
_SHARED = hasattr(os, "memfd_create")


@dataclass(frozen=True)
class Slot:
    """A stretch of the file, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class InSlot:
    """A result whose arrays a worker has left in a slot: `pickled`, and where the arrays lie (start, bytes)."""

    pickled: bytes
    parts: tuple[tuple[int, int], ...]


class Arena:
    """The owner's side. Several threads may ask."""

    def __init__(self) -> None:
        self.file = os.memfd_create("packshot-pixels") if _SHARED else None
        self._owner = os.getpid()
        self._lock = RLock()
        self._end = 0
        self._idle: dict[int, list[tuple[Slot, int]]] = {}
        self._maps: dict[Slot, mmap.mmap] = {}
        self._returned: deque[tuple[Slot, int]] = deque()

    def handed_to_child(self) -> Any:
        """The file, for the arguments of a process that is being started."""
        return None if self.file is None else _Inherited(self.file)

    def take(self, size: int) -> Slot | None:
        """A slot of `size` bytes that nobody else uses; None where arrays travel pickled."""
        if self.file is None:
            return None
        size = -(-size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        with self._lock:
            self._collect()
            if waiting := self._idle.get(size):
                return waiting.pop()[0]
            slot = Slot(self._end, size)
            self._end += size
            os.ftruncate(self.file, self._end)
            return slot

    def give_back(self, slot: Slot | None, touched: int = 0) -> None:
        """Nobody uses the slot any more; `touched` bytes of it were written. May be called while anything is locked."""
        if slot is not None:
            self._returned.append((slot, touched or slot.size))

    def result(self, slot: Slot, left: InSlot) -> Any:
        """What a worker has left in a slot, which is given back when the last of its arrays is gone."""
        with self._lock:
            if slot not in self._maps:
                assert self.file is not None
                self._maps[slot] = mmap.mmap(self.file, slot.size, offset=slot.offset)
            whole = np.frombuffer(self._maps[slot], np.uint8)
        touched = sum(left.parts[-1])
        weakref.finalize(whole, self._gone, slot, touched).atexit = False
        buffers = [whole[start : start + size] for start, size in left.parts]
        return pickle.loads(left.pickled, buffers=buffers)  # noqa: S301 - our own worker's, and its decoders' no more

    def close(self) -> None:
        """Forget the file; arrays that are still in use keep it."""
        if self.file is not None:
            os.close(self.file)
            self.file = None
        self._maps.clear()

    def _gone(self, slot: Slot, touched: int) -> None:
        if os.getpid() == self._owner:  # in a forked child the memory is still its parent's
            self._returned.append((slot, touched))

    def _collect(self) -> None:
        while self._returned:
            slot, touched = self._returned.popleft()
            kept = sum(bytes_ for slots in self._idle.values() for _, bytes_ in slots)
            if kept + touched > IDLE_BYTES:
                self._empty(slot, touched)
                touched = 0
            self._idle.setdefault(slot.size, []).append((slot, touched))

    def _empty(self, slot: Slot, touched: int) -> None:
        assert self.file is not None
        mapped = self._maps.get(slot) or mmap.mmap(self.file, slot.size, offset=slot.offset)
        mapped.madvise(mmap.MADV_REMOVE, 0, -(-touched // mmap.PAGESIZE) * mmap.PAGESIZE)


class WorkerArena:
    """A worker's side of the file, by its number in the worker."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._maps: dict[Slot, mmap.mmap] = {}

    def put(self, slot: Slot, found: Any) -> InSlot | None:
        """Leave the arrays of a result in a slot; None where it has none, or they do not fit."""
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(found, 5, buffer_callback=buffers.append)
        parts, end = [], 0
        for buffer in buffers:
            size = buffer.raw().nbytes
            parts.append((end, size))
            end += -(-size // ALIGNED) * ALIGNED
        if not parts or end > slot.size:
            return None
        if slot not in self._maps:
            self._maps[slot] = mmap.mmap(self._file, slot.size, offset=slot.offset)
        whole = np.frombuffer(self._maps[slot], np.uint8)
        for buffer, (start, size) in zip(buffers, parts, strict=True):
            whole[start : start + size] = np.frombuffer(buffer.raw(), np.uint8)
        return InSlot(pickled, tuple(parts))


class _Inherited:
    """A file descriptor that survives being pickled for a child that is being started."""

    def __init__(self, file: int) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return _detached, (DupFd(self._file),)


def _detached(duplicate: Any) -> int:
    return int(duplicate.detach())
