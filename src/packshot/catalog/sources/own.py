"""A user's own catalogue: a CSV or Parquet file that names images beside it."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pandas as pd

from packshot.catalog.sources.declared import SourceError
from packshot.catalog.sources.table import (
    COLUMNS,
    LABELS,
    SetFacts,
    SourceTable,
    as_score,
    default_sku,
    locate,
    read_label_csv,
    stack,
)
from packshot.config import CatalogSettings
from packshot.progress import say

NAME = "own"
CLOSE = 0.75
"""Similarity (difflib's ratio) from which a column is taken for a misspelling."""


class CatalogError(SourceError):
    """The user's catalogue file is missing, unreadable, empty, or has wrong columns."""

    exit_code = 65


def read_own(catalog: Path, settings: CatalogSettings) -> SourceTable:
    """The rows of the catalogue, as the set `own`; image paths are relative to the file's folder.

    Raises CatalogError for a file that is missing, empty, no UTF-8 CSV or Parquet, or whose columns cannot be told.
    Scores out of range, missing files and paths that lead out of the folder stay rows: validation quarantines them.
    """
    table = _read(catalog)
    theirs = _match(catalog, settings, [str(name) for name in table.columns])
    if table.empty:
        raise CatalogError(f"empty catalogue: {catalog} has a header and no rows; add a row for each image")
    root = catalog.resolve().parent
    rows = [_row(root, {ours: record[name] for ours, name in theirs.items()}) for record in table.to_dict("records")]
    images = stack([pd.DataFrame(rows, columns=list(COLUMNS))])
    _say_what_is_lacking(images)
    styles = tuple(sorted(images["style"].dropna().unique()))
    facts = SetFacts(address=root.as_posix(), licence="the user's own", styles=styles)
    return SourceTable(images, {NAME: facts})


def _read(catalog: Path) -> pd.DataFrame:
    if not catalog.is_file():
        raise CatalogError(f"there is no catalogue file {catalog}")
    if catalog.suffix.lower() in {".parquet", ".pq"}:
        return _read_parquet(catalog)
    try:
        return read_label_csv(catalog)
    except SourceError as error:
        raise CatalogError(str(error)) from error


def _read_parquet(catalog: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(catalog)
    except (OSError, ValueError) as error:
        raise CatalogError(f"{catalog} cannot be read as Parquet: {error}") from error
    texts = {name: ["" if pd.isna(value) else str(value) for value in column] for name, column in frame.items()}
    return pd.DataFrame(texts, dtype=object)


def _match(catalog: Path, settings: CatalogSettings, found: list[str]) -> dict[str, str]:
    """Manifest column to the file's, for those that the file has. Raises CatalogError for a misnamed one."""
    unknown = sorted(set(settings.columns) - {"path", *LABELS})
    if unknown:
        raise CatalogError(f"catalog.columns in params.yaml maps unknown column(s) {', '.join(unknown)}")
    wanted = {"path": "path", **settings.columns}
    spare = [name for name in found if name not in wanted.values()]
    problems = [
        problem for ours, name in wanted.items() if name not in found and (problem := _problem(ours, name, spare))
    ]
    if problems:
        raise CatalogError(
            f"{catalog} has not the columns that are expected:\n  "
            + "\n  ".join(problems)
            + f"\n  found: {', '.join(found) or 'no columns'}\n"
            "Rename the column in the file, or map it under catalog.columns in params.yaml (ours: yours)."
        )
    ignored = [name for name in spare if name]
    if ignored:
        say(f"collect: columns of {catalog.name} that are not used: {', '.join(ignored)}")
    return {ours: name for ours, name in wanted.items() if name in found}


def _problem(ours: str, name: str, spare: list[str]) -> str | None:
    """What is wrong with a column that the file lacks; None where it may be left out."""
    folded = {candidate.strip().casefold(): candidate for candidate in spare}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=CLOSE)
    hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
    if ours == "path":
        return f"column {name!r} (the image file, relative to the catalogue) is missing{hint}"
    if name != ours:
        return f"column {name!r}, mapped to {ours!r} in params.yaml, is missing{hint}"
    return f"column {name!r} is missing{hint}" if close else None


def _row(root: Path, record: dict[str, str]) -> dict[str, Any]:
    file = record["path"].strip()
    path, origin = locate(root, NAME, file)
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row.update({column: record[column].strip() or None for column in LABELS if column in record})
    row.update(source=NAME, path=path, origin=None if origin is None else str(origin))
    row["sku"] = row["sku"] or default_sku(file)
    row["quality_mos"] = as_score(row["quality_mos"] or "")
    return row


def _say_what_is_lacking(images: pd.DataFrame) -> None:
    for column, part in (("quality_mos", "the quality score"), ("style", "the style classifier")):
        if images[column].isna().all():
            say(f"collect: this catalogue has no {column}: it can be judged, but {part} cannot be trained on it alone")
