"""A user's own catalogue: a CSV or Parquet file that names images beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from packshot.catalog.image import BadImage, resolve_inside
from packshot.catalog.leftovers import is_left_folder
from packshot.catalog.scores import as_score
from packshot.catalog.shop.catalogue import CatalogRow, Facts, open_catalog
from packshot.catalog.shop.matching import KnownFiles, match
from packshot.catalog.sources.table import (
    COLUMNS,
    LABELS,
    SetFacts,
    SourceTable,
    default_sku,
    locate,
    stack,
)
from packshot.config import CatalogSettings
from packshot.progress import say

NAME = "own"
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp"})
"""Endings of files beside a catalogue that are said to have no row."""


def read_own(catalog: Path, settings: CatalogSettings, leave_out: Path) -> SourceTable:
    """The rows of the catalogue, as the set `own`; image paths are relative to the file's folder.

    Pictures below `leave_out`, the workspace, are not asked for a row. Raises CatalogUnreadable for a file that is
    missing, empty, no table, or whose columns cannot be told, and where no row names a file. Scores out of range,
    missing files and paths that lead out of the folder stay rows: validation quarantines them.
    """
    shop = open_catalog(catalog, settings, LABELS)
    root = catalog.resolve().parent
    files = _FilesBeside(root, leave_out)
    rows = [_row(root, row, found) for row, found in match(shop, files)]
    images = stack([pd.DataFrame(rows, columns=list(COLUMNS))])
    _say_what_is_lacking(images)
    styles = tuple(sorted(images["style"].dropna().unique()))
    facts = SetFacts(address=root.as_posix(), licence="the user's own", styles=styles)
    return SourceTable(images, {NAME: facts})


class _FilesBeside(KnownFiles):
    """The files below the catalogue's folder; what lies behind a link to a folder is found too, but not listed."""

    def __init__(self, root: Path, leave_out: Path) -> None:
        super().__init__(_walk(root, leave_out.resolve()), str(root))
        self._folder = root

    def find(self, name: str) -> str | None:
        """The file of that name: a listed one, else one that a link leads to and that lies below the folder too."""
        found = super().find(name)
        if found is not None or PurePosixPath(name).as_posix() != name:
            return found
        try:
            return name if resolve_inside(self._folder, name).is_file() else None
        except (BadImage, OSError, ValueError):
            return None

    def take(self, path: str, facts: Facts) -> bool:
        # What is said is read from the rows, all of which stay: that there was one is all that is noted.
        return super().take(path, {})

    def without_row(self) -> Iterable[str]:
        """Of the listed ones, those that look like pictures."""
        return (path for path in super().without_row() if Path(path).suffix.lower() in PICTURES)


def _walk(root: Path, leave_out: Path) -> Iterator[str]:
    for folder, below, names in os.walk(root):
        here = Path(folder)
        below[:] = [
            name for name in below if not name.startswith(".") and not is_left_folder(name) and here / name != leave_out
        ]
        for name in names:
            if not name.startswith("."):
                yield (here / name).relative_to(root).as_posix()


def _row(root: Path, record: CatalogRow, found: str | None) -> dict[str, Any]:
    file = record.path if found is None else found
    path, origin = locate(root, NAME, file)
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row.update(record.facts)
    row.update(source=NAME, path=path, origin=None if origin is None else str(origin))
    row["sku"] = row["sku"] or default_sku(file)
    row["quality_mos"] = as_score(row["quality_mos"] or "")
    return row


def _say_what_is_lacking(images: pd.DataFrame) -> None:
    for column, part in (("quality_mos", "the quality score"), ("style", "the style classifier")):
        if images[column].isna().all():
            say(f"collect: this catalogue has no {column}: it can be judged, but {part} cannot be trained on it alone")
