"""The manifest: one row per image file, as Parquet, keyed by `source` and `path`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from packshot.errors import PackshotError
from packshot.files import write_parquet

TEXT = "string"
COLUMNS: dict[str, str] = {
    "image_id": TEXT,
    "sku": TEXT,
    "path": TEXT,
    "source": TEXT,
    "subset": TEXT,
    "sender": TEXT,
    "title": TEXT,
    "description": TEXT,
    "category": TEXT,
    "tags": TEXT,
    "width": "Int64",
    "height": "Int64",
    "format": TEXT,
    "bytes": "Int64",
    "quality_mos": "float64",
    "style": TEXT,
    "group": TEXT,
    "split": TEXT,
}
"""Column to kind: `string` (null where unknown), `Int64` (nullable), `float64` (NaN where unknown)."""

MADE_BY_SPLIT = ("group", "split")
KEY = ("source", "path")
SPLITS = ("train", "validation", "test")
INBOX = "inbox"
"""The set of the pictures that were labelled after they were scored."""

QUARANTINE_COLUMNS = ("image_id", "path", "source", "expectation", "reason", "value", "detail", "at")


class ManifestError(PackshotError):
    """A manifest is missing, unreadable, empty, or has a wrong column."""

    exit_code = 65


def conform(frame: pd.DataFrame, *, where: str, optional: Iterable[str] = ()) -> pd.DataFrame:
    """`frame` with the manifest's columns first, in order and of their kinds; extra columns stay behind them.

    Columns in `optional` are made, all null, where missing. Empty texts become null. Numbers that are not
    numbers stay visible to validation: only a column that cannot be read as its kind at all is refused.
    Raises ManifestError naming each missing column, and the column that was probably meant.
    """
    excused = set(optional)
    missing = [name for name in COLUMNS if name not in frame.columns and name not in excused]
    if missing:
        raise ManifestError(_explain_missing(missing, [str(name) for name in frame.columns], where))
    extra = [str(name) for name in frame.columns if name not in COLUMNS]
    columns = {name: _as_kind(frame, name, kind, where) for name, kind in COLUMNS.items()}
    columns.update({name: frame[name] for name in extra})
    return pd.DataFrame(columns, index=frame.index).reset_index(drop=True)


def read_manifest(path: Path, *, allow_empty: bool = False) -> pd.DataFrame:
    """Read and check a manifest. Columns as in COLUMNS: texts are objects with None, numbers as declared.

    `group` and `split` are all null before the split step. Raises ManifestError where the file is missing,
    is not Parquet, lacks a column, or has no rows (unless `allow_empty`).
    """
    if not path.exists():
        raise ManifestError(f"{path} does not exist; run the step that writes it first (`packshot --help` lists them)")
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read as Parquet: {error}") from error
    frame = conform(frame, where=str(path), optional=MADE_BY_SPLIT)
    if frame.empty and not allow_empty:
        raise ManifestError(f"empty catalogue: {path} has no rows; collect at least one image that passes validation")
    return frame


def write_manifest(path: Path, frame: pd.DataFrame) -> None:
    """Write `frame` sorted by source and path, atomically; the same rows give the same bytes.

    Raises ManifestError for a missing column or two rows of one source and path.
    """
    ordered = conform(frame, where=str(path), optional=MADE_BY_SPLIT)
    ordered = ordered.sort_values(list(KEY), kind="stable").reset_index(drop=True)
    doubled = ordered[ordered.duplicated(list(KEY))]
    if not doubled.empty:
        first = doubled.iloc[0]
        raise ManifestError(
            f"{path}: {first['source']}/{first['path']} stands {len(doubled) + 1} times; once is allowed"
        )
    write_parquet(path, ordered)


def rows_of_sets(manifest: pd.DataFrame, sets: Iterable[str]) -> pd.Series:
    """Which rows belong to one of `sets`, each the name of a set or `set/subset`; boolean, indexed like `manifest`."""
    named = set(sets)
    subset = manifest["source"].astype(str) + "/" + manifest["subset"].astype(str)
    return manifest["source"].isin(named) | (subset.isin(named) & manifest["subset"].notna())


def _as_kind(frame: pd.DataFrame, name: str, kind: str, where: str) -> pd.Series:
    if name not in frame.columns:
        return pd.Series([None] * len(frame), index=frame.index, dtype=object)
    column = frame[name]
    if kind == TEXT:
        return _texts(column)
    try:
        numbers: pd.Series = pd.to_numeric(column)
        return numbers.astype("Int64") if kind == "Int64" else numbers.astype("float64")
    except (ValueError, TypeError) as error:
        raise ManifestError(f"{where}: column {name!r} must hold numbers, found {column.dtype}: {error}") from error


def _texts(column: pd.Series) -> pd.Series:
    """Python strings and None: no pandas NaN that would read as the text 'nan' later."""
    present = column.notna()
    values = [str(value).strip() if known else "" for value, known in zip(column, present, strict=True)]
    return pd.Series([value or None for value in values], index=column.index, dtype=object)


def _explain_missing(missing: list[str], found: list[str], where: str) -> str:
    lines = [f"{where} is not a manifest:"]
    unknown = [name for name in found if name not in COLUMNS]
    for name in missing:
        close = difflib.get_close_matches(name, unknown, n=1, cutoff=0.5)
        hint = f"; did you mean its column {close[0]!r}?" if close else ""
        lines.append(f"  column {name!r} is missing{hint}")
    lines.append(f"  found: {', '.join(found) or 'no columns'}")
    return "\n".join(lines)
