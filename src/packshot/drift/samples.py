"""The two samples of a drift check: the champion's reference and a scored batch, in the same columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from packshot.errors import PackshotError
from packshot.evaluation.shop_scale import JUDGED, as_judged

STATISTICS = ("brightness", "contrast", "saturation", "white_share", "sharp_laplacian", "width", "height")
PREDICTIONS = ("quality", "sharpness", "colour_balance", "detail")
VECTORS = ("embedding", "style_vector")
LABELS = ("style", "category")
# Skewed by orders of magnitude: a mean of the raw values would be that of the few largest.
_LOGARITHMIC = ("sharp_laplacian", "width", "height")
_COLUMNS = (*STATISTICS, *PREDICTIONS, *VECTORS, *LABELS)
_LINEAGE = ("batch_id", "model_name", "model_version", "run_id")


class ReferenceUnusable(PackshotError):
    """The champion's reference is empty, missing or lacks columns."""


class VerdictsUnusable(PackshotError):
    """The scored batch cannot be compared."""


@dataclass(frozen=True)
class Sample:
    """Images as rows. `groups` are 0, 1, ...; images of one sender share one.

    `numbers` is images x (STATISTICS + PREDICTIONS), sizes and sharpness as logarithms; `vectors` by name of view.
    """

    paths: list[str]
    groups: NDArray[np.intp]
    numbers: NDArray[np.float64]
    vectors: dict[str, NDArray[np.float64]]
    labels: pd.DataFrame

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return int(self.groups.max()) + 1 if len(self.groups) else 0

    def take(self, rows: NDArray[np.intp]) -> Sample:
        """Some of the images; groups are numbered anew."""
        return Sample(
            [self.paths[row] for row in rows],
            pd.factorize(self.groups[rows])[0].astype(np.intp),
            self.numbers[rows],
            {name: values[rows] for name, values in self.vectors.items()},
            self.labels.iloc[rows].reset_index(drop=True),
        )


@dataclass(frozen=True)
class Batch:
    """A scored batch: its usable images, the share whose sender is unknown, and who scored it."""

    sample: Sample
    rows: int
    unknown_senders: float
    batch_id: str
    model_name: str | None
    model_version: int | None
    run_id: str | None


def read_reference(path: Path) -> Sample:
    """The reference of a bundle; `group` keeps the images of one sender together. Raises ReferenceUnusable."""
    if not path.is_file():
        raise ReferenceUnusable(f"{path} does not exist: this model was trained without a drift reference; retrain it")
    frame = _read(path, (*_COLUMNS, "group", "image_id"), ReferenceUnusable)
    frame = _usable(frame)
    if frame.empty:
        raise ReferenceUnusable(f"{path} has no usable rows; the champion's training data had no catalogue images")
    groups = frame["group"].where(frame["group"].notna(), frame["image_id"])
    return _sample(frame, groups, frame["image_id"])


def read_batch(path: Path) -> Batch:
    """A verdict file; rows with an error are left out. Raises VerdictsUnusable.

    Images of a known sender form a group; an image of an unknown one is a group of its own, and
    `unknown_senders` says how many of them there are, since they may be alike after all.
    """
    if not path.is_file():
        raise VerdictsUnusable(f"{path} does not exist; write it with `packshot score DIR --out {path.parent}`")
    frame = _read(path, (*_COLUMNS, *_LINEAGE, "path", "sender"), VerdictsUnusable)
    if frame.empty:
        raise VerdictsUnusable(f"{path} has no rows; there is nothing to check")
    first = frame.iloc[0]
    usable = _usable(frame)
    known = usable["sender"].notna()
    groups = ("sender " + usable["sender"].astype(str)).where(known, "image " + usable["path"])
    return Batch(
        sample=_sample(usable, groups, usable["path"]),
        rows=len(frame),
        unknown_senders=float((~known).mean()) if len(usable) else 1.0,
        batch_id=str(first["batch_id"]),
        model_name=_nullable(first["model_name"]),
        model_version=None if pd.isna(first["model_version"]) else int(first["model_version"]),
        run_id=_nullable(first["run_id"]),
    )


def thin(sample: Sample, most: int, per_group: int | None, rng: np.random.Generator) -> Sample:
    """At most `most` images, and at most `per_group` of one group, drawn at random."""
    rows = np.arange(len(sample), dtype=np.intp)
    if per_group is not None:
        order = rng.permutation(rows)
        rank = pd.Series(sample.groups[order]).groupby(sample.groups[order]).cumcount().to_numpy()
        rows = np.sort(order[rank < per_group])
    if len(rows) > most:
        rows = np.sort(rng.choice(rows, most, replace=False))
    return sample.take(rows)


def _read(path: Path, columns: Sequence[str], failure: type[PackshotError]) -> pd.DataFrame:
    try:
        present = pq.read_schema(path).names
        missing = [name for name in columns if name not in present]
        if missing:
            raise failure(f"{path} lacks the column(s) {', '.join(missing)}")
        kept = [name for name in JUDGED.values() if name in present]
        return as_judged(pq.read_table(path, columns=[*columns, *kept]).to_pandas())[list(columns)]
    except (pa.ArrowInvalid, OSError) as error:
        raise failure(f"{path} cannot be read as Parquet: {error}") from error


def _usable(frame: pd.DataFrame) -> pd.DataFrame:
    numbers = frame[[*STATISTICS, *PREDICTIONS]].apply(pd.to_numeric, errors="coerce")
    whole = np.isfinite(numbers.to_numpy(dtype=float)).all(axis=1)
    for name in VECTORS:
        whole &= (
            frame[name].map(lambda value: value is not None and bool(np.isfinite(value).all())).to_numpy(dtype=bool)
        )
    usable: pd.DataFrame = frame[whole].reset_index(drop=True)
    return usable


def _sample(frame: pd.DataFrame, groups: pd.Series, paths: pd.Series) -> Sample:
    numbers = frame[[*STATISTICS, *PREDICTIONS]].to_numpy(dtype=float).copy()
    for name in _LOGARITHMIC:
        column = STATISTICS.index(name)
        numbers[:, column] = np.log1p(np.maximum(numbers[:, column], 0.0))
    vectors = {
        name: np.vstack(frame[name].to_list()).astype(float) if len(frame) else np.empty((0, 0)) for name in VECTORS
    }
    labels = frame[list(LABELS)].reset_index(drop=True)
    return Sample(paths.astype(str).tolist(), pd.factorize(groups)[0].astype(np.intp), numbers, vectors, labels)


def _nullable(value: object) -> str | None:
    return None if value is None or value != value else str(value)
