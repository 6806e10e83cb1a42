"""What every source gives: labelled images that still lie where the source keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from packshot.catalog.image import BadImage, resolve_inside
from packshot.catalog.scores import as_score
from packshot.catalog.source_record import SourceError
from packshot.catalog.sources.declared import SetDeclaration

LABELS = ("sku", "subset", "sender", "title", "description", "category", "tags", "quality_mos", "style")
COLUMNS = ("source", "path", "origin", *LABELS)
"""`path` is the manifest's; `origin` is the file to copy, null where there is none that may be copied."""

TRUE_WORDS = frozenset({"true", "1", "yes"})


@dataclass(frozen=True)
class SetFacts:
    """Where one set really came from: goes into `source.json`."""

    address: str
    licence: str
    commit: str | None = None
    labels_sha256: str | None = None
    styles: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceTable:
    """The images of a source (a frame with COLUMNS) and the facts about each of its sets."""

    images: pd.DataFrame
    facts: Mapping[str, SetFacts]


def locate(root: Path, name: str, file: str) -> tuple[str, Path | None]:
    """Manifest path and origin of `file` below `root`, for the set `name`.

    A path that leads out of `root` keeps its wording, so that validation can say so, and has no origin:
    nothing outside `root` is ever copied. A link that leads out is named by where it leads.
    """
    inside = f"{name}/{file}"
    if PurePosixPath(file).is_absolute():
        return file, None
    try:
        resolved = resolve_inside(root, file)
    except BadImage:
        return _named_by_target(root, file, inside), None
    except ValueError:
        return inside, None
    return inside, resolved if resolved.is_file() else None


def _named_by_target(root: Path, file: str, inside: str) -> str:
    if ".." in PurePosixPath(file).parts or "\0" in file:
        return inside
    try:
        return (root / file).resolve().as_posix()
    except (OSError, RuntimeError):
        return inside


def default_sku(file: str) -> str:
    """The file's path without its ending: unique in its set, where stems alone may repeat between folders."""
    return PurePosixPath(file).with_suffix("").as_posix() if PurePosixPath(file).name else file


def labelled(name: str, declared: SetDeclaration, root: Path, labels: pd.DataFrame, where: Path) -> pd.DataFrame:
    """The rows of one set from its label table (texts; column `file` relative to `root`).

    Raises SourceError naming a column that the declaration expects and the table lacks.
    """
    expected = {"file", *declared.columns.values(), *declared.tags.values()}
    missing = sorted(expected - set(labels.columns))
    if missing:
        raise SourceError(
            f"{where} lacks the column(s) {', '.join(missing)} declared for the set {name}; "
            f"it has {', '.join(map(str, labels.columns))}"
        )
    records = [_record(name, declared, root, record) for record in labels.to_dict("records")]
    return pd.DataFrame(records, columns=list(COLUMNS))


def _record(name: str, declared: SetDeclaration, root: Path, labels: Mapping[Any, Any]) -> dict[str, Any]:
    file = str(labels["file"])
    path, origin = locate(root, name, file)
    tags = [tag for tag, column in declared.tags.items() if str(labels[column]).strip().lower() in TRUE_WORDS]
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row.update({column: str(labels[theirs]).strip() or None for column, theirs in declared.columns.items()})
    row.update(source=name, path=path, origin=None if origin is None else str(origin))
    row["sku"] = row["sku"] or default_sku(file)
    row["tags"] = "|".join(tags) or None
    row["quality_mos"] = as_score(row["quality_mos"] or "")
    return row


def read_label_csv(path: Path) -> pd.DataFrame:
    """A CSV file as texts, nothing read as missing. Raises SourceError where it is no UTF-8 CSV."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    except OSError as error:
        raise SourceError(f"cannot read the labels {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text: {error}. Save it as UTF-8 and run the command again.") from error
    except pd.errors.EmptyDataError as error:
        raise SourceError(f"{path} is empty; it needs a header line and a line for each image") from error
    except (pd.errors.ParserError, ValueError) as error:
        raise SourceError(f"{path} is not a table of comma-separated values: {str(error).strip()}") from error


def stack(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all frames below each other, with COLUMNS; `quality_mos` as floats, the rest as objects."""
    whole = [frame.astype(object) for frame in frames if not frame.empty]
    table = pd.concat(whole, ignore_index=True) if whole else pd.DataFrame(columns=list(COLUMNS), dtype=object)
    # pandas turns None in a column of texts into NaN; a text is a text or None here.
    table = table.astype(object).where(table.notna(), None)
    table["quality_mos"] = table["quality_mos"].astype("float64")
    return table[list(COLUMNS)]
