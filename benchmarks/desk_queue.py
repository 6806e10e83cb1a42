"""Whether the desk's queue costs the same whatever its length.

    python benchmarks/desk_queue.py --verdicts FOLDER [--rows 1000 100000] [--decisions 200]

The rows of a folder that `packshot score` wrote are repeated, each under a path of its own and all to be looked at by
a person. In a home of its own: until the queue is there, a page of it from the middle, the facts of the next
picture in the queue's order and of one anywhere, and a decision, which is an entry of the ledger; milliseconds at the
median and at p95. The last column is what the process has grown by.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from packshot.config import load_settings
from packshot.scoring.verdicts import ROWS_TOGETHER, read_verdicts
from packshot.service.review import Review, Said

MIB = 2**20


def repeated(source: pa.Table, rows: int, target: Path) -> None:
    """`rows` rows of `source`, again and again, each with a path, a content and an interval of its own."""
    generator = np.random.default_rng(0)
    with pq.ParquetWriter(target, source.schema, compression="zstd") as writer:
        for start in range(0, rows, ROWS_TOGETHER):
            numbers = np.arange(start, min(rows, start + ROWS_TOGETHER))
            part = source.take(pa.array(numbers % len(source)))
            columns = {
                "path": [f"shop/{number:07d}.jpg" for number in numbers],
                "image_id": [f"{number:064x}" for number in numbers],
                "decision": ["review"] * len(numbers),
                "duplicate_of": [None] * len(numbers),
                "quality_low": generator.uniform(0.0, 0.4, len(numbers)),
                "quality_high": generator.uniform(0.5, 1.0, len(numbers)),
            }
            for name, values in columns.items():
                kept = source.schema.field(name)
                part = part.set_column(source.schema.get_field_index(name), kept, pa.array(values, kept.type))
            writer.write_table(part)


def timed(work: Callable[[str], object], ids: Sequence[str]) -> str:
    """Milliseconds of a call for each id: median and p95."""
    took = []
    for each in ids:
        begun = time.perf_counter()
        work(each)
        took.append(1000 * (time.perf_counter() - begun))
    return f"{np.median(took):.1f} / {np.quantile(took, 0.95):.1f}"


def measured(source: pa.Table, rows: int, decisions: int, folder: Path) -> tuple[str, ...]:
    """One line of the table."""
    os.environ["PACKSHOT_HOME"] = str(folder / "home")
    repeated(source, rows, folder / "verdicts.parquet")
    before, begun = psutil.Process().memory_info().rss, time.perf_counter()
    review = Review(load_settings(), [folder])
    first = review.page("review", None, 20)
    there = 1000 * (time.perf_counter() - begun)
    order = [item.id for item in review.page("review", None, rows).items]
    anywhere = list(np.random.default_rng(1).choice(order, decisions))

    def decide(item: str) -> None:
        review.decide(item, Said(outcome="accept", token=f"benchmark-{item}"), "benchmark")

    return (
        f"{first.waiting}",
        f"{there:.0f}",
        timed(lambda item: review.page("review", item, 20), anywhere),
        timed(review.shown, order[:decisions]),
        timed(review.shown, anywhere),
        timed(decide, order[:decisions]),
        f"{(psutil.Process().memory_info().rss - before) / MIB:.0f}",
    )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--decisions", type=int, default=200)
    asked = parser.parse_args()
    source = read_verdicts(asked.verdicts / "verdicts.parquet")
    names = ("rows", "there, ms", "page, ms", "next, ms", "anywhere, ms", "decision, ms", "MiB")
    table = Table(*names, title=f"load {os.getloadavg()[0]:.1f}")
    for rows in asked.rows:
        with tempfile.TemporaryDirectory(prefix="packshot-desk-") as scratch:
            table.add_row(*measured(source, rows, asked.decisions, Path(scratch)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
