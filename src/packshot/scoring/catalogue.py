"""What the shop's catalogue says of the images, read row by row however long the file is."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import pyarrow.parquet as pq

from packshot.config import CatalogSettings
from packshot.errors import PackshotError
from packshot.progress import say

CATALOG_NAME = "catalog.csv"
CATALOG_FIELDS = ("sku", "title", "description", "tags", "sender", "category")
LONGEST_RECORD = 1000
"""Lines. A quoted text that goes on for longer has a quote too many or too few."""
LONGEST_LINE = 1_000_000
"""Characters that are read at once."""
NOTHING = frozenset(
    [
        *("", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "None", "n/a", "null"),
        *("-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN", "-NaN", "-nan", "NaN", "nan"),
    ]
)
"""What stands in a CSV file where there is no value, to pandas too, which reads the catalogues that are trained on."""

Facts = dict[str, str | None]


class CatalogUnreadable(PackshotError):
    """The catalogue beside the images cannot be used."""


def catalog_facts(path: Path, columns: CatalogSettings) -> Iterator[tuple[str, Facts]]:
    """Each row of a CSV (UTF-8) or Parquet file: the path of an image, and what CATALOG_FIELDS say of it.

    Names are mapped as in `params.yaml`. A broken line is skipped, and they are counted aloud at the end.
    Raises CatalogUnreadable where there is no such file or no path column.
    """
    rows = _rows(path)
    header = _header(next(rows, ()))
    yield from _by_path(path, rows, header, columns, _fields(header, columns, CATALOG_FIELDS))


def read_catalog(path: Path, columns: CatalogSettings) -> dict[str, Facts]:
    """`catalog_facts` as a whole; of two rows for one path the first counts."""
    return _first_of_each(catalog_facts(path, columns))


def read_catalog_columns(
    path: Path, columns: CatalogSettings, wanted: Sequence[str], fields: Sequence[str] = ()
) -> dict[str, Facts]:
    """Path to its values in the columns `wanted` of a catalogue file, named as the file names them, and in those of
    CATALOG_FIELDS that are named in `fields` and that it has, mapped as in `params.yaml`.

    Raises CatalogUnreadable where there is no such file, no path column, or a column wanted is missing.
    """
    rows = _rows(path)
    header = _header(next(rows, ()))
    for name in wanted:
        _require(path, header, name, "name one that it has")
    named = _fields(header, columns, fields) | {name: name for name in wanted}
    return _first_of_each(_by_path(path, rows, header, columns, named))


def _fields(header: Mapping[str, int], columns: CatalogSettings, fields: Sequence[str]) -> dict[str, str]:
    """Those of `fields` that the file has, each with the name that it has there."""
    named = {name: columns.columns.get(name, name) for name in fields}
    return {name: own for name, own in named.items() if own in header}


def _first_of_each(rows: Iterator[tuple[str, Facts]]) -> dict[str, Facts]:
    found: dict[str, Facts] = {}
    for path, facts in rows:
        found.setdefault(path, facts)
    return found


def _by_path(
    path: Path,
    rows: Iterator[Sequence[object]],
    header: Mapping[str, int],
    columns: CatalogSettings,
    wanted: Mapping[str, str],
) -> Iterator[tuple[str, Facts]]:
    named = columns.columns.get("path", "path")
    _require(path, header, named, "rename it, or map it under catalog.columns in params.yaml")
    place, places = header[named], {name: header[own] for name, own in wanted.items()}
    for row in rows:
        key = _text(row, place)
        if key is not None:
            yield _posix(key), {name: _text(row, column) for name, column in places.items()}


def _header(names: Sequence[object]) -> dict[str, int]:
    header: dict[str, int] = {}
    for place, name in enumerate(names):
        header.setdefault(str(name), place)
    return header


def _require(path: Path, header: Mapping[str, int], column: str, what_to_do: str) -> None:
    if column not in header:
        has = ", ".join(header) or "none"
        raise CatalogUnreadable(f"{path} has no column {column!r}; it has {has}. To mend it, {what_to_do}")


def _text(row: Sequence[object], place: int) -> str | None:
    """A value as text; None for what is missing, and at the end of a row that is too short."""
    value = row[place] if place < len(row) else None
    if value is None or value != value:
        return None
    return str(value).strip() or None


def _posix(path: str) -> str:
    cleaned = path.replace("\\", "/")
    while cleaned.startswith("./"):
        cleaned = cleaned[2:]
    return cleaned


def _rows(path: Path) -> Iterator[Sequence[object]]:
    """The names of the columns, then each row."""
    try:
        yield from _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)
    except (OSError, ValueError) as error:
        raise CatalogUnreadable(f"cannot read the catalogue {path}: {error}") from error


def _parquet_rows(path: Path) -> Iterator[Sequence[object]]:
    with pq.ParquetFile(path) as file:
        yield file.schema_arrow.names
        for batch in file.iter_batches():
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _csv_rows(path: Path) -> Iterator[Sequence[object]]:
    broken: list[int] = []
    width: int | None = None
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        lines = _Lines(handle)
        while not lines.at_end():
            try:
                fields = next(csv.reader(lines))
            except (_NeverClosed, csv.Error):
                broken.append(lines.give_up())
                continue
            if width is not None and len(fields) > width:
                broken.append(lines.give_up())
            elif fields:
                width = width if width is not None else len(fields)
                yield [None if field in NOTHING else field for field in fields]
    if broken:
        said = "with too many fields, or with a quote that is never closed"
        say(f"{path.name}: {len(broken)} line(s) {said}, were skipped; the first is line {broken[0]}")


class _NeverClosed(Exception):
    """A quoted text that does not end."""


class _Lines:
    """The lines of a file for one record after another; of a broken record its first line alone is lost."""

    def __init__(self, handle: TextIO) -> None:
        self._handle = handle
        self._record: list[str] = []
        self._again: deque[str] = deque()
        self._record_at = 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._next() if len(self._record) < LONGEST_RECORD else ""
        if not line:
            raise _NeverClosed  # a reader asks for a further line only within a quoted text
        self._record.append(line)
        return line

    def at_end(self) -> bool:
        """Begin the next record; True where there is none."""
        self._record_at += len(self._record)
        self._record.clear()
        line = self._next()
        if line:
            self._again.appendleft(line)
        return not line

    def give_up(self) -> int:
        """Have all lines of this record but its first read again; returns the number of that one, from 1."""
        self._again.extendleft(reversed(self._record[1:]))
        del self._record[1:]
        return self._record_at

    def _next(self) -> str:
        return self._again.popleft() if self._again else self._handle.readline(LONGEST_LINE)
