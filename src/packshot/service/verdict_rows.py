"""Rows of verdict files by number: found in one pass over a few columns, read one at a time."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from packshot.exports.source import VERDICTS, NothingToExport, VerdictFile, open_verdicts
from packshot.home import Home
from packshot.scoring.contract import Verdict
from packshot.scoring.verdicts import VerdictsUnreadable

FOUND = ("path", "image_id", "sku", "decision", "duplicate_of", "style", "quality_low", "quality_high")
TOLD = (*Verdict.model_fields, "findings", "measures")
GROUPS_KEPT = 8
"""Groups of rows that stay decoded: people look at pictures near to one another."""


@dataclass(frozen=True)
class Item:
    """One picture with a verdict: row `number` of `file`. `width` is that of its interval, None where it has none."""

    id: str
    file: VerdictFile
    number: int
    path: str
    image_id: str | None
    sku: str | None
    decision: str
    style: str | None
    width: float | None


def item_id(batch: str, path: str, image_id: str | None) -> str:
    """16 hex digits for a picture as it was in a batch: other content under the same path is another picture."""
    return hashlib.sha256(f"{batch}\0{path}\0{image_id}".encode()).hexdigest()[:16]


def scored_folders(champion: int | None) -> list[Path]:
    """Folders with the verdicts of every batch that counts: by the champion, else by the newest version."""
    found = []
    for batch in sorted(Home.from_environment().verdicts.glob("*/")):
        by = {_number(file): file.parent for file in batch.glob(f"v*/{VERDICTS}")}
        if by:
            found.append(by[champion] if champion in by else by[max(by)])
    return found


def _number(file: Path) -> int:
    text = file.parent.name[1:]
    return int(text) if text.isdigit() else -1


def stamp_of(folders: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """Changes when any of the verdict files does."""
    files = [folder / VERDICTS for folder in folders]
    return tuple((str(file), (it := file.stat()).st_mtime_ns, it.st_ino) for file in files if file.is_file())


def items_in(folders: Sequence[Path]) -> Iterator[Item]:
    """Every picture with a verdict that gives way to no copy of it. Raises VerdictsUnreadable, VerdictsMixed."""
    try:
        files = open_verdicts(folders)
    except NothingToExport:
        return
    for file in files:
        for number, row in enumerate(file.each(FOUND)):
            if row["duplicate_of"] is None:
                key = item_id(file.batch_id, row["path"], row["image_id"])
                width = _width(row["quality_low"], row["quality_high"])
                style = sys.intern(row["style"]) if row["style"] else None
                facts = row["path"], row["image_id"], row["sku"], row["decision"]
                yield Item(key, file, number, *facts, style, width)


def _width(low: float | None, high: float | None) -> float | None:
    return None if low is None or high is None or not np.isfinite(high - low) else high - low


def verdict_of(item: Item) -> Verdict:
    """The whole verdict. Raises VerdictsUnreadable, SchemaUnknown."""
    return Verdict.from_row(_row(item, _group))


def preview_of(item: Item) -> bytes | None:
    """The small JPEG in the picture's row, if there is one. Raises VerdictsUnreadable."""
    content: bytes | None = _row(item, _previews).get("preview")
    return content


def _row(item: Item, read: Callable[[Path, int, int], pa.Table]) -> dict[str, Any]:
    file = item.file.folder / VERDICTS
    try:
        stamp = file.stat()
        ends = _ends(file, stamp.st_mtime_ns)
        group = int(np.searchsorted(ends, item.number, side="right"))
        first = int(ends[group - 1]) if group else 0
        row: dict[str, Any] = read(file, stamp.st_mtime_ns, group).slice(item.number - first, 1).to_pylist()[0]
    except (pa.ArrowInvalid, OSError, IndexError) as error:
        raise VerdictsUnreadable(f"{file} was changed or removed while it was read; ask again ({error})") from error
    if row["path"] != item.path:
        raise VerdictsUnreadable(f"{file} was scored anew meanwhile; ask again")
    return row


@lru_cache(maxsize=64)
def _ends(file: Path, changed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Of each group of rows the number behind its last."""
    found = pq.read_metadata(file)
    return np.cumsum([found.row_group(each).num_rows for each in range(found.num_row_groups)])


@lru_cache(maxsize=GROUPS_KEPT)
def _group(file: Path, changed: int, group: int) -> pa.Table:
    return _columns(file, group, TOLD)


@lru_cache(maxsize=GROUPS_KEPT)
def _previews(file: Path, changed: int, group: int) -> pa.Table:
    return _columns(file, group, ("path", "preview"))


def _columns(file: Path, group: int, names: Sequence[str]) -> pa.Table:
    with pq.ParquetFile(file, pre_buffer=False) as opened:
        there = [name for name in names if name in opened.schema_arrow.names]
        return opened.read_row_group(group, columns=there)
