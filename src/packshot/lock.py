"""Locks between processes of one machine. The kernel gives a lock back when its holder is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packshot.errors import PackshotError
from packshot.files import OutputNotWritable
from packshot.home import Home


def lock_path(name: str) -> Path:
    """The file behind the lock `name`."""
    return Home.from_environment().root / "locks" / f"{name}.lock"


@contextmanager
def held(name: str, wait_s: float, busy: PackshotError) -> Iterator[None]:
    """Hold the lock `name`. Raises `busy` where another holder keeps it for `wait_s` seconds, OutputNotWritable."""
    import filelock

    path = lock_path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path, mode=0o600)
        lock.acquire(timeout=wait_s)
    except filelock.Timeout as error:
        raise busy from error
    except OSError as error:
        raise OutputNotWritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


def locks_like(pattern: str) -> list[Path]:
    """The files of all locks ever held whose name fits a glob pattern, held now or not."""
    return sorted(lock_path(pattern).parent.glob(f"{pattern}.lock"))


def any_held(pattern: str) -> bool:
    """Whether any process holds a lock whose name fits a glob pattern; one that was killed does not."""
    return any(_is_held(path) for path in locks_like(pattern))


def _is_held(path: Path) -> bool:
    import filelock

    try:
        with filelock.FileLock(path, timeout=0):
            return False
    except filelock.Timeout:
        return True
