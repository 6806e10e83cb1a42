"""The feed for a recommender or a search engine: how much a picture is worth, its style, what to hold against it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from packshot.config import ExportSettings
from packshot.exports.copies import copies_in
from packshot.exports.source import VerdictFile, one_model
from packshot.exports.weights import INPUTS, demotions, quality_weights
from packshot.files import atomic_path
from packshot.scoring.verdicts import VERDICT_SCHEMA

KEPT = ("batch_id", "path", "image_id", "sku", "category", "decision", "enhanced_path")
STYLE = ("style", "style_confidence", "style_vector")
FEED_SCHEMA = pa.schema(
    [
        *(VERDICT_SCHEMA.field(name) for name in KEPT),
        pa.field("quality_weight", pa.float64(), nullable=False),
        *(VERDICT_SCHEMA.field(name) for name in STYLE),
        pa.field("demotions", pa.list_(pa.string()), nullable=False),
        pa.field("model", pa.string(), nullable=False),
    ]
)
_READ = tuple(dict.fromkeys((*KEPT, *STYLE, *INPUTS, "findings")))
_FLAGS_FROM = ("error", "decision", "duplicate_of", "findings")


def write_feed(rules: ExportSettings, files: Sequence[VerdictFile], out: Path) -> dict[str, Any]:
    """Write one row for each row of the verdicts, in their order. Raises VerdictsMixed, VerdictsUnreadable."""
    model, rows, demoted = one_model(files), 0, 0
    copies = copies_in(files)
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, FEED_SCHEMA, compression="zstd") as writer:
        for file in files:
            for batch in copies.batches(file, _READ):
                flags = [demotions(row) for row in batch.select(_FLAGS_FROM).to_pylist()]
                writer.write_batch(_feed(batch, flags, model, rules))
                rows += batch.num_rows
                demoted += sum(map(bool, flags))
    return {"feed": str(out), "rows": rows, "demoted": demoted, "model": model}


def _feed(batch: pa.RecordBatch, flags: list[list[str]], model: str, rules: ExportSettings) -> pa.RecordBatch:
    made = {
        "quality_weight": pa.array(quality_weights(batch, rules)),
        "demotions": pa.array(flags, type=pa.list_(pa.string())),
        "model": pa.array([model] * batch.num_rows, type=pa.string()),
    }
    columns = [made[name] if name in made else batch.column(name) for name in FEED_SCHEMA.names]
    return pa.RecordBatch.from_arrays(columns, schema=FEED_SCHEMA)
