"""Decoding ahead of the model: one thread reads and decodes while the network computes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from packshot.catalog.image import BadImage, ImageInfo, ImageLimits, inspect, resolve_inside
from packshot.scoring.listing import BatchFile

PIXELS_AHEAD = 48_000_000
"""Bound of what waits decoded, in pixels (3 bytes each); a single larger image still passes."""


@dataclass(frozen=True)
class Opened:
    """One file, decoded (`info` and `pixels`, H x W x 3 uint8 RGB) or not (`reason` and `detail`)."""

    file: BatchFile
    info: ImageInfo | None = None
    pixels: NDArray[np.uint8] | None = None
    reason: str | None = None
    detail: str = ""


def open_file(file: BatchFile, root: Path, limits: ImageLimits) -> Opened:
    """Read and decode one file once. Never raises for what is wrong with the file."""
    try:
        relative = file.location.relative_to(root).as_posix()
        info, pixels = inspect(resolve_inside(root, relative), limits)
    except BadImage as error:
        return Opened(file, reason=error.reason, detail=error.detail)
    except Exception as error:
        # Decoders fail in ways of their own; one file must never end a batch.
        return Opened(file, reason="unreadable", detail=f"{type(error).__name__}: {error}")
    return Opened(file, info, pixels)


def read_ahead(files: Iterable[BatchFile], root: Path, limits: ImageLimits) -> Iterator[Opened]:
    """Yield each file decoded, in order; a thread works ahead by at most PIXELS_AHEAD pixels."""
    ahead = _Ahead()
    thread = threading.Thread(target=_fill, args=(ahead, files, root, limits), name="decode", daemon=True)
    thread.start()
    try:
        while (opened := ahead.take()) is not None:
            yield opened
    finally:
        ahead.stop()
        thread.join()


def _fill(ahead: _Ahead, files: Iterable[BatchFile], root: Path, limits: ImageLimits) -> None:
    try:
        for file in files:
            if not ahead.put(open_file(file, root, limits)):
                return
    except BaseException as error:
        ahead.fail(error)
    else:
        ahead.put(None)


class _Ahead:
    """A queue bounded by pixels, that either side can close."""

    def __init__(self) -> None:
        self._waiting: deque[Opened | None] = deque()
        self._pixels = 0
        self._changed = threading.Condition()
        self._stopped = False
        self._error: BaseException | None = None

    def put(self, opened: Opened | None) -> bool:
        """Wait for room and hand over; False when nobody reads any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._pixels < PIXELS_AHEAD)
            if self._stopped:
                return False
            self._waiting.append(opened)
            self._pixels += _size(opened)
            self._changed.notify_all()
            return True

    def take(self) -> Opened | None:
        """The next file, or None at the end. Raises what ended the reading thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._error is not None)
            if not self._waiting and self._error is not None:
                raise self._error
            opened = self._waiting.popleft()
            self._pixels -= _size(opened)
            self._changed.notify_all()
            return opened

    def fail(self, error: BaseException) -> None:
        """End with an error once what waits is taken."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def stop(self) -> None:
        """Nobody reads any more: drop what waits and let the writer end."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()


def _size(opened: Opened | None) -> int:
    if opened is None or opened.pixels is None:
        return 0
    return int(opened.pixels.shape[0] * opened.pixels.shape[1])
