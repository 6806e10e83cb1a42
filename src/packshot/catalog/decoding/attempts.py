"""Which files were being decoded when a process ended, on disk: a file that ends its process is not tried for ever.

A line when a try begins and one when it is over, whatever came of it. What has begun and is not over died with its
worker, or with the whole process; a later process counts those tries as its own. A file that was given up on stays so.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packshot.catalog.limits import BadImage
from packshot.files import OutputNotWritable

TRIES = 2
"""Of a file whose decoder dies: the first death may have been another's fault."""
NO_WAITING = math.inf


@dataclass(frozen=True)
class Verdict:
    """With what a file was given up, and after how many seconds if that was why."""

    reason: Any
    detail: str
    waited_s: float = NO_WAITING


@dataclass
class FirstTry:
    """A file that nothing is remembered of."""

    tries: int = 0
    """Those that are not over."""
    verdict: Verdict | None = None

    @contextmanager
    def trying(self) -> Iterator[None]:
        """A try; it is over when it gives a result, or a BadImage."""
        yield

    def refused(self, bad: BadImage, waited_s: float = NO_WAITING) -> BadImage:
        """Give up on the file, for good or as long as nobody waits longer."""
        return bad


@dataclass
class _Remembered(FirstTry):
    journal: Attempts = field(kw_only=True)
    key: str = field(kw_only=True)

    @contextmanager
    def trying(self) -> Iterator[None]:
        self.journal.note(self.key, begun=True)
        try:
            yield
        except BadImage:
            self.journal.note(self.key, over=True)
            raise
        self.journal.note(self.key, over=True)

    def refused(self, bad: BadImage, waited_s: float = NO_WAITING) -> BadImage:
        self.journal.note(self.key, verdict=(bad.reason, bad.detail), waited_s=waited_s)
        return bad


class Attempts:
    """The journal of one piece of work, at `path`. Several threads may write, and processes one after another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._found = _read(path)
        self.gave_up = any(verdict is not None for _, verdict in self._found.values())
        """Whether a file was given up, by this process or an earlier one."""
        self._file: int | None = None

    def of(self, source: Path | bytes) -> FirstTry:
        """What is remembered of a file as it is now, or of its content."""
        key = _key(source)
        tries, verdict = self._found.get(key, (0, None))
        return _Remembered(tries, verdict, journal=self, key=key)

    def suspects(self, source: Path) -> bool:
        """Whether a process ended while it decoded the file: it is to be decoded with nothing beside it."""
        return self.of(source).tries > 0

    def note(self, key: str, **what: Any) -> None:
        """Write a line. Raises OutputNotWritable."""
        self.gave_up |= "verdict" in what
        line = json.dumps({"key": key, **what}) + "\n"
        try:
            with self._lock:
                if self._file is None:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
                os.write(self._file, line.encode())
        except OSError as error:
            raise OutputNotWritable(self.path, error) from error

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def rest(self) -> None:
        """The work is done for now: files that were given up are not tried again when it is done anew."""
        if self.gave_up:
            self.close()
        else:
            self.forget()

    def forget(self) -> None:
        """The work is done: what came of each file stands elsewhere."""
        self.close()
        self.path.unlink(missing_ok=True)


def _key(source: Path | bytes) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()[:32]
    try:
        found = source.stat()
        stamp = [found.st_size, found.st_mtime_ns]
    except OSError:
        stamp = []
    return hashlib.sha256(json.dumps([os.fsencode(source).hex(), stamp]).encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, tuple[int, Verdict | None]]:
    found: dict[str, tuple[int, Verdict | None]] = {}
    if not path.is_file():
        return found
    for line in path.read_bytes().splitlines():
        try:
            said = json.loads(line)
            key = str(said["key"])
            tries, verdict = found.get(key, (0, None))
            if "verdict" in said:
                reason, detail = said["verdict"]
                verdict = Verdict(reason, str(detail), float(said.get("waited_s", NO_WAITING)))
            found[key] = (0 if "over" in said else tries + ("begun" in said), verdict)
        except (ValueError, KeyError, TypeError):
            continue  # the last line of a killed process
    return found
