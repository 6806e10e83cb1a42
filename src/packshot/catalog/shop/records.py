"""The records of a table file: text with any usual delimiter and encoding, or Parquet, a row at a time.

Spreadsheets of other countries write `;` and cp1252, databases write tabs and UTF-16; read by one fixed rule such a
file comes out with `M\\ufffdller` or with everything in one column. Delimiter and encoding are found in the file, or
taken from `params.yaml`; a line that does not fit its header is left out and named, never shifted.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TextIO

import pyarrow.parquet as pq

from packshot.catalog.source_record import SourceError
from packshot.config import CatalogSettings
from packshot.progress import say

LONGEST_RECORD = 1000
"""Lines. A quoted text that goes on for longer has a quote too many or too few."""
LONGEST_LINE = 1_000_000
"""Characters that are read at once."""
DELIMITERS = (",", ";", "\t", "|")
DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
LOOKED_AT = 64
"""Records from which the delimiter is told."""
SAMPLE = 1 << 16
"""Characters in which these are looked for."""
CHUNK = 1 << 20
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_TEXT = (
    (b"PK\x03\x04", "a spreadsheet (xlsx, ods) or a zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet (xls)"),
    (b"\x1f\x8b", "packed by gzip"),
    (b"SQLite format 3\0", "an SQLite database"),
)
_NOT_DECODED = re.compile("[\udc80-\udcff]")
_ABOVE_ASCII = re.compile("[^\x00-\x7f\udc80-\udcff]")
_RUNS = re.compile(rb"[\x80-\xff]+")
_EXCEL_TEXT = re.compile(r'="(.*)"')
_HIGH = re.compile(rb"[\x80-\xff]")
_NO_LETTERS = re.compile(rb"(?<=[A-Za-z])[\x80-\x84\x86-\x8b\x8d-\x90\x95\x98\x99\x9b\x9d\x9f](?=[a-z])")
"""In cp1252 signs, or capitals, within a word; ü, ä, é and others in Mac Roman and the code pages of DOS."""
LONG_RUN = 3
"""Bytes above 127 in a row. Western texts have such letters one by one or by twos; others write words in them."""

Row = tuple[int, Sequence[str | None]]
"""Its line in the file (its number, in Parquet) and its values beside the header's names; None where one is empty."""


class CatalogUnreadable(SourceError):
    """A catalogue file cannot be used: it is missing, no table, or does not fit the images."""

    exit_code = 65


@dataclass
class Faults:
    """What was wrong with single lines: how many, and the first of each kind."""

    broken: int = 0
    first_broken: int = 0
    why: str = ""
    short: int = 0
    first_short: int = 0

    def leave_out(self, line: int, why: str) -> None:
        """Count a line that is left out."""
        if not self.broken:
            self.first_broken, self.why = line, why
        self.broken += 1

    def fill_up(self, line: int) -> None:
        """Count a line that ends before the header does."""
        if not self.short:
            self.first_short = line
        self.short += 1

    def sentences(self) -> Iterator[str]:
        """What to tell about them."""
        if self.broken:
            yield f"{self.broken} line(s) were skipped; the first is line {self.first_broken}: {self.why}"
        if self.short:
            yield (
                f"{self.short} line(s) have fewer fields than the header, and what is missing at their end is taken as "
                f"empty; the first is line {self.first_short}"
            )


@dataclass
class Table:
    """A table file: the names of its columns, its rows (once), and, when these were read, what was wrong with lines."""

    path: Path
    header: Sequence[str]
    rows: Iterator[Row]
    said: str | None = None
    """How it is read, where that is not the plain way."""
    faults: Faults = field(default_factory=Faults)

    def say_faults(self) -> None:
        """Tell which lines were left out or filled up."""
        for sentence in self.faults.sentences():
            say(f"{self.path.name}: {sentence}")


def open_table(path: Path, rules: CatalogSettings) -> Table:
    """The table in a text or Parquet file. Raises CatalogUnreadable, also while its rows are read."""
    try:
        with path.open("rb") as handle:
            start = handle.read(16)
        if start.startswith(b"PAR1"):
            return _parquet(path, rules)
        return _text(path, start, rules)
    except OSError as error:
        raise CatalogUnreadable(f"cannot read the catalogue {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CatalogUnreadable(f"cannot read the catalogue {path}: {error}") from error


# --- Parquet --------------------------------------------------------------------------------------


def _parquet(path: Path, rules: CatalogSettings) -> Table:
    with pq.ParquetFile(path) as file:
        header = [str(name) for name in file.schema_arrow.names]
    return Table(path, header, _guarded(path, _parquet_rows(path, frozenset(rules.missing))))


def _parquet_rows(path: Path, missing: frozenset[str]) -> Iterator[Row]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                yield number, [_cleaned(_typed(value), missing) for value in values]


def _guarded(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    line = 0
    try:
        for line, values in rows:
            yield line, values
    except (OSError, ValueError) as error:
        raise CatalogUnreadable(f"cannot read the catalogue {path} after line {line}: {error}") from error


def _typed(value: object) -> str:
    """A typed value as the text that a person would write: 123.0 is 123, since missing values make integers floats."""
    if value is None or value != value:
        return ""
    if isinstance(value, float | Decimal) and value == int(value):
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list):
        return "|".join(map(_typed, value))
    return str(value)


# --- text -----------------------------------------------------------------------------------------


def _text(path: Path, start: bytes, rules: CatalogSettings) -> Table:
    for magic, what in _NOT_TEXT:
        if start.startswith(magic):
            raise CatalogUnreadable(f"{path} is {what}, no table of text; save it as CSV in UTF-8 and name that")
    encoding, example = _encoding(path, start, rules.encoding)
    with _opened(path, encoding) as handle:
        sample = handle.read(SAMPLE)
    told = re.match(r"sep=(.)\r?\n?", sample)
    delimiter = _delimiter(rules.delimiter, told, sample[told.end() :] if told else sample)
    faults = Faults()
    records = _records(path, encoding, delimiter, faults, skip_first=told is not None)
    header = next(records, (0, []))[1]
    names = [name.strip() for name in header]
    rows = _text_rows(records, len(names), frozenset(rules.missing), faults)
    return Table(path, names, _guarded(path, rows), _how(encoding, example, delimiter), faults)


def _how(encoding: str, example: str, delimiter: str) -> str | None:
    ways = []
    if encoding not in ("utf-8", "utf-8-sig"):
        shown = f" (for example {example!r})" if example else ""
        ways.append(f"as {encoding}{shown}")
    if delimiter != ",":
        ways.append(f"with {DELIMITER_NAMES.get(delimiter, repr(delimiter))} between its fields")
    if not ways:
        return None
    return f"read {' and '.join(ways)}; catalog.encoding and catalog.delimiter in params.yaml set others"


def _opened(path: Path, encoding: str) -> TextIO:
    # What cannot be decoded costs its own line: it is marked here and found in `_records`.
    errors = "surrogateescape" if not encoding.startswith(("utf-16", "utf-32")) else "strict"
    return path.open(encoding=encoding, errors=errors, newline="")


def _text_rows(
    records: Iterator[tuple[int, list[str]]], width: int, missing: frozenset[str], faults: Faults
) -> Iterator[Row]:
    for line, fields in records:
        values = [_cleaned(value, missing) for value in fields]
        if any(values):
            if len(values) < width:
                faults.fill_up(line)
            yield line, [*values[:width], *[None] * (width - len(values))]


def _cleaned(text: str, missing: frozenset[str]) -> str | None:
    """A field as it was meant: without surrounding space, and without the `="..."` by which spreadsheets are told that
    it is a text; None where it is empty, or one of the words that mean so."""
    text = text.strip()
    if text and text[0] == "=" and (found := _EXCEL_TEXT.fullmatch(text)):
        text = found[1].strip()
    return None if not text or text in missing else text


def _records(
    path: Path, encoding: str, delimiter: str, faults: Faults, *, skip_first: bool
) -> Iterator[tuple[int, list[str]]]:
    """The line and the fields of the header, then of each record that is no wider."""
    with _opened(path, encoding) as handle:
        lines = _Lines(handle)
        if skip_first:
            next(lines)
        # A reader forgets a record that it failed on, so that one of them reads all.
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        header = _header(path, lines, reader, encoding)
        yield lines.number, header
        while not lines.at_end():
            try:
                fields = _cut(lines, reader, delimiter, len(header))
            except (_NeverClosed, csv.Error):
                faults.leave_out(lines.give_up(), "a quote in it is never closed; close it, or double it within a text")
                continue
            if any(map(_NOT_DECODED.search, fields)):
                faults.leave_out(lines.number, f"it holds bytes that are no {encoding}; save the file as UTF-8")
            elif any(field.strip() for field in fields[len(header) :]):
                why = (
                    f"it has {len(fields)} fields, the header {len(header)}; put quotes round a text with {delimiter!r}"
                )
                faults.leave_out(lines.give_up(), why)
            elif fields:
                yield lines.number, fields


def _header(path: Path, lines: _Lines, reader: Iterator[list[str]], encoding: str) -> list[str]:
    """The first record that is not blank; nothing in an empty file."""
    while not lines.at_end():
        try:
            fields = next(reader)
        except (_NeverClosed, csv.Error):
            raise CatalogUnreadable(f"{path}: a quote in the header, line {lines.number}, is never closed") from None
        if any(map(_NOT_DECODED.search, fields)):
            raise CatalogUnreadable(f"{path}: the header, line {lines.number}, holds bytes that are no {encoding}")
        if any(field.strip() for field in fields):
            return fields
    return []


def _cut(lines: _Lines, reader: Iterator[list[str]], delimiter: str, width: int) -> list[str]:
    """The fields of the next record.

    A text that goes on behind its closing quote, as in `"24" wide"`, is let pass where it is one line that has as many
    fields as the header; else the quote may have swallowed other records.
    """
    try:
        return next(reader)
    except csv.Error:
        if (line := lines.only_line()) is not None:
            fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
            if len(fields) == width:
                return fields
        raise


class _NeverClosed(Exception):
    """A quoted text that does not end."""


class _Lines:
    """The lines of a file for one record after another; of a broken record its first line alone is lost."""

    def __init__(self, handle: TextIO) -> None:
        self._handle = handle
        self._record: list[str] = []
        self._again: deque[str] = deque()
        self.number = 1
        """Of the first line of the record, from 1."""

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
        self.number += len(self._record)
        self._record.clear()
        line = self._next()
        if line:
            self._again.appendleft(line)
        return not line

    def only_line(self) -> str | None:
        """The text of the record, where that is one line so far."""
        return self._record[0] if len(self._record) == 1 else None

    def give_up(self) -> int:
        """Have all lines of this record but its first read again; returns the number of that one."""
        self._again.extendleft(reversed(self._record[1:]))
        del self._record[1:]
        return self.number

    def _next(self) -> str:
        return self._again.popleft() if self._again else self._handle.readline(LONGEST_LINE)


# --- which delimiter ------------------------------------------------------------------------------


def _delimiter(asked: str, told: re.Match[str] | None, sample: str) -> str:
    if asked != "auto":
        return "\t" if asked == "tab" else asked
    if told is not None:
        return told[1]
    return max(DELIMITERS, key=lambda delimiter: _fit(sample, delimiter))


def _fit(sample: str, delimiter: str) -> tuple[int, float]:
    """How well a delimiter cuts a sample: the columns of its header, and the share of records with as many."""
    cut = len(sample) == SAMPLE
    widths = []
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for fields in reader:
            if fields:
                widths.append(len(fields))
            if len(widths) > LOOKED_AT:
                break
    except csv.Error:
        pass  # of a broken record nothing can be told
    if cut and len(widths) <= LOOKED_AT:
        widths = widths[:-1]
    if not widths:
        return 0, 0.0
    rows = widths[1:]
    agreeing = sum(width == widths[0] for width in rows) / len(rows) if rows else 1.0
    return widths[0], agreeing


# --- which encoding -------------------------------------------------------------------------------


def _encoding(path: Path, start: bytes, asked: str) -> tuple[str, str]:
    """The encoding of a text file, and a word that shows it. Raises CatalogUnreadable where it cannot be told."""
    if asked != "auto":
        return ("utf-8-sig" if codecs.lookup(asked).name == "utf-8" else asked), ""
    for mark, name in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return name, ""
    if len(start) > 1 and 0 in start[:2]:
        return ("utf-16-le" if start[1] == 0 else "utf-16-be"), ""
    return _without_mark(path)


def _without_mark(path: Path) -> tuple[str, str]:
    found = _Bytes()
    with path.open("rb") as handle:
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        while chunk := handle.read(CHUNK):
            found.take(chunk, decoder.decode(chunk))
        found.take(b"", decoder.decode(b"", final=True))
    # Some bytes that are no UTF-8 in a file that otherwise is: single lines are damaged.
    if found.strange <= found.letters:
        return "utf-8", ""
    if found.in_long_runs * 2 > found.high or _of_another_system(found.example):
        guess = _guessed(found.example)
        perhaps = f"; it may be {guess}" if guess else ""
        raise CatalogUnreadable(
            f"{path} is not UTF-8 text, nor of the western code page cp1252{perhaps}. Save it as UTF-8, or name its "
            "encoding under catalog.encoding in params.yaml or with --encoding"
        )
    try:
        shown = found.example.decode("cp1252")
    except UnicodeDecodeError:
        shown = ""
    words = [word for word in re.findall(r"[^\W\d_]+", shown) if not word.isascii()]
    return "cp1252", words[0] if words else ""


def _of_another_system(example: bytes) -> bool:
    """Whether letters of old Macs or of DOS stand in words, where cp1252 has signs or capitals."""
    return 4 * len(_NO_LETTERS.findall(example)) > len(_HIGH.findall(example))


def _guessed(example: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(example).best()
    return best.encoding if best is not None else None


@dataclass
class _Bytes:
    """What a file without a mark shows of its encoding."""

    strange: int = 0
    """Bytes that are no UTF-8."""
    letters: int = 0
    """Letters beyond ASCII that are."""
    high: int = 0
    """Bytes above 127 in the chunks that hold strange ones."""
    in_long_runs: int = 0
    example: bytes = b""

    def take(self, chunk: bytes, decoded: str) -> None:
        """Count in one chunk, given as bytes and as decoded text with the odd bytes marked."""
        if decoded.isascii():
            return
        strange = len(_NOT_DECODED.findall(decoded))
        self.strange += strange
        self.letters += len(_ABOVE_ASCII.findall(decoded))
        if not strange:
            return
        runs = [found.group() for found in _RUNS.finditer(chunk)]
        self.high += sum(map(len, runs))
        self.in_long_runs += sum(len(run) for run in runs if len(run) >= LONG_RUN)
        if not self.example and (first := _RUNS.search(chunk)):
            self.example = chunk[max(0, first.start() - 40) : first.start() + 4000]
