"""CSV files that people open: the one place that writes them, so that no cell of any is a formula.

Titles, paths and names come from strangers; a spreadsheet runs a cell that begins with = or @ (CWE-1236). Such a cell
gets an apostrophe in front, which spreadsheets take for "this is text"; `unguarded` takes it off where Packshot reads
its own file back.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packshot.files import atomic_path

DANGEROUS = (
    *("=", "+", "-", "@", "\t", "\r", "\n"),
    *("\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}"),
    *("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}"),
)
"""What a cell must not begin with; the wide forms are taken for the narrow ones in some languages."""


def write_csv(target: Path, columns: Sequence[str], rows: Iterable[Mapping[Any, Any]]) -> int:
    """Write a header and the rows one by one, atomically, as UTF-8. Returns how many rows there were.

    Floats have 5 digits; None is an empty cell; numbers stay numbers, texts are guarded. Raises OutputNotWritable.
    """
    count = 0
    with atomic_path(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow([guarded(name) for name in columns])
        for row in rows:
            writer.writerow([_cell(row.get(name)) for name in columns])
            count += 1
    return count


def guarded(text: str) -> str:
    """`text` so that no spreadsheet takes it for a formula."""
    return f"'{text}" if _dangerous(text) else text


def unguarded(text: str) -> str:
    """The text that `guarded` gave this one."""
    return text[1:] if text.startswith("'") and _dangerous(text[1:]) else text


def _dangerous(text: str) -> bool:
    # what a guard stands before already is guarded again, so that taking one off gives what was there
    return text.lstrip(" '").startswith(DANGEROUS)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return guarded(value)
    if isinstance(value, float):
        return "" if value != value else f"{value:.5f}"
    return value
