"""The verdict table: its columns, and joining shards into one file without holding them all."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from packshot.errors import PackshotError
from packshot.evaluation.shop_scale import JUDGED
from packshot.files import atomic_path
from packshot.scoring.contract import Check

VERDICTS = "verdicts.parquet"
STATISTICS = ("brightness", "contrast", "saturation", "white_share", "sharp_laplacian", "aspect")
SCORES = ("quality", "quality_low", "quality_high", "sharpness", "colour_balance", "detail")
_text, _number, _vector = pa.string(), pa.float64(), pa.list_(pa.float32())
FINDING = pa.struct(
    [
        pa.field("rule", _text, nullable=False),
        pa.field("value", _number, nullable=False),
        pa.field("threshold", _number, nullable=False),
        pa.field("effect", _text, nullable=False),
        pa.field("sentence", _text, nullable=False),
    ]
)
"""A catalogue rule that an image breaks: what was measured, against what, the decision it calls for, and what to tell
the seller."""


def _struct(model: type[BaseModel]) -> pa.StructType:
    """The Arrow type of a model's fields: text, numbers, and models in it, each null where the field may be None."""
    fields = {name: field.annotation for name, field in model.model_fields.items()}
    return pa.struct([pa.field(name, *_arrow(annotation)) for name, annotation in fields.items()])


def _arrow(annotation: Any) -> tuple[pa.DataType, bool]:
    """The Arrow type of an annotation, and whether it may be null."""
    parts = get_args(annotation)
    if type(None) in parts:
        return _arrow(parts[0])[0], True
    if get_origin(annotation) is Annotated:
        return _arrow(parts[0])
    if get_origin(annotation) is Literal or annotation is str:
        return _text, False
    return (_number if annotation is float else _struct(annotation)), False


CHECK = _struct(Check)
"""One thing that a picture was asked: `contract.Check`."""
FAULT = pa.struct(
    [
        pa.field("fault", _text, nullable=False),
        pa.field("probability", _number, nullable=False),
        pa.field("strength", _number, nullable=False),
        pa.field("unit", _text, nullable=False),
        pa.field("present", pa.bool_(), nullable=False),
        pa.field("outcome", _text, nullable=False),
    ]
)
"""One of `packshot.faults.NAMES`: how likely and how strong it is, whether it counts as there, and what was done about
it (fixed, improved, not_fixed, not_tried; none where it is not there)."""
SHARD_SCHEMA = pa.schema(
    [
        pa.field("path", _text, nullable=False),
        pa.field("image_id", _text),
        *(pa.field(name, _text) for name in ("sku", "title", "sender", "category")),
        pa.field("format", _text),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        *(pa.field(name, _number) for name in SCORES),
        pa.field("scale", _text),
        *(pa.field(name, _number) for name in JUDGED.values()),
        pa.field("style", _text),
        pa.field("style_reason", _text),
        pa.field("style_confidence", _number),
        pa.field("style_vector", _vector),
        pa.field("embedding", _vector),
        *(pa.field(name, _number) for name in STATISTICS),
        pa.field("notes", pa.list_(_text)),
        pa.field("profile", _text),
        pa.field("findings", pa.list_(FINDING)),
        pa.field("measures", pa.map_(_text, _number)),
        pa.field("faults", pa.list_(FAULT)),
        pa.field("checks", pa.list_(CHECK)),
        pa.field("perceptual_hash", _text),
        pa.field("duplicate_of", _text),
        pa.field("same_as", _text),
        pa.field("displaces", pa.list_(_text)),
        pa.field("preview", pa.binary()),
        pa.field("decision", _text, nullable=False),
        pa.field("reasons", pa.list_(_text), nullable=False),
        pa.field("enhanced_path", _text),
        pa.field("enhanced_id", _text),
        pa.field("quality_after", _number),
        pa.field("error", _text),
        pa.field("scored_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("schema_version", _text),
    ]
)
STORED_SCHEMA = pa.schema([*SHARD_SCHEMA, pa.field("hashes", _text), pa.field("thumbnail", pa.binary())])
"""What a shard holds: for the search for copies also what does not enter the verdicts."""
LINEAGE_SCHEMA = pa.schema(
    [
        pa.field("batch_id", _text, nullable=False),
        pa.field("model_name", _text),
        pa.field("model_version", pa.int64()),
        *(pa.field(name, _text) for name in ("run_id", "data_rev", "code_rev", "params_hash")),
    ]
)
VERDICT_SCHEMA = pa.schema([*SHARD_SCHEMA, *LINEAGE_SCHEMA])
NEWER = frozenset(
    {"notes", "profile", "findings", "measures", "perceptual_hash", "duplicate_of", "same_as", "displaces", "preview"}
    | {"schema_version", "checks", "enhanced_id", "style_reason", "faults", "scale", *JUDGED.values()}
)
"""Columns that verdicts of earlier versions lack."""
ROWS_TOGETHER = 1024
"""Of a verdict file, written and read at once: some 10 MB."""


class VerdictsUnreadable(PackshotError):
    """A verdict file is missing, damaged, or lacks columns."""


def write_shard(
    target: Path, rows: Sequence[dict[str, Any]], kept: Mapping[int, tuple[Path, int]] | None = None
) -> None:
    """Write the rows of one shard, atomically: `rows` in order, and between them those that are `kept`, each at the
    place that is its key and out of a row of another shard."""
    table = pa.Table.from_pylist(list(rows), schema=STORED_SCHEMA)
    if kept:
        table = _interleaved(table, kept)
    with atomic_path(target) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _interleaved(fresh: pa.Table, kept: Mapping[int, tuple[Path, int]]) -> pa.Table:
    sources = {shard: pq.read_table(shard, schema=STORED_SCHEMA) for shard in sorted({at for at, _ in kept.values()})}
    begins, end = {}, fresh.num_rows
    for shard, table in sources.items():
        begins[shard], end = end, end + table.num_rows
    count, new = fresh.num_rows + len(kept), iter(range(fresh.num_rows))
    order = [begins[kept[n][0]] + kept[n][1] if n in kept else next(new) for n in range(count)]
    return pa.concat_tables([fresh, *sources.values()]).take(order).combine_chunks()


def listing_id(shards: Iterable[Path]) -> str:
    """16 hex digits over every (path, sha256 of the bytes) of a batch: the same content gives the same id."""
    digest = hashlib.sha256()
    for shard in shards:
        table = pq.read_table(shard, columns=["path", "image_id"])
        for path, image_id in zip(table["path"].to_pylist(), table["image_id"].to_pylist(), strict=True):
            digest.update(f"{path}\0{image_id or ''}\n".encode())
    return digest.hexdigest()[:16]


def shard_tables(shards: Iterable[Path]) -> Iterator[pa.Table]:
    """The rows of each shard, one after another: those of the whole batch, in its order."""
    for shard in shards:
        yield pq.read_table(shard, schema=STORED_SCHEMA)


def write_verdicts(target: Path, tables: Iterable[pa.Table], lineage: dict[str, Any]) -> int:
    """Write the rows of a batch to `target`, each with its lineage. Returns the number of rows.

    They are held in memory ROWS_TOGETHER at a time, and written so: one entry a shard in the index of a Parquet file
    would be a table of its own.
    """
    rows = 0
    with atomic_path(target) as temporary, pq.ParquetWriter(temporary, VERDICT_SCHEMA, compression="zstd") as writer:
        for table in _together(tables):
            table = table.select(SHARD_SCHEMA.names)
            rows += table.num_rows
            for field in LINEAGE_SCHEMA:
                column = pa.repeat(pa.scalar(lineage[field.name], field.type), table.num_rows)
                table = table.append_column(field, column)
            writer.write_table(table)
    return rows


def _together(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(each.num_rows for each in waiting) >= ROWS_TOGETHER:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


@dataclass(frozen=True)
class Tally:
    """What a verdict file holds: rows, rows by decision, rows that could not be judged, and whose they are."""

    rows: int
    decisions: Mapping[str, int]
    errors: int
    batch_id: str | None


def tally(path: Path) -> Tally:
    """Count the rows of a verdict file, some of them at a time."""
    rows, errors, decisions, batch = 0, 0, Counter[str](), None
    for part in verdict_parts(path, ["decision", "error", "batch_id"]):
        rows += part.num_rows
        errors += part.num_rows - part["error"].null_count
        decisions.update(part["decision"].to_pylist())
        batch = batch if batch is not None else part["batch_id"][0].as_py()
    return Tally(rows, dict(sorted(decisions.items())), errors, batch)


def verdict_parts(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of a verdict file, ROWS_TOGETHER rows at a time, in order; those in NEWER that it lacks are nulls.

    Raises VerdictsUnreadable.
    """
    try:
        # reading ahead keeps every column chunk it has read until the file is closed
        with pq.ParquetFile(path, pre_buffer=False) as file:
            present = file.schema_arrow.names
            check_columns(path, present, [name for name in columns if name not in NEWER])
            there = [name for name in columns if name in present]
            for part in file.iter_batches(ROWS_TOGETHER, columns=there):
                yield _completed(part, columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise VerdictsUnreadable(f"{path} cannot be read as Parquet: {error}") from error


def check_columns(path: Path, present: Collection[str], wanted: Iterable[str]) -> None:
    """Raise VerdictsUnreadable where a verdict file lacks a column that is wanted."""
    missing = [name for name in wanted if name not in present]
    if missing:
        raise VerdictsUnreadable(f"{path} lacks the column(s) {', '.join(missing)}; is it a verdict file?")


def _completed(part: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    fields = [VERDICT_SCHEMA.field(name) for name in columns]
    arrays = [
        part.column(field.name) if field.name in part.schema.names else pa.nulls(part.num_rows, field.type)
        for field in fields
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def read_verdicts(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A verdict file, or some of its columns. Raises VerdictsUnreadable."""
    if not path.is_file():
        raise VerdictsUnreadable(f"{path} does not exist; write it with `packshot score DIR --out {path.parent}`")
    try:
        present = pq.read_schema(path).names
        wanted = list(columns) if columns is not None else VERDICT_SCHEMA.names
        check_columns(path, present, wanted)
        return pq.read_table(path, columns=wanted)
    except (pa.ArrowInvalid, OSError) as error:
        raise VerdictsUnreadable(f"{path} cannot be read as Parquet: {error}") from error
