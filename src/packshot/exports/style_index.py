"""Which pictures look alike in style: an approximate index of style vectors, by cosine, one for each model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from packshot.config import SimilarSettings
from packshot.errors import PackshotError
from packshot.exports.copies import Copies, copies_in
from packshot.exports.output import OutputTaken, put_right, safe_name
from packshot.exports.source import VERDICTS, VerdictFile, VerdictsMixed, one_model
from packshot.files import atomic_folder, write_json
from packshot.home import Home
from packshot.lock import held
from packshot.scoring.decisions import SHOWN
from packshot.serving.batches import DECISIONS

Floats = NDArray[np.float32]
GRAPH, ROWS, RECORD = "index.usearch", "rows.parquet", "index.json"
WAIT_S = 600.0
"""Another process may be bringing the same index up to date; who comes second waits this long."""
EXACT_UP_TO = 5000
"""Where a filter leaves no more pictures than this, all of them are compared."""
WIDEN = 4
FACTS = ("batch_id", "path", "sku", "category", "style", "decision")
ROW_SCHEMA = pa.schema([pa.field("key", pa.uint64(), nullable=False), *(pa.field(name, pa.string()) for name in FACTS)])


class IndexMissing(PackshotError):
    """There is no index in the folder, or it cannot be read."""

    exit_code = 66


class DecisionUnknown(PackshotError):
    """A filter names a decision that no verdict has."""

    exit_code = 2


@dataclass(frozen=True)
class Wanted:
    """What to find: how many, of which categories (none: all) and decisions. Raises DecisionUnknown."""

    count: int = 10
    categories: tuple[str, ...] = ()
    decisions: tuple[str, ...] = SHOWN

    def __post_init__(self) -> None:
        unknown = [name for name in self.decisions if name not in DECISIONS]
        if unknown:
            raise DecisionUnknown(f"there is no decision {unknown[0]!r}; there are {', '.join(DECISIONS)}")


@dataclass(frozen=True)
class Hit:
    """A picture of the index. `similarity` is the cosine of the style vectors, -1..1."""

    similarity: float
    batch_id: str
    path: str
    sku: str | None
    category: str | None
    style: str | None
    decision: str

    def as_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class IndexReport:
    """What an update did: batches read, pictures in the index now, pictures taken out of it."""

    index: Path
    model: str
    batches_read: int
    pictures: int
    removed: int

    @property
    def changed(self) -> bool:
        """Whether anything was to do."""
        return self.batches_read > 0

    def as_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self) | {"index": str(self.index)}


def index_folder(model: str) -> Path:
    """Where the index of a model lies by default."""
    return Home.from_environment().similar / safe_name(model)


def update(rules: SimilarSettings, files: Sequence[VerdictFile], folder: Path) -> IndexReport:
    """Bring the pictures of `files` into the index in `folder`, which is made where it is missing.

    A batch that is in it as it is now is not read again; one that was scored anew takes the place of its earlier rows.
    The folder is replaced whole: readers see the old index or the new one. Raises VerdictsMixed where the index or the
    verdicts are of another model, IndexMissing for a damaged one, OutputTaken.
    """
    model = one_model(files)
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    busy = OutputTaken(f"another process has been writing the index {folder} for {WAIT_S:g} s; try again")
    with held(f"index-{name}", WAIT_S, busy):
        put_right(folder, ROWS)
        there = open_index(folder, rules, view=False) if (folder / RECORD).exists() else None
        if there is not None and there.model != model:
            raise VerdictsMixed(
                f"{folder} holds vectors of {there.model}, the verdicts are of {model}; two models' style vectors "
                "cannot be compared: name another folder with --index"
            )
        known = there.record["batches"] if there is not None else {}
        waiting = [file for file in files if known.get(file.batch_id) != _stamp(file)]
        if not waiting and there is not None:
            return IndexReport(folder, model, 0, len(there.rows), 0)
        return _write(rules, there, waiting, copies_in(files), folder, model)


def open_index(folder: Path, rules: SimilarSettings, *, view: bool = True) -> StyleIndex:
    """The index in `folder`, read from disk as it is needed (`view`), or whole to be changed. Raises IndexMissing."""
    if not (folder / RECORD).is_file():
        raise IndexMissing(f"{folder} holds no index; make one with `packshot index --verdicts DIR`")
    from usearch.index import Index

    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        rows = pq.read_table(folder / ROWS, schema=ROW_SCHEMA)
        graph = Index.restore(folder / GRAPH, view=view)
        complete = {"model", "batches", "next_key"} <= record.keys()
        if graph is None or not complete or (len(graph), graph.ndim) != (rows.num_rows, record["dimensions"]):
            raise ValueError("its parts do not fit together")
        graph.expansion_search = rules.expansion_search
        return StyleIndex(folder, record, rows, graph)
    except (OSError, ValueError, KeyError, RuntimeError, pa.ArrowInvalid) as error:
        raise IndexMissing(f"the index in {folder} cannot be read ({error}); remove it and make it anew") from error


class StyleIndex:
    """Style vectors of one model's pictures with what is known of each; keys rise with the rows."""

    def __init__(self, folder: Path, record: dict[str, Any], rows: pa.Table, graph: Any) -> None:
        self.folder, self.record, self.rows, self.graph = folder, record, rows, graph
        self._keys: NDArray[np.uint64] = rows["key"].to_numpy()

    @property
    def model(self) -> str:
        """The model whose vectors these are."""
        return str(self.record["model"])

    @property
    def version(self) -> str | None:
        """The number of that model's version; None for a bundle that was never registered."""
        _, found, number = self.model.rpartition(" version ")
        return number if found else None

    def key_of(self, path: str) -> int | None:
        """The key of a picture by its `path`, or `BATCH/path`; of two with one path the later. None where it is not."""
        full = pc.binary_join_element_wise(self.rows["batch_id"], self.rows["path"], "/")
        found = self._keys[pc.or_(pc.equal(self.rows["path"], path), pc.equal(full, path)).to_numpy()]
        return int(found[-1]) if len(found) else None

    def vector_of(self, key: int) -> Floats:
        """The style vector of a picture in the index."""
        return np.asarray(self.graph.get(key, dtype=np.float32)).reshape(-1)

    def search(self, vector: Floats, wanted: Wanted, but: int | None = None) -> list[Hit]:
        """The pictures nearest to a style vector, nearest first; `but` names one to leave out.

        Where the filters leave few, all of those are compared; otherwise the graph is asked for more until enough pass.
        Raises VerdictsMixed for a vector of another length.
        """
        if vector.shape != (self.graph.ndim,):
            raise VerdictsMixed(
                f"a vector of {vector.shape} is not of {self.model}, which has {self.graph.ndim} numbers"
            )
        allowed = self._allowed(wanted, but)
        few = int(allowed.sum())
        near = self._compare_all(vector, allowed) if few <= EXACT_UP_TO else self._ask(vector, wanted.count, allowed)
        found = sorted(near, key=lambda pair: (-pair[1], pair[0]))[: wanted.count]
        facts = self.rows.take(pa.array([place for place, _ in found], pa.int64())).drop_columns(["key"]).to_pylist()
        return [Hit(similarity, **row) for (_, similarity), row in zip(found, facts, strict=True)]

    def _allowed(self, wanted: Wanted, but: int | None) -> NDArray[np.bool_]:
        allowed = pc.is_in(self.rows["decision"], value_set=pa.array(wanted.decisions, pa.string()))
        if wanted.categories:
            in_category = pc.is_in(self.rows["category"], value_set=pa.array(wanted.categories, pa.string()))
            allowed = pc.and_(allowed, in_category)
        mask = np.asarray(allowed.to_numpy(), dtype=bool)
        return mask if but is None else mask & (self._keys != but)

    def _compare_all(self, vector: Floats, allowed: NDArray[np.bool_]) -> list[tuple[int, float]]:
        places = np.flatnonzero(allowed)
        if not len(places):
            return []
        vectors = np.asarray(self.graph.get(self._keys[places], dtype=np.float32)).reshape(len(places), -1)
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
        cosines = vectors @ vector / np.maximum(lengths, 1e-12)
        return list(zip(places.tolist(), cosines.tolist(), strict=True))

    def _ask(self, vector: Floats, count: int, allowed: NDArray[np.bool_]) -> list[tuple[int, float]]:
        asked = count + 1
        while True:
            matches = self.graph.search(vector, min(asked, len(self.rows)))
            places = np.searchsorted(self._keys, matches.keys)
            passed = allowed[places]
            if passed.sum() >= count or asked >= len(self.rows):
                near = 1.0 - np.asarray(matches.distances, dtype=float)[passed]
                return list(zip(places[passed].tolist(), near.tolist(), strict=True))
            asked *= WIDEN


def _write(
    rules: SimilarSettings,
    there: StyleIndex | None,
    waiting: Sequence[VerdictFile],
    copies: Copies,
    folder: Path,
    model: str,
) -> IndexReport:
    graph = there.graph if there is not None else None
    kept, removed = _without(there, [file.batch_id for file in waiting])
    key = int(there.record["next_key"]) if there is not None else 0
    batches = dict(there.record["batches"]) if there is not None else {}
    with atomic_folder(folder) as building:
        with pq.ParquetWriter(building / ROWS, ROW_SCHEMA, compression="zstd") as writer:
            writer.write_table(kept)
            for file in waiting:
                for rows, vectors in _indexed(file, copies):
                    graph = graph if graph is not None else _new_graph(rules, vectors.shape[1])
                    keys = np.arange(key, key + len(vectors), dtype=np.uint64)
                    graph.add(keys, vectors, threads=1)  # together, threads leave some vectors that no search reaches
                    writer.write_batch(pa.RecordBatch.from_arrays([pa.array(keys), *rows.columns], schema=ROW_SCHEMA))
                    key += len(vectors)
                batches[file.batch_id] = _stamp(file)
        if graph is None:
            raise IndexMissing("none of the pictures has a style vector, so there is nothing to index")
        graph.save(building / GRAPH)
        record = {"model": model, "dimensions": graph.ndim, "next_key": key, "batches": batches}
        write_json(building / RECORD, record)
        pictures = len(graph)
    return IndexReport(folder, model, len(waiting), pictures, removed)


def _new_graph(rules: SimilarSettings, dimensions: int) -> Any:
    from usearch.index import Index

    return Index(
        ndim=dimensions,
        metric="cos",
        dtype="f16",
        connectivity=rules.connectivity,
        expansion_add=rules.expansion_add,
        expansion_search=rules.expansion_search,
    )


def _without(there: StyleIndex | None, batches: Sequence[str]) -> tuple[pa.Table, int]:
    """The rows of other batches; those of `batches` are taken out of the graph."""
    if there is None:
        return ROW_SCHEMA.empty_table(), 0
    gone = pc.is_in(there.rows["batch_id"], value_set=pa.array(batches, pa.string()))
    keys = there.rows["key"].filter(gone).to_numpy()
    if len(keys):
        there.graph.remove(keys)
    return there.rows.filter(pc.invert(gone)), len(keys)


def _indexed(file: VerdictFile, copies: Copies) -> Any:
    """Facts (columns FACTS) and style vectors (rows x dimensions) of the pictures that belong in the index."""
    for batch in copies.batches(file, (*FACTS, "style_vector", "duplicate_of", "error")):
        usable = pc.and_(pc.is_null(batch.column("error")), pc.is_null(batch.column("duplicate_of")))
        usable = pc.and_(usable, pc.is_valid(batch.column("style_vector")))
        rows = batch.filter(usable)
        if rows.num_rows:
            vectors = rows.column("style_vector").flatten().to_numpy(zero_copy_only=False)
            yield rows.select(FACTS), np.asarray(vectors, dtype=np.float32).reshape(rows.num_rows, -1)


def _stamp(file: VerdictFile) -> str:
    status = (file.folder / VERDICTS).stat()
    return f"{status.st_size} {status.st_mtime_ns}"
