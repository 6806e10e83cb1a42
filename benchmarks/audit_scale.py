"""How long `packshot audit` takes and how much memory, on a batch of made-up verdicts with many sellers.

    python benchmarks/audit_scale.py --rows 200000 --sellers 5000

Prints one JSON line: rows, slices, seconds, peak MiB of the whole process.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from packshot.config import load_settings
from packshot.scoring.verdicts import VERDICT_SCHEMA
from packshot.serving.audit import audit


def verdicts(rows: int, sellers: int) -> pa.Table:
    """Verdicts in the schema of a batch; every seller has about as many pictures, three to a SKU."""
    luck = np.random.default_rng(0)
    sharpness = luck.uniform(0.2, 1, rows)
    quality = 0.2 + 0.6 * sharpness + luck.normal(0, 0.05, rows)
    known = {
        "path": [f"{i // 1000:04d}/{i:07d}.jpg" for i in range(rows)],
        "sku": [f"sku{i // 3:07d}" for i in range(rows)],
        "sender": [f"seller{i:05d}" for i in luck.integers(0, sellers, rows)],
        "category": [f"category{i:02d}" for i in luck.integers(0, 30, rows)],
        "quality": quality,
        "decision": np.where(quality > 0.5, "accept", "reject"),
        "sharpness": sharpness,
        "colour_balance": luck.uniform(0.5, 1, rows),
        "detail": luck.uniform(0.5, 1, rows),
        "width": luck.integers(400, 3000, rows),
        "height": luck.integers(400, 3000, rows),
        "brightness": luck.uniform(0.2, 0.9, rows),
        "white_share": luck.uniform(0, 0.9, rows),
    }
    columns = [
        pa.array(known[field.name]).cast(field.type) if field.name in known else pa.nulls(rows, field.type)
        for field in VERDICT_SCHEMA
    ]
    return pa.table(columns, schema=pa.schema([field.with_nullable(True) for field in VERDICT_SCHEMA]))


def main() -> None:
    """Make the verdicts, audit them, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--sellers", type=int, default=5_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="packshot-audit-") as scratch:
        pq.write_table(verdicts(asked.rows, asked.sellers), Path(scratch) / "verdicts.parquet")
        begun = time.perf_counter()
        report = audit(load_settings(), Path(scratch))
        seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"rows": report.rows, "slices": len(report.slices), "gaps": len(report.gaps)}
    print(json.dumps(figures | {"seconds": round(seconds, 1), "peak_mib": round(peak)}))


if __name__ == "__main__":
    main()
