"""How long the desk's grid takes a server, with many pictures.

    python benchmarks/desk_grid.py --verdicts FOLDER [--rows 1000 100000] [--asked 200] [--decided 2000]

The rows of a folder that `packshot score` wrote are repeated (as `benchmarks/desk_queue.py` does), each with a title, a
SKU, a seller and a day of its own. In a home of its own, with `--decided` pictures that people decided on: pages by
drawn filters, words, orders and pages, each asked for by somebody who is signed in and answered by the whole
application, page made; then every one of the small pictures of some of these pages. Milliseconds at the median, at p95
and at most. `there`: until the first page, with all files unread. A second table has the other pages, and the pictures
alike in style to one: the first time, and the median of ten times after it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from desk_queue import MIB, repeated
from packshot.config import load_settings
from packshot.scoring.verdicts import ROWS_TOGETHER, read_verdicts
from packshot.service.app import make_app
from packshot.service.callers import COOKIE
from packshot.service.review import Said

WORDS = ("oak", "walnut", "lamp", "chair", "table", "white", "linen", "brass", "round", "small")
OTHERS = ("batches", "model", "data", "sellers", "labels")
REASONS = ("blur: 2 px", "dark: 0.2", "noise: 9", "uncertain: 0.6 wide", "background: 0.4")


def varied(source: Path, target: Path) -> None:
    """The rows of a verdict file with texts, reasons and days that differ."""
    drawn = np.random.default_rng(0)
    with pq.ParquetFile(source) as file, pq.ParquetWriter(target, file.schema_arrow, compression="zstd") as writer:
        for part in file.iter_batches(ROWS_TOGETHER):
            count = part.num_rows
            days = drawn.integers(0, 200, count) * 86_400_000_000 + 1_780_000_000_000_000
            columns = {
                "title": [" ".join(drawn.choice(WORDS, 3)) for _ in range(count)],
                "sku": [f"SKU-{number}" for number in drawn.integers(0, 30_000, count)],
                "sender": [f"seller {number}" for number in drawn.integers(0, 500, count)],
                "decision": list(drawn.choice(["accept", "enhance", "review", "reject"], count)),
                "reasons": [list(drawn.choice(REASONS, drawn.integers(0, 3), replace=False)) for _ in range(count)],
                "scored_at": days.astype("datetime64[us]"),
            }
            table = pa.Table.from_batches([part])
            for name, values in columns.items():
                kept = table.schema.field(name)
                table = table.set_column(table.schema.get_field_index(name), kept, pa.array(values, kept.type))
            writer.write_table(table)


def questions(count: int) -> list[dict[str, object]]:
    """Addresses that people might ask for."""
    drawn, found = random.Random(0), []
    for _ in range(count):
        options: dict[str, object] = {
            "decision": drawn.choice(["accept", "review", "reject"]),
            "people": drawn.choice(["open", "decided"]),
            "code": drawn.choice(["blur", "dark", "uncertain"]),
            "seller": f"seller {drawn.randrange(500)}",
            "since": f"2026-{drawn.randint(6, 9):02d}-01",
            "narrowest": drawn.choice([0.2, 0.5]),
            "q": drawn.choice(["oak", "walnut lamp", "sku-12", "00421", "nothing like it", "e"]),
            "sort": drawn.choice(["unsure", "worst", "newest", "path", "sku", "seller"]),
            "page": drawn.randint(1, 1500),
        }
        found.append({name: options[name] for name in drawn.sample(list(options), drawn.randint(0, 4))})
    return found


async def measured(rows: int, asked: int, decided: int, folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """One line of each table."""
    app = make_app(load_settings(), "none", verdicts=[folder])
    service = app.state.service
    service.visitors.rate = service.visitors.burst = 10**9
    service.people.add("benchmark", "review")
    cookies, before = {COOKIE: service.people.begin("benchmark")}, psutil.Process().memory_info().rss
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk", cookies=cookies) as client:
        begun = time.perf_counter()
        assert (await client.get("/desk/grid")).status_code == 200
        there = 1000 * (time.perf_counter() - begun)
        for item in service.review.now().items[:decided]:
            service.review.decide(item.id, Said(outcome="accept", token=f"benchmark-{item.id}"), "benchmark")
        took, pictures = [], []
        for number, question in enumerate(questions(asked)):
            begun = time.perf_counter()
            page = await client.get("/desk/grid", params=question)
            took.append(1000 * (time.perf_counter() - begun))
            assert page.status_code == 200
            for address in re.findall(r'src="(/v1/queue/\w+/preview)"', page.text) if number % 20 == 0 else ():
                begun = time.perf_counter()
                await client.get(address)
                pictures.append(1000 * (time.perf_counter() - begun))
        others = [await _twice(client, f"/desk/{name}") for name in OTHERS]
        others.append(await _twice(client, f"/v1/queue/{service.review.now().items[rows // 2].id}/alike"))
    memory = (psutil.Process().memory_info().rss - before) / MIB
    return (f"{rows}", f"{there:.0f}", _told(took), _told(pictures), f"{memory:.0f}"), (f"{rows}", *others)


async def _twice(client: httpx.AsyncClient, address: str) -> str:
    took = []
    for _ in range(11):
        begun = time.perf_counter()
        assert (await client.get(address)).status_code == 200
        took.append(1000 * (time.perf_counter() - begun))
    return f"{took[0]:.0f} / {np.median(took[1:]):.0f}"


def _told(took: list[float]) -> str:
    return f"{np.median(took):.1f} / {np.quantile(took, 0.95):.1f} / {max(took):.1f}"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--asked", type=int, default=200)
    parser.add_argument("--decided", type=int, default=2000)
    asked = parser.parse_args()
    source = read_verdicts(asked.verdicts / "verdicts.parquet")
    table = Table("rows", "there, ms", "page, ms", "small picture, ms", "MiB", title=f"load {os.getloadavg()[0]:.1f}")
    second = Table("rows", *(f"{name}, ms" for name in (*OTHERS, "alike")))
    for rows in asked.rows:
        with tempfile.TemporaryDirectory(prefix="packshot-grid-") as scratch:
            folder = Path(scratch)
            os.environ["PACKSHOT_HOME"] = str(folder / "home")
            repeated(source, rows, folder / "plain.parquet")
            varied(folder / "plain.parquet", folder / "verdicts.parquet")
            lines = asyncio.run(measured(rows, asked.asked, min(asked.decided, rows // 2), folder))
            table.add_row(*lines[0])
            second.add_row(*lines[1])
    Console(width=120).print(table, second)


if __name__ == "__main__":
    main()
