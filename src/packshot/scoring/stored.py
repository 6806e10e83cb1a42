"""`packshot score` for batches and outputs in an object store: one shard at a time through a local spool.

An object store has no rename and no locks, but a PUT is atomic. A shard is finished where its object is there; its
enhanced images are put before it, `verdicts.parquet` after all shards, `manifest.json` last. Names of shards are hashes
of what is in them, so two processes that score the same batch with the same rules write the same rows twice.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pyarrow.parquet as pq

from packshot.catalog.leftovers import PassedOver
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import write_bytes
from packshot.home import Home
from packshot.progress import counting, say
from packshot.scoring.batch import ScoreReport, cut, report, score_shard
from packshot.scoring.bucket import Bucket, StoredObject, is_address
from packshot.scoring.duplicates import NOT_KNOWN, Known
from packshot.scoring.judging import Scorer
from packshot.scoring.listing import CATALOG_NAMES, BatchFile, BatchSource, EmptyBatch, open_batch
from packshot.scoring.merging import check_same_batch, is_merged, merge, named_images
from packshot.scoring.plan import Plan
from packshot.scoring.plan_file import plan_path
from packshot.scoring.rows import Work
from packshot.scoring.shards import FOLDER, Shard, sole_writer
from packshot.scoring.verdicts import VERDICTS
from packshot.scoring.writing import OutputIsInput, check_output_apart

AT_ONCE = 16
"""Transfers: each waits for the store most of the time."""
MANIFEST = f"{FOLDER}/manifest.json"


class NotOnRay(PackshotError):
    """The Ray engine does not read object stores."""

    exit_code = 2


@dataclass(frozen=True)
class StoredBatch(BatchSource):
    """A batch in an object store. Below `root` lies, under a hash for a name, what was fetched of it."""

    bucket: Bucket

    @property
    def address(self) -> str:
        return self.bucket.address

    def files(self) -> Iterator[BatchFile]:
        """Every object but hidden ones, the catalogue, the output where it lies inside, and `catalog.leftovers`."""
        passed = PassedOver()
        for found in self.bucket.objects():
            parts = found.name.split("/")
            hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
            folder = found.name.endswith("/") or not found.name  # as consoles leave them
            if hidden or folder or found.name in CATALOG_NAMES or self._is_output(found):
                continue
            if not passed.takes(found.name):
                yield BatchFile(found.name, self._location(found.name), found.size, found.modified_ns)
        passed.tell()

    def content_id(self, file: BatchFile, most: int) -> str | None:
        """As of a file: the object is read whole."""
        content = self.bucket.read(file.path, most + 1) if 0 < file.size <= most else None
        return hashlib.sha256(content).hexdigest() if content is not None and len(content) <= most else None

    def _is_output(self, found: StoredObject) -> bool:
        return any(f"{self.bucket.prefix}/{found.name}".startswith(f"{place}/") for place in self.leave_out)

    def _location(self, name: str) -> Path:
        path = PurePosixPath(name)
        plain = name != "." and path.as_posix() == name and "\0" not in name
        inside = plain and not path.is_absolute() and ".." not in path.parts
        # a name that is no path below a folder is refused as one that leads out of it
        folder = self.root if inside else self.root / ".."
        return folder / hashlib.sha256(name.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Inputs:
    """The files of a batch, brought here for as long as a shard is scored."""

    source: BatchSource
    most_bytes: int

    @contextmanager
    def fetched(self, shard: Shard) -> Iterator[None]:
        """Have the files of a shard that are to be judged below the root of the source; one that is gone is missing."""
        if not isinstance(self.source, StoredBatch):
            yield
            return
        files = [file for file in shard.waiting if file.location.parent == self.source.root]
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self._fetch, files))
            yield
        finally:
            for file in files:
                file.location.unlink(missing_ok=True)

    def _fetch(self, file: BatchFile) -> None:
        assert isinstance(self.source, StoredBatch)
        content = self.source.bucket.read(file.path, self.most_bytes) if file.size else b""
        if content is not None:
            write_bytes(file.location, content)


@dataclass(frozen=True)
class Outputs:
    """The output folder: `local`, and with a `bucket` only on the way there."""

    local: Path
    bucket: Bucket | None

    def begin(self) -> None:
        """Have here what the store knows of the batch, and nothing else: manifest, verdicts, plan and shards."""
        if self.bucket is None:
            return
        plan = plan_path(self.local)
        for path in (self.local / MANIFEST, self.local / VERDICTS, plan):
            if self.bucket.has(self._name(path)):
                self.bucket.fetch(self._name(path), path)
            else:
                path.unlink(missing_ok=True)
        there = set(self._shards()) if plan.is_file() else set()
        for path in plan.parent.glob("*.parquet"):
            if self._name(path) not in there:
                path.unlink()  # its images may be gone, or were never put
        for name in there:
            if not (self.local / name).is_file():
                self.bucket.fetch(name, self.local / name)

    def resume(self, plan: Plan) -> None:
        """Let the store know the plan, and remove from it the shards that are not needed any more."""
        if self.bucket is None:
            return
        self._remove_shards_but(plan)
        self._put(plan_path(plan.out))
        self._put(self.local / MANIFEST)

    def commit(self, shard: Shard) -> None:
        """Put a scored shard: its new images first."""
        if self.bucket is None:
            return
        images = pq.read_table(shard.target, columns=["enhanced_path"])["enhanced_path"].drop_null().to_pylist()
        new = [name for name in images if (self.local / name).is_file()]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self._put(self.local / name), new))
        self._put(shard.target)
        for name in new:
            (self.local / name).unlink()

    def finish(self, plan: Plan) -> None:
        """Put the verdicts, remove images that no row names, then say that it is finished."""
        if self.bucket is None:
            return
        self._put(self.local / VERDICTS)
        self._remove_shards_but(plan)
        with named_images(self.local / VERDICTS) as is_named:
            for found in self.bucket.objects("enhanced/"):
                if not is_named(found.name):
                    self.bucket.remove(found.name)
        self._put(self.local / MANIFEST)

    def _remove_shards_but(self, plan: Plan) -> None:
        """Of the shards in the store leave those of the plan, by whomever, and those that are still here."""
        assert self.bucket is not None
        planned = set(map(self._name, plan.targets()))
        for name in self._shards():
            if name not in planned and not (self.local / name).is_file():
                self.bucket.remove(name)

    def _shards(self) -> Iterator[str]:
        assert self.bucket is not None
        return (found.name for found in self.bucket.objects(f"{FOLDER}/") if found.name.endswith(".parquet"))

    def _put(self, path: Path) -> None:
        assert self.bucket is not None
        self.bucket.put(path, self._name(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.local).as_posix()


def score_stored(
    settings: Settings,
    directory: str,
    out: str,
    *,
    scorer: Scorer,
    batch_id: str | None = None,
    catalog: Path | None = None,
    known: Known = NOT_KNOWN,
    drop_gone: bool = False,
) -> ScoreReport:
    """`batch.score` where the folder of the images, the output, or both are addresses in an object store.

    Below PACKSHOT_HOME/spool lie meanwhile the plan, the rows and the images of one shard. Raises StoreFailed,
    NotOnRay, and what `batch.score` raises.
    """
    if settings.scoring.engine == "ray":
        raise NotOnRay("the Ray engine needs a disk that all nodes share; score object stores with --engine local")
    spool = Home.from_environment().spool / hashlib.sha256(f"{directory}\n{out}".encode()).hexdigest()[:16]
    bucket = Bucket.open(out) if is_address(out) else None
    outputs = Outputs(spool / "out" if bucket is not None else Path(out), bucket)
    most_bytes = int(settings.validation.max_file_mb * 1_000_000) + 1  # one more shows that it is too large
    bounds = scorer.bounds(settings.scoring)
    settings = bounds.applied(settings)
    with sole_writer(outputs.local):
        inputs = Inputs(_source(directory, out, spool, outputs.local, catalog), most_bytes)
        outputs.begin()
        check_same_batch(outputs.local, batch_id, out)
        plan = cut(settings, inputs.source, outputs.local, scorer, out, drop_gone=drop_gone)
        waiting, files = plan.waiting(range(plan.shards))
        merged = not waiting and is_merged(plan, known)
        if merged:
            say(f"{out} is finished: {plan.files} rows by {scorer.lineage.label()}; nothing to do")
        else:
            outputs.resume(plan)
            say(f"decisions: {bounds}")
            _score_waiting(Work(settings, plan.root, outputs.local, scorer), plan, inputs, outputs)
            merge(plan, settings, scorer, batch_id, bounds, known)
            outputs.finish(plan)
        done = report(plan, scorer, plan.shards - len(waiting), files, merged)
        shutil.rmtree(spool, ignore_errors=True)
    return replace(done, verdicts=f"{bucket.address}/{VERDICTS}") if bucket is not None else done


def _score_waiting(work: Work, plan: Plan, inputs: Inputs, outputs: Outputs) -> None:
    """Score the shards that are not finished."""
    waiting, files = plan.waiting(range(plan.shards))
    if waiting:
        _ = work.scorer.judge  # a model that does not load ends the run, not each image
    with counting("scoring", files) as advance:
        for number in waiting:
            shard = plan.shard(number)
            with inputs.fetched(shard):
                score_shard(work, shard, advance)
            outputs.commit(shard)


def _source(directory: str, out: str, spool: Path, local: Path, catalog: Path | None) -> BatchSource:
    if not is_address(directory):
        check_output_apart(Path(directory), local)
        return open_batch(Path(directory), local, catalog)
    bucket, root = Bucket.open(directory), spool / "images"
    root.mkdir(parents=True, exist_ok=True)
    output = Bucket.open(out).prefix if is_address(out) else None
    if output is not None and f"{bucket.prefix}/".startswith((f"{output}/enhanced/", f"{output}/{FOLDER}/")):
        raise OutputIsInput(f"{directory} lies in what {out} is written to; choose another one")
    if output == bucket.prefix:
        raise OutputIsInput(f"the output folder {out} must not be the folder of the images; choose another one")
    if catalog is None and (beside := next(filter(bucket.has, CATALOG_NAMES), None)) is not None:
        catalog = spool / beside
        bucket.fetch(beside, catalog)
    source = StoredBatch(root.resolve(), catalog, frozenset(filter(None, [output])), bucket)
    if next(source.files(), None) is None:
        raise EmptyBatch(f"{directory} holds no objects to work on (hidden ones and the catalogue do not count)")
    return source
