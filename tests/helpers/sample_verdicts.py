"""Small verdict files with every column that scoring writes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from packshot.files import write_json
from packshot.scoring.verdicts import VERDICT_SCHEMA

SCORED_AT = datetime(2026, 3, 14, 12, tzinfo=UTC)


def verdict(path: str, decision: str = "accept", quality: float = 0.7, **more: Any) -> dict[str, Any]:
    """A row on one picture: quality 0.1 wide on either side, style `rustic` in a space of three dimensions."""
    row: dict[str, Any] = {
        "path": path,
        "image_id": f"{path:0>64}"[-64:],
        "format": "JPEG",
        "width": 64,
        "height": 48,
        "quality": quality,
        "quality_low": quality - 0.1,
        "quality_high": quality + 0.1,
        "sharpness": 0.8,
        "colour_balance": 0.8,
        "detail": 0.8,
        "style": "rustic",
        "style_confidence": 0.9,
        "style_vector": [1.0, 0.0, 0.0],
        "embedding": [1.0, 0.0],
        "decision": decision,
        "reasons": [],
        "scored_at": SCORED_AT,
    }
    return row | more


def broken(path: str, **more: Any) -> dict[str, Any]:
    """A row on a file that could not be judged."""
    error = "not_an_image: the content is not that of any known image format"
    row = {"path": path, "decision": "reject", "reasons": [error], "error": error, "scored_at": SCORED_AT}
    return row | more


def finding(rule: str, sentence: str, effect: str = "review") -> dict[str, Any]:
    return {"rule": rule, "value": 0.4, "threshold": 0.8, "effect": effect, "sentence": sentence}


def write_verdicts(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    *,
    batch_id: str = "monday",
    version: int | None = 3,
    images: Path | None = None,
    digest: str = "d" * 64,
    **lineage: str | None,
) -> Path:
    """`folder` with verdicts.parquet and the manifest beside it, as scoring leaves them."""
    known = {"model_name": "packshot", "model_version": version, "batch_id": batch_id}
    known |= {"run_id": "run1", "data_rev": "data1", "code_rev": "code1", "params_hash": "params1", **lineage}
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([row | known for row in rows], schema=VERDICT_SCHEMA)
    pq.write_table(table, folder / "verdicts.parquet")
    manifest = {"model": "packshot", "model_digest": digest, "images": str(images) if images else None}
    write_json(folder / ".shards" / "manifest.json", manifest)
    return folder
