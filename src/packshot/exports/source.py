"""Verdict files as a stream: batches of rows, never a whole catalogue at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from packshot.errors import PackshotError
from packshot.scoring.shards import read_manifest
from packshot.scoring.verdicts import NEWER, VERDICT_SCHEMA, VerdictsUnreadable, check_columns, verdict_parts

VERDICTS = "verdicts.parquet"
TOGETHER = 128
"""Rows that are Python objects at a time: with its checks a row takes some 20 kB."""


class NothingToExport(PackshotError):
    """The verdict files hold no row that the export is about."""

    exit_code = 99


class VerdictsMixed(PackshotError):
    """The verdict files do not go together: one batch twice, or style vectors of two models."""

    exit_code = 65


@dataclass(frozen=True)
class VerdictFile:
    """One scored batch. `model` tells the model that scored it from every other; `registered`: the name under which
    that is registered, None for a bundle that is not."""

    folder: Path
    batch_id: str
    model: str
    rows: int
    registered: str | None = None

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The columns named, some rows at a time, in the order of the file. Raises VerdictsUnreadable."""
        return verdict_parts(self.folder / VERDICTS, columns)

    def each(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The columns named, one row at a time."""
        for batch in self.batches(columns):
            for start in range(0, batch.num_rows, TOGETHER):
                yield from batch.slice(start, TOGETHER).to_pylist()

    def images(self, named: Path | None = None) -> Path | None:
        """The folder of the judged pictures: `named`, else where they were scored from; None if that is gone."""
        if named is not None:
            return named
        kept = read_manifest(self.folder).get("images")
        return Path(kept) if isinstance(kept, str) and Path(kept).is_dir() else None


def open_verdicts(folders: Sequence[Path]) -> list[VerdictFile]:
    """The verdict files in `folders` (each the folder, or the file in it), in that order, checked.

    Raises VerdictsUnreadable, VerdictsMixed where a batch comes twice, NothingToExport where there is no row.
    """
    files = [_open(folder.parent if folder.name == VERDICTS else folder) for folder in folders]
    files = [file for file in files if file.rows]
    if not files:
        where = ", ".join(map(str, folders)) or "no folder of verdicts"
        raise NothingToExport(f"{where}: there is no row to export; score pictures with `packshot score DIR --out OUT`")
    seen: dict[str, Path] = {}
    for file in files:
        if file.batch_id in seen:
            raise VerdictsMixed(
                f"{seen[file.batch_id]} and {file.folder} are verdicts on the same batch {file.batch_id}; name one"
            )
        seen[file.batch_id] = file.folder
    return files


def one_model(files: Sequence[VerdictFile]) -> str:
    """The model behind all of them. Raises VerdictsMixed: style vectors of two models lie in different spaces."""
    models = sorted({file.model for file in files})
    if len(models) > 1:
        raise VerdictsMixed(
            f"the verdicts are of {len(models)} models ({', '.join(models)}), whose style vectors cannot be compared; "
            "name verdicts of one model, or score the others anew"
        )
    return models[0]


BUNDLE = "bundle "
"""How the label of a bundle that was never registered begins."""


def model_label(name: str, version: int | None, digest: str | None) -> str:
    """A name for one model and no other: by its version, or by the digest of a bundle that was never registered."""
    return f"{name} version {version}" if version is not None else f"{BUNDLE}{(digest or 'unknown')[:16]}"


def _open(folder: Path) -> VerdictFile:
    path = folder / VERDICTS
    if not path.is_file():
        raise VerdictsUnreadable(f"{path} does not exist; write it with `packshot score DIR --out {folder}`")
    try:
        with pq.ParquetFile(path) as file:
            check_columns(path, file.schema_arrow.names, [name for name in VERDICT_SCHEMA.names if name not in NEWER])
            rows = file.metadata.num_rows
            if not rows:
                return VerdictFile(folder, "", "", 0)
            names = ["batch_id", "model_name", "model_version"]
            first = next(file.iter_batches(1, columns=names)).to_pylist()[0]
    except (pa.ArrowInvalid, OSError) as error:
        raise VerdictsUnreadable(f"{path} cannot be read as Parquet: {error}") from error
    digest = read_manifest(folder).get("model_digest")
    model = model_label(first["model_name"] or "unnamed", first["model_version"], digest)
    registered = first["model_name"] if first["model_version"] is not None else None
    return VerdictFile(folder, first["batch_id"], model, rows, registered)
