"""The kept pool of decoding processes: who is to blame for a death, how often a file is tried, what is in flight.

Pebble runs the processes, watches the deadline of each task and tells which task a death cost. Pictures of up to the
first of TIERS_MP are decoded side by side. A larger one is refused by its header at first, then decoded once there is
room for it, the largest by themselves: the same bytes on disk may be a thousand pixels or all that is allowed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as DeadlineOver
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pebble import ProcessExpired, ProcessPool

from packshot.catalog.decoding import worker
from packshot.catalog.decoding.arena import Arena, InSlot
from packshot.catalog.decoding.attempts import TRIES, Attempts, FirstTry
from packshot.catalog.decoding.launch import PlainSpawn
from packshot.catalog.limits import BadImage, ImageLimits
from packshot.errors import PackshotError

Found = TypeVar("Found")

MOST_WORKERS = 4
TIERS_MP = (8.0, 24.0)
"""Megapixels that a picture may have to be decoded beside others, and beside few others."""
BYTES_A_PIXEL = 20
"""A decoder may take so much for each pixel of the largest picture that is allowed."""
BYTES_BESIDE = 64 * 2**20
"""And so much whatever the size, and twice the largest file."""
BYTES_IN_SLOT = 4
"""For each pixel that is allowed: colours and opacity."""
BYTES_OF_SLOT = 4096
"""And so much whatever the size: each array begins at a round address."""
TRIES_OF_POOL = 3
"""Of a task whose pool ended before it was begun."""


class Admission(Protocol):
    """Asks for room for a picture of at most so many megapixels, for as long as it is being decoded."""

    def __call__(self, megapixels: float) -> AbstractContextManager[Callable[[Any], None]]:
        """Waits for the room. What it gives is called with the result, while the room is still held."""


class DecodersDoNotStart(PackshotError):
    """The machine does not let decoding processes start: no fault of a picture."""

    exit_code = 71


def at_once(megapixels: float) -> AbstractContextManager[Callable[[Any], None]]:
    """The Admission of who waits for nothing."""
    del megapixels
    return nullcontext(lambda found: None)


class Decoders:
    """A pool that lives as long as its process. Several threads may call."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._by_itself = threading.Lock()
        self._running: _Running | None = None

    @property
    def workers(self) -> int:
        """How many decode at a time."""
        return self._workers

    def begin(self) -> None:
        """Let the workers start now, beside other work; without, the first call waits for them."""
        self._started()

    def call(
        self,
        function: Callable[..., Found],
        source: Path | bytes,
        limits: ImageLimits,
        admit: Admission = at_once,
        attempts: Attempts | None = None,
    ) -> Found:
        """`function(source, limits)` in a worker; waits for it. `function` is one of `packshot.catalog.image`.

        `attempts` remembers the tries of earlier processes. Raises BadImage, also where the decoder dies or is late;
        DecodersDoNotStart.
        """
        for megapixels in (*TIERS_MP, limits.max_megapixels):
            last = megapixels >= limits.max_megapixels
            within = limits if last else replace(limits, max_megapixels=megapixels)
            alone = self._by_itself if megapixels > TIERS_MP[-1] else nullcontext()
            with admit(within.max_megapixels) as arrived, alone:
                try:
                    found = self._tried(function, source, within, limits, attempts)
                    arrived(found)
                    return found
                except BadImage as bad:
                    if last or bad.reason != "too_many_pixels":
                        raise
        raise AssertionError("the last tier answers")

    def close(self) -> None:
        """End the workers; the next call starts others."""
        with self._lock:
            if self._running is not None:
                self._running.close()
                self._running = None

    def _tried(
        self,
        function: Callable[..., Found],
        source: Path | bytes,
        within: ImageLimits,
        limits: ImageLimits,
        attempts: Attempts | None,
    ) -> Found:
        kept = attempts.of(source) if attempts is not None else FirstTry()
        name = source.name if isinstance(source, Path) else None
        if kept.verdict is not None and kept.verdict.waited_s >= limits.deadline_s:
            raise BadImage(kept.verdict.reason, kept.verdict.detail, name)
        dead = kept.tries
        while dead < TRIES:
            try:
                with kept.trying():
                    return self._once(function, source, within, limits)
            except ProcessExpired as death:
                dead += 1
                detail = _told(death, limits)
            except DeadlineOver:
                detail = (
                    f"the decoder was not done after {limits.deadline_s:g} s (validation.decode_deadline_s); save the "
                    "picture again as JPEG or PNG"
                )
                raise kept.refused(BadImage("decoder_timeout", detail, name), limits.deadline_s) from None
        if kept.tries >= TRIES:
            detail = f"the process that had it decoded ended {TRIES} times; save the picture again as JPEG or PNG"
        raise kept.refused(BadImage("decoder_crashed", detail, name))

    def _once(
        self, function: Callable[..., Found], source: Path | bytes, within: ImageLimits, limits: ImageLimits
    ) -> Found:
        for _ in range(TRIES_OF_POOL):
            running = self._started()
            try:
                return running.result(function, source, within, limits)
            except RuntimeError as error:  # pebble's word for a pool that has ended
                self._discard(running)
                ended = error
        raise DecodersDoNotStart(
            f"the processes that decode pictures end before they begin ({ended}); is there memory, and may this user "
            "start processes?"
        ) from ended

    def _started(self) -> _Running:
        with self._lock:
            if self._running is None:
                self._running = _Running(self._workers)
            return self._running

    def _discard(self, running: _Running) -> None:
        with self._lock:
            if self._running is running:
                self._running = None
        running.close()


class _Running:
    """One pool and its arena."""

    def __init__(self, workers: int) -> None:
        self._arena = Arena()
        arguments = (self._arena.handed_to_child(), os.getpid())
        self._pool = ProcessPool(workers, initializer=worker.begin, initargs=arguments, context=PlainSpawn())
        self._ended = threading.Event()
        # a worker ends with the *thread* that started it
        thread = threading.Thread(target=self._keep, name="decoders", daemon=True)
        started = threading.Event()
        self._begun = started
        thread.start()
        started.wait()

    def result(
        self, function: Callable[..., Found], source: Path | bytes, within: ImageLimits, limits: ImageLimits
    ) -> Found:
        """Of one task, its arrays in the arena. Raises what pebble raises, and BadImage."""
        slot = self._arena.take(int(within.max_megapixels * 1_000_000) * BYTES_IN_SLOT + BYTES_OF_SLOT)
        task = worker.Task(function, (source, within), _memory(limits), slot)
        used = False
        try:
            answer = self._pool.schedule(worker.run, (task,), timeout=limits.deadline_s).result()
            if isinstance(answer, worker.Refused):
                name = source.name if isinstance(source, Path) else None
                raise BadImage(answer.reason, answer.detail, name)
            if isinstance(answer, InSlot) and slot is not None:
                used = True
                answer = self._arena.result(slot, answer)
            return answer  # type: ignore[no-any-return]
        finally:
            if not used:
                self._arena.give_back(slot)

    def close(self) -> None:
        """End the workers."""
        with suppress(RuntimeError):
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()
        self._ended.set()

    def _keep(self) -> None:
        with suppress(RuntimeError):
            self._pool.schedule(worker.nothing)
        self._begun.set()
        self._ended.wait()


def _memory(limits: ImageLimits) -> int:
    pixels = int(limits.max_megapixels * 1_000_000)
    return pixels * BYTES_A_PIXEL + 2 * int(limits.max_file_mb * 1_000_000) + BYTES_BESIDE


def _told(death: ProcessExpired, limits: ImageLimits) -> str:
    code = death.exitcode
    if code == worker.OUT_OF_MEMORY:
        return f"the decoder wants more than the {_memory(limits) // 2**20} MiB that it may have; the file is damaged"
    how = f"status {code}"
    if code is not None and code < 0:
        with suppress(ValueError):
            how = signal.Signals(-code).name
    return f"the decoder dies on the file ({how}); the file is damaged, or made to do so: save the picture again"


_kept: dict[int, Decoders] = {}
_kept_lock = threading.Lock()


def decoders() -> Decoders:
    """The pool of this process, made at the first call; a forked child makes its own."""
    found = _kept.get(os.getpid())
    if found is not None:
        return found
    with _kept_lock:
        return _kept.setdefault(os.getpid(), Decoders(min(_cores(), MOST_WORKERS)))


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
