"""The verdict table: its columns, and joining shards into one file without holding them all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from packshot.errors import PackshotError
from packshot.files import atomic_path

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
SHARD_SCHEMA = pa.schema(
    [
        pa.field("path", _text, nullable=False),
        pa.field("image_id", _text),
        *(pa.field(name, _text) for name in ("sku", "title", "sender", "category")),
        pa.field("format", _text),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        *(pa.field(name, _number) for name in SCORES),
        pa.field("style", _text),
        pa.field("style_confidence", _number),
        pa.field("style_vector", _vector),
        pa.field("embedding", _vector),
        *(pa.field(name, _number) for name in STATISTICS),
        pa.field("profile", _text),
        pa.field("findings", pa.list_(FINDING)),
        pa.field("measures", pa.map_(_text, _number)),
        pa.field("perceptual_hash", _text),
        pa.field("duplicate_of", _text),
        pa.field("decision", _text, nullable=False),
        pa.field("reasons", pa.list_(_text), nullable=False),
        pa.field("enhanced_path", _text),
        pa.field("quality_after", _number),
        pa.field("error", _text),
        pa.field("scored_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
LINEAGE_SCHEMA = pa.schema(
    [
        pa.field("batch_id", _text, nullable=False),
        pa.field("model_name", _text),
        pa.field("model_version", pa.int64()),
        *(pa.field(name, _text) for name in ("run_id", "data_rev", "code_rev", "params_hash")),
    ]
)
VERDICT_SCHEMA = pa.schema([*SHARD_SCHEMA, *LINEAGE_SCHEMA])


class VerdictsUnreadable(PackshotError):
    """A verdict file is missing, damaged, or lacks columns."""


def write_shard(target: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows of one shard, atomically."""
    with atomic_path(target) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SHARD_SCHEMA), temporary, compression="zstd")


def listing_id(shards: Iterable[Path]) -> str:
    """16 hex digits over every (path, sha256 of the bytes) of a batch: the same content gives the same id."""
    digest = hashlib.sha256()
    for shard in shards:
        table = pq.read_table(shard, columns=["path", "image_id"])
        for path, image_id in zip(table["path"].to_pylist(), table["image_id"].to_pylist(), strict=True):
            digest.update(f"{path}\0{image_id or ''}\n".encode())
    return digest.hexdigest()[:16]


def merge_shards(target: Path, shards: Sequence[Path], lineage: dict[str, Any]) -> int:
    """Join shards into `target`, one at a time, each row with its lineage. Returns the number of rows."""
    rows = 0
    with atomic_path(target) as temporary, pq.ParquetWriter(temporary, VERDICT_SCHEMA, compression="zstd") as writer:
        for shard in shards:
            table = pq.read_table(shard, schema=SHARD_SCHEMA)
            rows += table.num_rows
            for field in LINEAGE_SCHEMA:
                column = pa.array([lineage[field.name]] * table.num_rows, type=field.type)
                table = table.append_column(field, column)
            writer.write_table(table)
    return rows


def read_verdicts(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A verdict file, or some of its columns. Raises VerdictsUnreadable."""
    if not path.is_file():
        raise VerdictsUnreadable(f"{path} does not exist; write it with `packshot score DIR --out {path.parent}`")
    try:
        present = pq.read_schema(path).names
        wanted = list(columns) if columns is not None else VERDICT_SCHEMA.names
        missing = [name for name in wanted if name not in present]
        if missing:
            raise VerdictsUnreadable(f"{path} lacks the column(s) {', '.join(missing)}; is it a verdict file?")
        return pq.read_table(path, columns=wanted)
    except (pa.ArrowInvalid, OSError) as error:
        raise VerdictsUnreadable(f"{path} cannot be read as Parquet: {error}") from error
