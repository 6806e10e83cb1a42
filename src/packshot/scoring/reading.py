"""Decoding ahead of the model: worker processes read and decode while the network computes.

What is in flight is bounded by pixels, not by pictures: those being decoded, those that wait, and those that somebody
still holds. So who reads should let go of a picture before asking for the next one.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from packshot.catalog.decoding.attempts import Attempts
from packshot.catalog.decoding.isolated import inspect
from packshot.catalog.decoding.pool import TIERS_MP, Admission, decoders
from packshot.catalog.image import BadImage, ImageInfo, ImageLimits, Pixels, resolve_inside
from packshot.errors import PackshotError
from packshot.scoring.listing import BatchFile

PIXELS_IN_FLIGHT = 96_000_000
"""Bound of what is decoded or being so, in pixels (3 bytes each); a single larger image passes by itself."""
FILES_AHEAD = 64
"""Bound of what waits, in files: those that cannot be read have no pixels."""


@dataclass(frozen=True)
class Opened:
    """One file, decoded (`info` and `pixels`, H x W x 3 uint8 RGB) or not (`reason` and `detail`)."""

    file: BatchFile
    info: ImageInfo | None = None
    pixels: Pixels | None = None
    reason: str | None = None
    detail: str = ""


def read_ahead(
    files: Iterable[BatchFile], root: Path, limits: ImageLimits, attempts: Attempts | None = None
) -> Iterator[Opened]:
    """Yield each file decoded, in order, some of them ahead. Never raises for what is wrong with a file.

    `attempts` remembers files that ended earlier processes. Raises DecodersDoNotStart, OutputNotWritable.
    """
    ahead = _Ahead(FILES_AHEAD)
    with ThreadPoolExecutor(decoders().workers, thread_name_prefix="decode") as threads:
        opening = _Opening(root, limits, attempts)
        filling = threading.Thread(target=_fill, args=(ahead, files, opening, threads), name="ahead", daemon=True)
        filling.start()
        try:
            while (waiting := ahead.take()) is not None:
                opened = waiting.result()
                ahead.handed_over()
                waiting = None
                yield opened
                del opened  # nobody else may hold it when the next one asks for room
        finally:
            ahead.stop()
            filling.join()


@dataclass(frozen=True)
class _Opening:
    root: Path
    limits: ImageLimits
    attempts: Attempts | None

    def open(self, file: BatchFile, admitted: Callable[[bool], Admission]) -> Opened:
        """Read and decode one file. Never raises for what is wrong with the file.

        `admitted` is told whether the file is to be decoded with nothing beside it.
        """
        try:
            path = resolve_inside(self.root, file.location.relative_to(self.root).as_posix())
            # of those that a process ended with only one is to blame
            suspect = self.attempts is not None and self.attempts.suspects(path)
            info, pixels = inspect(path, self.limits, admit=admitted(suspect), attempts=self.attempts)
        except BadImage as error:
            return Opened(file, reason=error.reason, detail=error.detail)
        except PackshotError:
            raise
        except Exception as error:
            # Files fail in ways of their own; one must never end a batch.
            return Opened(file, reason="unreadable", detail=f"{type(error).__name__}: {error}")
        return Opened(file, info, pixels)


def _fill(ahead: _Ahead, files: Iterable[BatchFile], opening: _Opening, threads: ThreadPoolExecutor) -> None:
    try:
        for number, file in enumerate(files):
            if not ahead.put(partial(threads.submit, _opened, ahead, number, file, opening)):
                return
    except BaseException as error:
        ahead.fail(error)
    else:
        ahead.end()


def _opened(ahead: _Ahead, number: int, file: BatchFile, opening: _Opening) -> Opened:
    return opening.open(file, lambda alone: partial(ahead.admitted, number, alone))


class _Ahead:
    """A queue in order, bounded by files that wait and by pixels that anybody holds; either side can close it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[Future[Opened]] = deque()
        self._head = 0
        """Number of the file that is to be taken next."""
        self._hungry = False
        self._held = 0
        """Pixels of pictures that are decoded and not let go of."""
        self._decoding = 0
        """Pixels that pictures now being decoded may have."""
        self._alone = False
        # reentrant: a picture may be let go of wherever this thread is
        self._lock = threading.RLock()
        self._came = threading.Condition(self._lock)
        self._went = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._stopped = False
        self._ended = False
        self._error: BaseException | None = None

    def put(self, submit: partial[Future[Opened]]) -> bool:
        """Wait for room and hand over; False when nobody reads any more."""
        with self._lock:
            self._went.wait_for(lambda: self._stopped or len(self._waiting) < self._most)
            if self._stopped:
                return False
            self._waiting.append(submit())
            self._came.notify_all()
            return True

    def take(self) -> Future[Opened] | None:
        """The next file, or None at the end. Raises what ended the listing of files."""
        with self._lock:
            self._hungry = True
            self._room.notify_all()
            self._came.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                self._went.notify_all()
                return self._waiting.popleft()
            if self._error is not None:
                raise self._error
            return None

    def handed_over(self) -> None:
        """The file that was taken last is decoded."""
        with self._lock:
            self._hungry = False
            self._head += 1
            self._room.notify_all()

    @contextmanager
    def admitted(
        self, number: int, alone: bool, megapixels: float
    ) -> Iterator[Callable[[tuple[ImageInfo, Pixels]], None]]:
        """Room for decoding file `number`, as an Admission; the one that is waited for always gets it.

        While one that is to be `alone` is decoded no other is.
        """
        pixels = int(megapixels * 1_000_000)
        with self._lock:
            self._room.wait_for(lambda: self._stopped or self._has_room(number, alone, pixels))
            self._decoding += pixels
            self._alone = alone
        try:
            yield self._hold
        finally:
            with self._lock:
                self._decoding -= pixels
                self._alone = False
                self._room.notify_all()

    def _has_room(self, number: int, alone: bool, pixels: int) -> bool:
        if self._alone or (alone and self._decoding):
            return False
        if self._hungry and number == self._head:
            return True
        used = self._held + self._decoding
        if pixels > TIERS_MP[-1] * 1_000_000:  # by itself, and not before one that is waited for
            return not used and number == self._head
        return used + pixels <= PIXELS_IN_FLIGHT

    def _hold(self, found: tuple[ImageInfo, Pixels]) -> None:
        """Count a picture for as long as anybody has it."""
        _, pixels = found
        size = int(pixels.shape[0] * pixels.shape[1])
        with self._lock:
            self._held += size
        weakref.finalize(pixels, self._let_go, size).atexit = False

    def _let_go(self, size: int) -> None:
        with self._lock:
            self._held -= size
            self._room.notify_all()

    def fail(self, error: BaseException) -> None:
        """End with an error once what waits is taken."""
        with self._lock:
            self._error = error
        self.end()

    def end(self) -> None:
        """Nothing more comes."""
        with self._lock:
            self._ended = True
            self._came.notify_all()

    def stop(self) -> None:
        """Nobody reads any more: drop what waits and let the writer end."""
        with self._lock:
            self._stopped = True
            for each in self._waiting:
                each.cancel()
            self._waiting.clear()
            self._went.notify_all()
            self._room.notify_all()
