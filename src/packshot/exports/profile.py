"""What a user likes: the styles of what they looked at and clicked, shrunk to what the catalogue is like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from packshot.config import ProfileSettings
from packshot.exports.events import Events, Item, read_events
from packshot.exports.source import NothingToExport, VerdictFile, one_model
from packshot.files import atomic_path
from packshot.progress import say

Floats = NDArray[np.float64]
USERS_TOGETHER = 20_000
"""Users whose profiles are summed up in one pass over the verdicts: 384 numbers each are 60 MB."""
PROFILE_SCHEMA = pa.schema(
    [
        pa.field("user", pa.string(), nullable=False),
        pa.field("style_vector", pa.list_(pa.float32()), nullable=False),
        pa.field("top_styles", pa.list_(pa.struct([("style", pa.string()), ("share", pa.float64())])), nullable=False),
        pa.field("events", pa.int64(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("own_share", pa.float64(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
    ]
)
_READ = ("path", "sku", "style", "style_confidence", "style_vector", "error")


@dataclass(frozen=True)
class Average:
    """The catalogue's judged pictures: their mean unit vector, and each style's share, by confidence."""

    vector: Floats
    styles: tuple[str, ...]
    shares: Floats
    pictures_of: Mapping[Item, int]
    """How many pictures each item that somebody met stands for."""


@dataclass(frozen=True)
class _Pictures:
    """A batch of judged pictures: the items each belongs to, unit vectors (rows x dimensions), style and confidence."""

    items: list[tuple[Item, ...]]
    vectors: Floats
    styles: list[str | None]
    confidence: Floats


def write_profiles(rules: ProfileSettings, files: Sequence[VerdictFile], events: Path, out: Path) -> dict[str, Any]:
    """Write one row for each user of `events`, sorted, into the Parquet file `out`.

    A profile is the weighted mean of the style vectors met and of `prior` times the catalogue's mean, of length 1; an
    item of several pictures stands for their mean. Who met nothing that is known gets the catalogue's mean. Raises
    NothingToExport, EventsUnreadable, VerdictsMixed.
    """
    model, met = one_model(files), read_events(events, rules)
    if not met.weights:
        raise NothingToExport(f"{events} holds no event of {', '.join(rules.weights)} that can be read")
    average = _average(files, set(met.of_item))
    unknown = sum(count for item, count in met.of_item.items() if not average.pictures_of.get(item))
    _say_what_was_left_out(met, unknown)
    users = sorted(met.weights)
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, PROFILE_SCHEMA, compression="zstd") as writer:
        for start in range(0, len(users), USERS_TOGETHER):
            rows = list(_profiles(rules, files, met, users[start : start + USERS_TOGETHER], average, model))
            writer.write_table(pa.Table.from_pylist(rows, schema=PROFILE_SCHEMA))
    return {
        "profiles": str(out),
        "users": len(users),
        "events": sum(met.counts.values()),
        "unknown_items": unknown,
        "broken_lines": met.broken_lines,
        "other_kinds": met.other_kinds,
        "model": model,
    }


def _say_what_was_left_out(met: Events, unknown: int) -> None:
    for count, what in (
        (met.broken_lines, "line(s) of events are broken"),
        (met.other_kinds, "event(s) are of a kind without a weight in exports.profile.weights"),
        (unknown, "event(s) are about no judged picture of these verdicts"),
    ):
        if count:
            say(f"{count} {what}; they are left out")


def _average(files: Sequence[VerdictFile], items: set[Item]) -> Average:
    sums: dict[str, float] = {}
    pictures_of: dict[Item, int] = {}
    vector: Floats | None = None
    count = 0
    for part in _pictures(files):
        vector = part.vectors.sum(axis=0) + (vector if vector is not None else 0.0)
        count += len(part.vectors)
        for style, confidence, of in zip(part.styles, part.confidence.tolist(), part.items, strict=True):
            if style is not None:
                sums[style] = sums.get(style, 0.0) + confidence
            for item in of:
                if item in items:
                    pictures_of[item] = pictures_of.get(item, 0) + 1
    if vector is None:
        raise NothingToExport("no picture was judged, so nobody can have a profile")
    styles = tuple(sorted(sums))
    return Average(vector / count, styles, np.array([sums[name] for name in styles]) / count, pictures_of)


def _profiles(
    rules: ProfileSettings,
    files: Sequence[VerdictFile],
    met: Events,
    users: Sequence[str],
    average: Average,
    model: str,
) -> Iterator[dict[str, Any]]:
    vectors = np.tile(rules.prior * average.vector, (len(users), 1))
    shares = np.tile(rules.prior * average.shares, (len(users), 1))
    weights = np.zeros(len(users))
    who_met = _who_met(met, users, average)
    place = {style: index for index, style in enumerate(average.styles)}
    for part in _pictures(files):
        for row, of in enumerate(part.items):
            style = part.styles[row]
            for user, weight in (pair for item in of for pair in who_met.get(item, ())):
                vectors[user] += weight * part.vectors[row]
                weights[user] += weight
                if style is not None:
                    shares[user, place[style]] += weight * part.confidence[row]
    total = weights + rules.prior
    for user, name in enumerate(users):
        yield {
            "user": name,
            "style_vector": (vectors[user] / max(float(np.linalg.norm(vectors[user])), 1e-12)).tolist(),
            "top_styles": _top(rules, average.styles, shares[user] / total[user]),
            "events": met.counts[name],
            "weight": float(weights[user]),
            "own_share": float(weights[user] / total[user]),
            "model": model,
        }


def _who_met(met: Events, users: Sequence[str], average: Average) -> dict[Item, list[tuple[int, float]]]:
    """Item to (place of the user, weight for each of its pictures)."""
    found: dict[Item, list[tuple[int, float]]] = {}
    for place, user in enumerate(users):
        for item, weight in met.weights[user].items():
            pictures = average.pictures_of.get(item, 0)
            if pictures:
                found.setdefault(item, []).append((place, weight / pictures))
    return found


def _top(rules: ProfileSettings, styles: Sequence[str], shares: Floats) -> list[dict[str, Any]]:
    ranked = sorted(zip(shares.tolist(), styles, strict=True), key=lambda pair: (-pair[0], pair[1]))
    return [{"style": style, "share": share} for share, style in ranked[: rules.top_styles]]


def _pictures(files: Sequence[VerdictFile]) -> Iterator[_Pictures]:
    for batch in (batch for file in files for batch in file.batches(_READ)):
        rows = batch.filter(pc.and_(pc.is_null(batch.column("error")), pc.is_valid(batch.column("style_vector"))))
        if not rows.num_rows:
            continue
        vectors = np.asarray(rows.column("style_vector").flatten(), dtype=np.float64).reshape(rows.num_rows, -1)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        names = zip(rows.column("path").to_pylist(), rows.column("sku").to_pylist(), strict=True)
        items = [(("path", path), *((("sku", sku),) if sku is not None else ())) for path, sku in names]
        confidence = rows.column("style_confidence").fill_null(0.0).to_numpy(zero_copy_only=False)
        yield _Pictures(items, vectors, rows.column("style").to_pylist(), np.asarray(confidence, dtype=np.float64))
