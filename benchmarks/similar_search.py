"""How much the approximate search for similar styles misses, and what it saves, beside comparing everything.

    python benchmarks/similar_search.py --vectors models/packshot/reference.parquet [--pictures 100000]

`vectors` is a Parquet file with a column `style_vector` of real pictures (a bundle's reference, or verdicts). As
many as asked for are made from them: each lies between a real picture and one of its ten nearest, with noise of a
tenth of their distance. They go into the index as verdict files do, in ten batches, the last one by itself. Queries
are made in the same way and are not in the index. Printed: seconds to build and to add a tenth, size on disk, peak
memory, and for several widths of the search the share of the true ten nearest that it finds and the time for a query,
beside exact search; the same with a category that one picture in ten has, and one that one in a hundred has.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from packshot.config import SimilarSettings, load_settings
from packshot.exports.source import open_verdicts
from packshot.exports.style_index import Floats, StyleIndex, Wanted, open_index, update
from packshot.scoring.verdicts import VERDICT_SCHEMA

NEAREST, BATCHES, FOUND = 10, 10, 10
CATEGORIES = {"any": 1.0, "one in ten": 0.1, "one in a hundred": 0.01}


def like(real: Floats, count: int, luck: np.random.Generator) -> Floats:
    """`count` unit vectors between real ones and their near neighbours; rows x dimensions."""
    cosines = real @ real.T
    np.fill_diagonal(cosines, -np.inf)
    near = np.argpartition(-cosines, NEAREST, axis=1)[:, :NEAREST]
    first = luck.integers(0, len(real), count)
    second = near[first, luck.integers(0, NEAREST, count)]
    part = luck.uniform(0, 1, (count, 1)).astype(np.float32)
    between = real[second] - real[first]
    spread = 0.1 * np.linalg.norm(between, axis=1, keepdims=True) / np.sqrt(real.shape[1])
    made = real[first] + part * between + spread * luck.standard_normal((count, real.shape[1]), dtype=np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


def write_batch(folder: Path, vectors: Floats, categories: Sequence[str]) -> Path:
    """A verdict file with these style vectors; all that the index does not read is null."""
    count = len(vectors)
    known = {
        "path": pa.array([f"{i:06d}.jpg" for i in range(count)]),
        "category": pa.array(categories),
        "decision": pa.array(["accept"] * count),
        "batch_id": pa.array([folder.name] * count),
        "model_version": pa.array([1] * count),
        "style_vector": pa.array(list(vectors), type=VERDICT_SCHEMA.field("style_vector").type),
    }
    columns = [known[f.name].cast(f.type) if f.name in known else pa.nulls(count, f.type) for f in VERDICT_SCHEMA]
    folder.mkdir(parents=True)
    schema = pa.schema([field.with_nullable(True) for field in VERDICT_SCHEMA])
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), folder / "verdicts.parquet")
    return folder


def nearest_of_all(vectors: Floats, queries: Floats, allowed: np.ndarray) -> tuple[list[set[int]], float]:
    """The true nearest among the rows allowed for each query, and milliseconds for one."""
    rows = np.flatnonzero(allowed)
    begun = time.perf_counter()
    found = []
    for query in queries:
        cosines = vectors[rows] @ query if len(rows) < len(vectors) else vectors @ query
        found.append(set(rows[np.argpartition(-cosines, FOUND)[:FOUND]].tolist()))
    return found, 1000 * (time.perf_counter() - begun) / len(queries)


def searched(index: StyleIndex, queries: Floats, wanted: Wanted, size: int) -> tuple[list[set[int]], float]:
    """What the index finds, as rows, and milliseconds for one query."""
    begun = time.perf_counter()
    found = []
    for query in queries:
        hits = index.search(query, wanted)
        found.append({int(hit.batch_id) * size + int(hit.path.removesuffix(".jpg")) for hit in hits})
    return found, 1000 * (time.perf_counter() - begun) / len(queries)


def timed(step: Callable[[], object]) -> float:
    """Seconds that a step takes."""
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def build(vectors: Floats, categories: np.ndarray, root: Path, rules: SimilarSettings) -> Path:
    """Index the vectors as ten batches and print what it took."""
    size = len(vectors) // BATCHES
    parts = [slice(part * size, (part + 1) * size) for part in range(BATCHES)]
    folders = [write_batch(root / f"{i}", vectors[part], categories[part]) for i, part in enumerate(parts)]
    files, index = open_verdicts(folders), root / "index"
    print(f"{(BATCHES - 1) * size} pictures indexed in {timed(lambda: update(rules, files[:-1], index)):.1f} s")
    print(f"{size} more in {timed(lambda: update(rules, files, index)):.1f} s")
    megabytes = sum(path.stat().st_size for path in index.iterdir()) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"index: {megabytes:.0f} MB on disk; peak memory {peak:.0f} MB")
    return index


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=300)
    asked = parser.parse_args()
    luck, rules = np.random.default_rng(17), load_settings().exports.similar
    column = pq.read_table(asked.vectors, columns=["style_vector"])["style_vector"].drop_null()
    real = np.stack(column.to_pylist()).astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    vectors = like(real, asked.pictures // BATCHES * BATCHES, luck)
    queries = like(real, asked.queries, luck)
    shares = [share for name, share in CATEGORIES.items() if name != "any"]
    names = [name for name in CATEGORIES if name != "any"]
    categories = luck.choice([*names, "rest"], len(vectors), p=[*shares, 1 - sum(shares)])
    print(f"{len(vectors)} vectors of {real.shape[1]} numbers made from {len(real)} real ones")
    table = Table(
        "category", "search width", "recall@10", "ms a query", "exact, ms a query", title=f"n = {len(queries)}"
    )
    with tempfile.TemporaryDirectory(prefix="packshot-similar-") as scratch:
        os.environ["PACKSHOT_HOME"] = scratch
        folder = build(vectors, categories, Path(scratch), rules)
        for name in CATEGORIES:
            allowed = np.ones(len(vectors), dtype=bool) if name == "any" else categories == name
            truth, exact_ms = nearest_of_all(vectors, queries, allowed)
            for width in (32, 64, 128, 256):
                index = open_index(folder, rules.model_copy(update={"expansion_search": width}))
                wanted = Wanted(FOUND, () if name == "any" else (name,))
                found, ms = searched(index, queries, wanted, len(vectors) // BATCHES)
                recall = np.mean([len(one & other) / FOUND for one, other in zip(truth, found, strict=True)])
                table.add_row(name, str(width), f"{recall:.3f}", f"{ms:.2f}", f"{exact_ms:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
