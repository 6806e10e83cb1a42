"""What the checks of a verdict cost: CPU time of a picture, and bytes of a row in the Parquet file and in memory.

    python benchmarks/checks_cost.py [--rows 4096]

Rows have measures about the bounds of each profile, so that half of the rules are broken, and a tenth of them could
not be asked. Exit code 1 where a picture takes more than LIMIT_MS.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from packshot.config import ScoringSettings, load_settings
from packshot.home import project_root
from packshot.scoring.checks import checks_of
from packshot.scoring.rules import findings
from packshot.scoring.verdicts import CHECK, ROWS_TOGETHER

LIMIT_MS = 0.3
UNASKED = 0.1
REPEATS = 5
SCORES = ("quality", "quality_low", "quality_high", "sharpness", "colour_balance", "detail")


def row(scoring: ScoringSettings, random: np.random.Generator) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """A row without its checks, and the rules it breaks."""
    profile = scoring.profiles[scoring.profile]
    asked = {name: bound for name, bound in profile.items() if random.random() > UNASKED}
    measures = {name: float(bound.threshold * random.uniform(0.5, 1.5)) for name, bound in asked.items()}
    scores = {name: float(value) for name, value in zip(SCORES, random.random(len(SCORES)), strict=True)}
    return {"error": None, "measures": measures, "enhanced_path": None} | scores, findings(measures, profile)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=2 * ROWS_TOGETHER)
    count = options.parse_args().rows
    scoring, slowest = load_settings(project_root() / "params.yaml").scoring, 0.0
    for name in scoring.profiles:
        chosen = scoring.model_copy(update={"profile": name})
        rows = [row(chosen, np.random.default_rng([7, number])) for number in range(count)]
        took = [_timed(chosen, rows) for _ in range(REPEATS)]
        slowest = max(slowest, min(took))
        told = [[check.model_dump() for check in checks_of(one, chosen, broken)] for one, broken in rows]
        table = pa.table({"checks": pa.array(told, type=pa.list_(CHECK))})
        size = f"{_on_disk(table) / count:.0f} bytes of Parquet and {table.nbytes / count:.0f} of memory a row"
        print(f"{name}: {len(told[0])} checks, {min(took):.3f} ms of CPU a picture, {size}")
    return int(slowest > LIMIT_MS)


def _timed(scoring: ScoringSettings, rows: list[tuple[dict[str, Any], tuple[Any, ...]]]) -> float:
    """CPU ms a row, as the engine makes the column."""
    start = time.process_time()
    told = [[check.model_dump() for check in checks_of(one, scoring, broken)] for one, broken in rows]
    pa.array(told, type=pa.list_(CHECK))
    return (time.process_time() - start) / len(rows) * 1e3


def _on_disk(table: pa.Table) -> int:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "checks.parquet"
        pq.write_table(table, target, compression="zstd", row_group_size=ROWS_TOGETHER)
        return target.stat().st_size


if __name__ == "__main__":
    sys.exit(main())
