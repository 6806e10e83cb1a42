"""Writing files so that a reader sees the old content or the new, never half of it.

What lies in PACKSHOT_HOME is its owner's alone; what is written elsewhere is as readable as the user's umask says.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from packshot.errors import PackshotError
from packshot.home import permissions

if TYPE_CHECKING:
    import pandas as pd


LONGEST_NAME = 255
"""Bytes that a file's name may have, on all common file systems."""
LONGEST_SUFFIX = 16


class OutputNotWritable(PackshotError):
    """The disk is full or the folder is read-only."""

    exit_code = 74

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(
            f"cannot write {path}: {cause.strerror or cause}. "
            "Free some space or choose a folder you may write to, then run the same command again; "
            "what was finished before is kept."
        )


def fitting_name(path: str) -> str:
    """`path` with a last part that a file system takes: where it is longer than LONGEST_NAME bytes, its middle makes
    room for 16 hex digits of the whole, so that two long names stay two. A short suffix is kept."""
    folder, slash, name = path.rpartition("/")
    if len(name.encode()) <= LONGEST_NAME:
        return path
    suffix = PurePosixPath(name).suffix
    if len(suffix.encode()) > LONGEST_SUFFIX:
        suffix = ""
    code = f"~{hashlib.sha256(path.encode()).hexdigest()[:16]}{suffix}"
    stem = name.encode()[: LONGEST_NAME - len(code.encode())].decode(errors="ignore")
    return f"{folder}{slash}{stem}{code}"


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each with the permissions of its place. Raises OSError."""
    missing = [folder, *folder.parents]
    missing = missing[: next(n for n, each in enumerate(missing) if each.exists())]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        each.chmod(permissions(each, 0o777))


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it onto `target` when the block ends well.

    Raises OutputNotWritable on any OSError, after removing the temporary file.
    """
    temporary: Path | None = None
    try:
        make_folder(target.parent)
        suffix = target.suffix if len(os.fsencode(target.suffix)) <= LONGEST_SUFFIX else ""
        handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}.", suffix=suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(permissions(target, 0o666))
        temporary.replace(target)
    except OSError as error:
        raise OutputNotWritable(target, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its place, whole, when the block ends well.

    Raises OutputNotWritable where it cannot be made or put there: what stood there then still does.
    """
    try:
        make_folder(target.parent)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))
    except OSError as error:
        raise OutputNotWritable(target, error) from error
    try:
        yield building
        _take_place(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _take_place(building: Path, target: Path) -> None:
    before = building.with_name(f"{building.name}-before")
    try:
        _open_as_its_place(building, target)
        if target.exists():
            target.rename(before)
        try:
            building.rename(target)
        except OSError:
            if before.exists():
                before.rename(target)
            raise
    except OSError as error:
        raise OutputNotWritable(target, error) from error
    shutil.rmtree(before, ignore_errors=True)


def _open_as_its_place(building: Path, target: Path) -> None:
    """A file that has another name elsewhere keeps its mode: it is shared with where it came from."""
    for folder, _, names in os.walk(building):
        Path(folder).chmod(permissions(target, 0o777))
        for path in (Path(folder) / name for name in names):
            if not path.is_symlink() and path.stat().st_nlink == 1:
                path.chmod(permissions(target, 0o666))


def remove_unfinished(target: Path) -> None:
    """Remove what killed writers of `target` left beside it; call where nobody else writes it now."""
    for path in target.parent.glob(f".{glob.escape(target.stem[:40])}.*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes) -> None:
    """Write `content` to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Write `content` to `target` as UTF-8, atomically."""
    write_bytes(target, content.encode())


def write_json(target: Path, value: Any) -> None:
    """Write `value` as sorted, indented JSON, atomically; NaN is refused (ValueError)."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_parquet(target: Path, frame: pd.DataFrame) -> None:
    """Write `frame` as Parquet (zstd), atomically; the same frame gives the same bytes."""
    with atomic_path(target) as temporary:
        frame.to_parquet(temporary, index=False, compression="zstd")
