"""Whether a training is at work, known to other processes for as long as it lives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packshot.files import OutputNotWritable
from packshot.home import Home
from packshot.registry.tracking import RunBusy
from packshot.revision import RunKey

LOCK_WAIT_S = 5.0


@contextmanager
def training(key: RunKey) -> Iterator[None]:
    """Hold the training of this run key, from features to evaluation. Raises RunBusy where another process does."""
    import filelock

    path = _folder() / f"retrain-{key.short}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritable(path, error) from error
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=LOCK_WAIT_S)
    except filelock.Timeout as error:
        raise RunBusy(
            f"another process is training run key {key.short} (it holds {path}); wait for it, its result is yours too"
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_training() -> bool:
    """Whether any process holds a training; one that was killed does not."""
    return any(_is_held(path) for path in _folder().glob("retrain-*.lock"))


def _folder() -> Path:
    return Home.from_environment().root / "locks"


def _is_held(path: Path) -> bool:
    import filelock

    try:
        with filelock.FileLock(path, timeout=0):
            return False
    except filelock.Timeout:
        return True
