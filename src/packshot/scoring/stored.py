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

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.evaluation.thresholds import in_force
from packshot.files import write_bytes
from packshot.home import Home
from packshot.progress import counting, say
from packshot.scoring.batch import ScoreReport, cut, report, score_shard
from packshot.scoring.bucket import Bucket, StoredObject, is_address
from packshot.scoring.listing import CATALOG_NAMES, BatchFile, BatchSource, EmptyBatch, open_batch
from packshot.scoring.merging import VERDICTS, is_merged, merge, named_images
from packshot.scoring.plan import Plan
from packshot.scoring.rows import Work
from packshot.scoring.scorer import Scorer
from packshot.scoring.shards import FOLDER, Shard, sole_writer
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
        """Every object but hidden ones, the catalogue, and the output where it lies inside."""
        for found in self.bucket.objects():
            parts = found.name.split("/")
            hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
            folder = found.name.endswith("/") or not found.name  # as consoles leave them
            if not (hidden or folder or found.name in CATALOG_NAMES or self._is_output(found)):
                yield BatchFile(found.name, self._location(found.name), found.size, found.modified_ns)

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
        """Have the files of a shard below the root of the source; one that is gone is missing."""
        if not isinstance(self.source, StoredBatch):
            yield
            return
        files = [file for file in shard.files if file.location.parent == self.source.root]
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
        """Learn which model and plan the store holds."""
        if self.bucket is not None and self.bucket.has(MANIFEST):
            self.bucket.fetch(MANIFEST, self.local / MANIFEST)

    def resume(self, plan: Plan) -> None:
        """Have here the shards of the plan that the store has and no others; remove from it those of other plans."""
        if self.bucket is None:
            return
        self._put(self.local / MANIFEST)
        others = {found.name for found in self.bucket.objects(f"{FOLDER}/") if found.name.endswith(".parquet")}
        for target in plan.targets():
            name = self._name(target)
            if name not in others:
                target.unlink(missing_ok=True)  # its images may be gone, or were never put
            elif not target.is_file():
                self.bucket.fetch(name, target)
            others.discard(name)
        for name in others:
            self.bucket.remove(name)

    def commit(self, shard: Shard) -> None:
        """Put a scored shard: its images first."""
        if self.bucket is None:
            return
        images = pq.read_table(shard.target, columns=["enhanced_path"])["enhanced_path"].drop_null().to_pylist()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self._put(self.local / name), images))
        self._put(shard.target)
        for name in images:
            (self.local / name).unlink()

    def bring_verdicts(self) -> None:
        """Have the verdicts here where the store has them."""
        if self.bucket is not None and self.bucket.has(VERDICTS):
            self.bucket.fetch(VERDICTS, self.local / VERDICTS)

    def finish(self) -> None:
        """Put the verdicts, remove images that no row names, then say that it is finished."""
        if self.bucket is None:
            return
        self._put(self.local / VERDICTS)
        with named_images(self.local / VERDICTS) as is_named:
            for found in self.bucket.objects("enhanced/"):
                if not is_named(found.name):
                    self.bucket.remove(found.name)
        self._put(self.local / MANIFEST)

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
    known: Path | None = None,
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
    bounds = in_force(settings.scoring, scorer.rated)
    settings = bounds.applied(settings)
    with sole_writer(outputs.local):
        inputs = Inputs(_source(directory, out, spool, outputs.local, catalog), most_bytes)
        outputs.begin()
        plan = cut(settings, inputs.source, outputs.local, scorer)
        outputs.bring_verdicts()
        merged = is_merged(plan, batch_id)
        found = plan.shards
        if merged:
            say(f"{out} is finished: {plan.files} rows by {scorer.lineage.label()}; nothing to do")
        else:
            outputs.resume(plan)
            say(f"decisions: {bounds}")
            found -= _score_waiting(Work(settings, plan.root, outputs.local, scorer), plan, inputs, outputs)
            merge(plan, settings, scorer, batch_id, bounds, known)
            outputs.finish()
        done = report(plan, scorer, found, merged)
        shutil.rmtree(spool, ignore_errors=True)
    return replace(done, verdicts=f"{bucket.address}/{VERDICTS}") if bucket is not None else done


def _score_waiting(work: Work, plan: Plan, inputs: Inputs, outputs: Outputs) -> int:
    """Score the shards that are not finished; returns how many there were."""
    waiting, files = plan.waiting(range(plan.shards))
    if waiting:
        _ = work.scorer.judge  # a model that does not load ends the run, not each image
    with counting("scoring", files) as advance:
        for number in waiting:
            shard = plan.shard(number)
            with inputs.fetched(shard):
                score_shard(work, shard, advance)
            outputs.commit(shard)
    return len(waiting)


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
