"""A shop's catalogue: for each row the path of an image and what the shop says of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from packshot.catalog.shop.columns import Columns, find_columns, place_of
from packshot.catalog.shop.records import CatalogUnreadable, Table, open_table
from packshot.config import CatalogSettings
from packshot.progress import say

FACTS = ("sku", "title", "description", "tags", "sender", "category")
"""What scoring takes from a catalogue beside the path."""
Facts = dict[str, str | None]
MAPPABLE = ("path", "subset", *FACTS, "quality_mos", "style")
_NO_VALUE = frozenset({"na", "n/a", "#n/a", "nan", "none", "null", "nil"})
_NUMBER_SPOILT = re.compile(r"\d+\.0|\d[.,]\d+E\+\d+")


class CatalogRow(NamedTuple):
    """One row: its line in the file, the path as it is written there, and its values by our names."""

    line: int
    path: str
    facts: Facts


class ShopCatalog:
    """A catalogue file whose columns are known. Its rows are read once, however many there are."""

    def __init__(self, table: Table, columns: Columns, others: Sequence[str]) -> None:
        self.path = table.path
        self._table = table
        self._path_at = columns.places["path"]
        self._places = {name: place for name, place in columns.places.items() if name != "path"}
        for name in others:
            self._places[name] = _required(table, name)

    def has(self, name: str) -> bool:
        """Whether it has one of our columns."""
        return name in self._places

    def rows(self) -> Iterator[CatalogRow]:
        """Each row that names an image; what was wrong with lines is said at the end. Raises CatalogUnreadable."""
        nameless, odd = _Count(), _OddSkus(self._places.get("sku"))
        for line, values in self._table.rows:
            path = values[self._path_at]
            if path is None:
                nameless.add(line)
                continue
            odd.look_at(line, values)
            yield CatalogRow(line, path, {name: values[place] for name, place in self._places.items()})
        self._table.say_faults()
        if nameless.count:
            self.say(f"{nameless.count} row(s) name no image and were passed over; the first is line {nameless.first}")
        odd.say(self)

    def say(self, message: str) -> None:
        """One line that names the file."""
        say(f"{self.path.name}: {message}")


def open_catalog(
    path: Path, settings: CatalogSettings, wanted: Sequence[str] = FACTS, others: Sequence[str] = ()
) -> ShopCatalog:
    """A catalogue with those of our columns `wanted` that it has, and the columns `others`, named as in the file.

    Says how file and columns were read where that is not the plain way. Raises CatalogUnreadable for a file that is
    missing or no table, without a path column, with a misspelt label, or without one of `others`.
    """
    unknown = sorted(set(settings.columns) - set(MAPPABLE))
    if unknown:
        raise CatalogUnreadable(f"catalog.columns in params.yaml maps unknown column(s) {', '.join(unknown)}")
    if not path.is_file():
        raise CatalogUnreadable(f"there is no catalogue file {path}")
    table = open_table(path, settings)
    if not table.header:
        raise CatalogUnreadable(f"{path} is empty; it needs a header line and a line for each image")
    columns = find_columns(table.header, settings.columns, ("path", *(name for name in wanted if name not in others)))
    found = ", ".join(filter(None, table.header)) or "no columns"
    if columns.problems:
        raise CatalogUnreadable(
            f"{path} has not the columns that are expected:\n  "
            + "\n  ".join(columns.problems)
            + f"\n  found: {found}\n"
            "Rename the column in the file, or map it under catalog.columns in params.yaml (ours: yours)."
        )
    catalog = ShopCatalog(table, columns, others)
    if table.said:
        catalog.say(table.said)
    if columns.notes:
        catalog.say(f"{'; '.join(columns.notes)} (catalog.columns in params.yaml maps others)")
    unused = [name for name in columns.unused if name not in others]
    if unused and not others:
        catalog.say(f"columns that are not used: {', '.join(unused)}")
    return catalog


def _required(table: Table, name: str) -> int:
    place = place_of(table.header, name)
    if place is None:
        has = ", ".join(filter(None, table.header))
        raise CatalogUnreadable(f"{table.path} has no column {name!r}; it has {has}. To mend it, name one that it has")
    return place


@dataclass
class _Count:
    count: int = 0
    first: int = 0
    example: str = ""

    def add(self, line: int, example: str = "") -> None:
        if not self.count:
            self.first, self.example = line, example
        self.count += 1


class _OddSkus:
    """SKUs that are texts like any other, but look like what a program writes for none, or like a spoilt number."""

    def __init__(self, place: int | None) -> None:
        self._place = place
        self._words, self._numbers = _Count(), _Count()

    def look_at(self, line: int, values: Sequence[str | None]) -> None:
        sku = values[self._place] if self._place is not None else None
        if sku is None:
            return
        if sku.casefold() in _NO_VALUE:
            self._words.add(line, sku)
        elif _NUMBER_SPOILT.fullmatch(sku):
            self._numbers.add(line, sku)

    def say(self, catalog: ShopCatalog) -> None:
        if self._words.count:
            catalog.say(
                f"{self._words.count} row(s) have a sku like {self._words.example!r} (line {self._words.first}), which "
                "is taken as written; where it means none, leave the field empty or name the word in catalog.missing"
            )
        if self._numbers.count:
            catalog.say(
                f"{self._numbers.count} row(s) have a sku like {self._numbers.example!r} (line {self._numbers.first}), "
                "which looks like a number that a program has rewritten; write SKUs as texts"
            )
