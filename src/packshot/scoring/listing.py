"""What is in a batch: every file below a folder, and what the shop's catalogue says of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from packshot.config import CatalogSettings
from packshot.errors import PackshotError
from packshot.progress import say

CATALOG_NAME = "catalog.csv"
CATALOG_FIELDS = ("sku", "title", "description", "tags", "sender", "category")


class EmptyBatch(PackshotError):
    """There is no file to work on."""


class BatchFolderMissing(PackshotError):
    """The folder of the batch does not exist, or is no folder."""


class CatalogUnreadable(PackshotError):
    """The catalogue beside the images cannot be used."""


@dataclass(frozen=True)
class BatchFile:
    """One file of a batch. `path` is text for tables, POSIX and relative; `location` opens it."""

    path: str
    location: Path
    size: int
    modified_ns: int
    facts: Mapping[str, str | None] = field(default_factory=dict)
    """`sku`, `title`, `description`, `tags`, `sender`, `category` where a catalogue gives them."""

    def text(self) -> str | None:
        """What the shop says of the image in words, put together as for training; None where it says nothing."""
        from packshot.training.features import row_text

        return row_text({name: self.facts.get(name) for name in ("title", "description", "tags")})


def list_batch(directory: Path, out: Path, catalog: Path | None, columns: CatalogSettings) -> list[BatchFile]:
    """Every file below `directory`, sorted by path.

    Left out: hidden files and folders (a name that starts with a dot), the catalogue, and `out` where it
    lies inside. Links to files are listed; a link to a folder that leads out is listed as a file that
    cannot be read, one that stays inside is not followed (its files are listed where they are).
    Raises BatchFolderMissing, EmptyBatch, CatalogUnreadable.
    """
    if not directory.is_dir():
        what = "is not a folder" if directory.exists() else "does not exist"
        raise BatchFolderMissing(f"{directory} {what}; name the folder that holds the images of the batch")
    root = directory.resolve()
    chosen = catalog if catalog is not None else directory / CATALOG_NAME
    facts = read_catalog(chosen, columns) if catalog is not None or chosen.is_file() else {}
    leave_out = {out.resolve(), chosen.resolve(), root / CATALOG_NAME}
    files = [_describe(root, found, facts) for found in _walk(root, leave_out)]
    if not files:
        raise EmptyBatch(f"{directory} holds no files to work on (hidden files and {CATALOG_NAME} do not count)")
    unused = facts.keys() - {file.path for file in files}
    if unused:
        say(f"{chosen.name} names {len(unused)} file(s) that are not below {directory}")
    return sorted(files, key=lambda file: file.path)


def read_catalog(path: Path, columns: CatalogSettings) -> dict[str, dict[str, str | None]]:
    """Path to what the catalogue says, from a CSV (UTF-8) or Parquet file; names mapped as in `params.yaml`.

    Broken lines are skipped and counted aloud; of two rows for one path the first counts.
    Raises CatalogUnreadable where there is no such file or no path column.
    """
    frame = _read_table(path)
    present = {name: columns.columns.get(name, name) for name in CATALOG_FIELDS}
    return _by_path(path, frame, columns, {name: own for name, own in present.items() if own in frame.columns})


def read_catalog_columns(
    path: Path, columns: CatalogSettings, wanted: Sequence[str]
) -> dict[str, dict[str, str | None]]:
    """Path to its values in the columns `wanted` of a catalogue file, named as the file names them.

    Raises CatalogUnreadable where there is no such file, no path column, or a column wanted is missing.
    """
    frame = _read_table(path)
    for name in wanted:
        _require(path, frame, name, "name one that it has")
    return _by_path(path, frame, columns, {name: name for name in wanted})


def _by_path(
    path: Path, frame: pd.DataFrame, columns: CatalogSettings, present: Mapping[str, str]
) -> dict[str, dict[str, str | None]]:
    named = columns.columns.get("path", "path")
    _require(path, frame, named, "rename it, or map it under catalog.columns in params.yaml")
    facts: dict[str, dict[str, str | None]] = {}
    for row in frame.to_dict("records"):
        key = _text(row[named])
        if key is not None:
            facts.setdefault(_posix(key), {name: _text(row[own]) for name, own in present.items()})
    return facts


def _require(path: Path, frame: pd.DataFrame, column: str, what_to_do: str) -> None:
    if column not in frame.columns:
        has = ", ".join(map(str, frame.columns)) or "none"
        raise CatalogUnreadable(f"{path} has no column {column!r}; it has {has}. To mend it, {what_to_do}")


def _read_table(path: Path) -> pd.DataFrame:
    broken: list[int] = []

    def skip(fields: list[str]) -> None:
        broken.append(len(fields))

    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        frame = pd.read_csv(
            path, dtype=str, encoding="utf-8-sig", encoding_errors="replace", engine="python", on_bad_lines=skip
        )
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise CatalogUnreadable(f"cannot read the catalogue {path}: {error}") from error
    if broken:
        say(f"{path.name}: {len(broken)} line(s) with too many fields were skipped")
    return frame


def _text(value: object) -> str | None:
    if value is None or value != value:
        return None
    return str(value).strip() or None


def _posix(path: str) -> str:
    cleaned = path.replace("\\", "/")
    while cleaned.startswith("./"):
        cleaned = cleaned[2:]
    return cleaned


def _walk(root: Path, leave_out: set[Path]) -> Iterator[Path]:
    for folder, folders, files in os.walk(root, followlinks=False):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in links and (here / name) not in leave_out
        )
        yield from _leading_out(here, links, root)
        for name in _visible(files):
            if (here / name) not in leave_out:
                yield here / name


def _leading_out(here: Path, links: Iterable[str], root: Path) -> Iterator[Path]:
    for name in _visible(links):
        target = (here / name).resolve()
        if target.is_relative_to(root):
            say(f"{(here / name).relative_to(root)} is a link to a folder of the batch; it is not followed")
        else:
            yield here / name


def _visible(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))


def _describe(root: Path, found: Path, facts: Mapping[str, Mapping[str, str | None]]) -> BatchFile:
    relative = found.relative_to(root).as_posix()
    # A name that is not UTF-8 cannot stand in a table; its odd bytes are spelt out as \xNN.
    path = os.fsencode(relative).decode("utf-8", "backslashreplace")
    try:
        status = found.stat()
        size, modified = (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (0, 0)
    except OSError:
        size, modified = 0, 0
    return BatchFile(path, found, size, modified, facts.get(path, {}))
