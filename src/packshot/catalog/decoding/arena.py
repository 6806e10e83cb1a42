"""Pixels from a worker to its owner without a copy: slots of one anonymous file that both map.

A file without a name goes when its last process does, however that ends, and has no size limit of its own, as
/dev/shm has in containers. The owner gives a slot away with a task, the worker writes into it, and the arrays that the
owner hands out lie there until the last of them is gone. Where a system has no such file, arrays travel pickled.
"""

from __future__ import annotations

import math
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
from numpy.typing import NDArray

KEPT_BYTES = 288 * 2**20
"""Slots that nobody uses keep their memory, as long as all slots together have no more than this: touching it anew
costs more than decoding into it."""
LARGE_SLOT = 128 * 2**20
"""A slot of so many bytes keeps none, and others give up theirs before it is filled: its decoder needs the room."""
ALIGNED = 64
_SHARED = hasattr(os, "memfd_create")


@dataclass(frozen=True)
class Slot:
    """A stretch of the file, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class InSlot:
    """A result whose arrays a worker has left in a slot: `pickled`, where the arrays lie (start, bytes), and how many
    bytes from the slot's start on were written."""

    pickled: bytes
    parts: tuple[tuple[int, int], ...]
    touched: int


class Arena:
    """The owner's side. Several threads may ask."""

    def __init__(self) -> None:
        self.file = os.memfd_create("packshot-pixels") if _SHARED else None
        self._owner = os.getpid()
        self._lock = RLock()
        self._end = 0
        self._idle: dict[int, list[Slot]] = {}
        self._touched: dict[Slot, int] = {}
        """Bytes that have memory, by slot."""
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
            if size >= LARGE_SLOT:
                self._make_room(size)
            return self._idle_slot(size) or self._new_slot(size)

    def give_back(self, slot: Slot | None) -> None:
        """Nobody uses a slot any more that a worker may have written into."""
        if slot is not None:
            self._return(slot, slot.size)

    def result(self, slot: Slot, left: InSlot) -> Any:
        """What a worker has left in a slot, which is given back when the last of its arrays is gone."""
        with self._lock:
            if slot not in self._maps:
                assert self.file is not None
                self._maps[slot] = mmap.mmap(self.file, slot.size, offset=slot.offset)
            whole = np.frombuffer(self._maps[slot], np.uint8)
        weakref.finalize(whole, self._gone, slot, left.touched).atexit = False
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
            self._return(slot, touched)

    def _return(self, slot: Slot, touched: int) -> None:
        """May be called wherever a thread is, whatever it has locked."""
        if slot.size >= LARGE_SLOT:
            self._empty(slot, touched)
            touched = 0
        self._returned.append((slot, touched))

    def _collect(self) -> None:
        while self._returned:
            slot, touched = self._returned.popleft()
            self._touched[slot] = max(touched, self._touched.get(slot, 0))
            self._idle.setdefault(slot.size, []).append(slot)
        self._make_room(0)

    def _idle_slot(self, size: int) -> Slot | None:
        waiting = self._idle.get(size)
        return waiting.pop() if waiting else None

    def _new_slot(self, size: int) -> Slot:
        assert self.file is not None
        slot = Slot(self._end, size)
        self._end += size
        os.ftruncate(self.file, self._end)
        return slot

    def _make_room(self, wanted: int) -> None:
        """Take the memory of idle slots, those that wait longest first, until all have KEPT_BYTES with `wanted`."""
        excess = sum(self._touched.values()) + wanted - KEPT_BYTES
        for slot in (slot for slots in self._idle.values() for slot in slots):
            if excess <= 0:
                return
            touched = self._touched.pop(slot, 0)
            self._empty(slot, touched)
            excess -= touched

    def _empty(self, slot: Slot, touched: int) -> None:
        if touched and self.file is not None:
            mapped = self._maps.get(slot) or mmap.mmap(self.file, slot.size, offset=slot.offset)
            mapped.madvise(mmap.MADV_REMOVE, 0, -(-touched // mmap.PAGESIZE) * mmap.PAGESIZE)


class WorkerArena:
    """A worker's side of the file, by its number in the worker."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._maps: dict[Slot, mmap.mmap] = {}

    def desk(self, slot: Slot) -> Desk:
        """For the result of one task."""
        if slot not in self._maps:
            self._maps[slot] = mmap.mmap(self._file, slot.size, offset=slot.offset)
        return Desk(np.frombuffer(self._maps[slot], np.uint8))


class Desk:
    """A slot that a worker fills from its start on."""

    def __init__(self, whole: NDArray[np.uint8]) -> None:
        self._whole = whole
        self._end = 0

    def plane(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """An array of uint8, not filled: in the slot where it has room for it."""
        start = self._reserve(math.prod(shape))
        return np.empty(shape, np.uint8) if start is None else self._at(start, math.prod(shape)).reshape(shape)

    def left(self, found: Any) -> InSlot | None:
        """A result with its arrays in the slot, copied where they lie elsewhere; None where it has none, or no room."""
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(found, 5, buffer_callback=buffers.append)
        parts = []
        for buffer in buffers:
            content = np.frombuffer(buffer.raw(), np.uint8)
            start = self._place_of(content)
            if start is None:
                start = self._reserve(len(content))
                if start is None:
                    return None
                self._at(start, len(content))[:] = content
            parts.append((start, len(content)))
        return InSlot(pickled, tuple(parts), self._end) if parts else None

    def _reserve(self, size: int) -> int | None:
        start, end = self._end, self._end + -(-size // ALIGNED) * ALIGNED
        if end > len(self._whole):
            return None
        self._end = end
        return start

    def _at(self, start: int, size: int) -> NDArray[np.uint8]:
        return self._whole[start : start + size]

    def _place_of(self, content: NDArray[np.uint8]) -> int | None:
        place = int(content.ctypes.data) - int(self._whole.ctypes.data)
        return place if place >= 0 and place + len(content) <= len(self._whole) else None


class _Inherited:
    """A file descriptor that survives being pickled for a child that is being started."""

    def __init__(self, file: int) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return _detached, (DupFd(self._file),)


def _detached(duplicate: Any) -> int:
    return int(duplicate.detach())
