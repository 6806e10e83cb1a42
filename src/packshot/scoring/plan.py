"""A batch cut into shards, on disk: `OUT/.shards/plan.sqlite`.

It holds every file of the batch in order, what the catalogue says of each, and the content-addressed id of each shard.
Files and catalogue go in as streams and come out a shard at a time, so that memory grows with neither. A plan is
written whole and renamed into place; from then on it is only read, by any number of processes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from packshot.catalog.shop.catalogue import Facts, open_catalog
from packshot.catalog.shop.matching import composed, match
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import OutputNotWritable, atomic_path, remove_unfinished
from packshot.progress import track
from packshot.relocation import present
from packshot.scoring.listing import BatchFile, BatchSource
from packshot.scoring.scorer import Scorer
from packshot.scoring.shards import ATTEMPTS, FOLDER, Shard, restart_manifest, shard_id, work_id
from packshot.scoring.writing import png_name

_SCHEMA = """
CREATE TABLE files (
    path TEXT, location BLOB, size INTEGER, modified_ns INTEGER, png TEXT, PRIMARY KEY (path, location)
) WITHOUT ROWID;
CREATE TABLE composed (name TEXT PRIMARY KEY, path TEXT) WITHOUT ROWID;
CREATE TABLE catalog (path TEXT PRIMARY KEY, facts TEXT) WITHOUT ROWID;
CREATE TABLE shards (number INTEGER PRIMARY KEY, id TEXT UNIQUE, path TEXT, location BLOB, files INTEGER);
CREATE TABLE plan (record TEXT);
"""
_FILES = """
SELECT f.path, f.location, f.size, f.modified_ns, c.facts FROM files f LEFT JOIN catalog c ON c.path = f.path
"""
_ORDER = " ORDER BY f.path, f.location"
_CACHE = -64 * 1024
"""Of SQLite while it builds a plan: 64 MiB."""


class NotPlanned(PackshotError):
    """The batch is not cut into shards, or was so for other rules, another model or other code."""


@dataclass(frozen=True)
class Plan:
    """A batch cut into shards numbered from 0. `id` changes with anything that can change a row, `work` with what can
    besides the files."""

    out: Path
    root: Path
    id: str
    work: str
    files: int
    shards: int

    def shard(self, number: int) -> Shard:
        """One shard with its files and what the catalogue says of them."""
        with _reading(self.out) as database:
            query = "SELECT id, path, location, files FROM shards WHERE number = ?"
            name, path, location, count = database.execute(query, (number,)).fetchone()
            query = f"{_FILES} WHERE (f.path, f.location) >= (?, ?) {_ORDER} LIMIT ?"
            files = tuple(_file(self.root, row) for row in database.execute(query, (path, location, count)))
            return Shard(files, _target(self.out, name), _taken(database, files))

    def targets(self) -> Iterator[Path]:
        """Where the rows of each shard go, in order."""
        for target, _ in self._targets():
            yield target

    def waiting(self, numbers: range) -> tuple[list[int], int]:
        """Of these shards those that are not finished, and how many files they hold."""
        shards = ((number, *shard) for number, shard in enumerate(self._targets()) if number in numbers)
        found = [(number, files) for number, target, files in shards if not target.is_file()]
        return [number for number, _ in found], sum(files for _, files in found)

    def parts(self, shards: int, most: int) -> list[range]:
        """Runs of `shards` consecutive shards, or more so that there are `most` of them at most; only those in which
        something is left to score."""
        size = max(shards, math.ceil(self.shards / most))
        waiting, _ = self.waiting(range(self.shards))
        return [range(n * size, min((n + 1) * size, self.shards)) for n in sorted({each // size for each in waiting})]

    def _targets(self) -> Iterator[tuple[Path, int]]:
        with _reading(self.out) as database:
            for name, files in database.execute("SELECT id, files FROM shards ORDER BY number"):
                yield _target(self.out, name), files


def make_plan(settings: Settings, source: BatchSource, out: Path, scorer: Scorer) -> Plan:
    """Cut a batch into shards of `scoring.shard_size` files in the order of their paths, and keep that in `out`.

    Of two rows of the catalogue for one path the first counts. Finished shards of another plan are dropped before the
    new plan stands: from then on their enhanced images may be overwritten. Call it as the sole writer of `out`.
    Raises CatalogUnreadable, OutputNotWritable.
    """
    target = _path(out)
    remove_unfinished(target)
    with atomic_path(target) as temporary, _building(target, temporary) as database:
        _take_files(database, source)
        if source.catalog is not None:
            _take_facts(database, source, settings)
        work = work_id(settings, scorer)
        plan = _cut(database, source, out, work, settings.scoring.shard_size)
        restart_manifest(out, scorer, plan.id, images=str(source.root))
        _drop_others(database, out)
        database.execute("INSERT INTO plan VALUES (?)", (_as_record(plan),))
    return plan


def open_plan(settings: Settings, out: Path, scorer: Scorer) -> Plan:
    """The plan in `out`. Raises NotPlanned where there is none, or where it is not of this model, code and rules."""
    if not _path(out).is_file():
        raise NotPlanned(f"{out} holds no plan of a batch; cut the batch into shards first")
    try:
        with _reading(out) as database:
            record = json.loads(database.execute("SELECT record FROM plan").fetchone()[0])
        plan = Plan(**(record | {"out": out, "root": present(Path(record["root"]))}))
    except (sqlite3.DatabaseError, KeyError, TypeError, ValueError) as error:
        raise NotPlanned(f"{_path(out)} is damaged ({error}); cut the batch into shards again") from error
    if plan.work != work_id(settings, scorer):
        raise NotPlanned(f"model, code or rules have changed since {out} was planned; cut the batch into shards again")
    return plan


def _path(out: Path) -> Path:
    return out / FOLDER / "plan.sqlite"


def _target(out: Path, name: str) -> Path:
    return out / FOLDER / f"{name}.parquet"


@contextmanager
def _reading(out: Path) -> Iterator[sqlite3.Connection]:
    # A plan never changes in place, so no lock is needed: those of SQLite are not to be relied on over a network.
    address = f"{_path(out).resolve().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(address, uri=True)) as database:
        yield database


@contextmanager
def full_disk_told(target: Path) -> Iterator[None]:
    """Raise OutputNotWritable where SQLite finds the disk full, or cannot write for another reason."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputNotWritable(target, OSError(errno.EIO, str(error))) from error


@contextmanager
def _building(target: Path, temporary: Path) -> Iterator[sqlite3.Connection]:
    with full_disk_told(target), closing(sqlite3.connect(temporary)) as database:
        # What a killed process leaves half-built is thrown away, so nothing has to be undone.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(f"PRAGMA cache_size = {_CACHE}")
        database.executescript(_SCHEMA)
        yield database
        database.commit()


def _take_files(database: sqlite3.Connection, source: BatchSource) -> None:
    def rows() -> Iterator[tuple[str, bytes, int, int, str]]:
        for file in track(source.files(), "listing", unit="files"):
            if (name := composed(file.path)) != file.path:
                database.execute("INSERT OR IGNORE INTO composed VALUES (?, ?)", (name, file.path))
            location = os.fsencode(file.location.relative_to(source.root))
            yield file.path, location, file.size, file.modified_ns, png_name(file.path)

    database.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?)", rows())
    database.execute("CREATE INDEX png_names ON files (png)")


def _take_facts(database: sqlite3.Connection, source: BatchSource, settings: Settings) -> None:
    assert source.catalog is not None
    for _ in match(open_catalog(source.catalog, settings.catalog), _PlannedFiles(database, source.address)):
        pass


@dataclass(frozen=True)
class _PlannedFiles:
    """The files of a plan that is being made, beside the rows of a catalogue: see `shop.matching.Files`."""

    database: sqlite3.Connection
    root: str

    def find(self, name: str) -> str | None:
        query = "SELECT path FROM files WHERE path = ?1 UNION ALL SELECT path FROM composed WHERE name = ?1 LIMIT 1"
        found = self.database.execute(query, (name,)).fetchone()
        return None if found is None else str(found[0])

    def take(self, path: str, facts: Facts) -> bool:
        row = path, json.dumps(facts)
        return self.database.execute("INSERT OR IGNORE INTO catalog VALUES (?, ?)", row).rowcount == 1

    def paths(self) -> Iterator[str]:
        return (path for (path,) in self.database.execute("SELECT path FROM files ORDER BY path"))

    def without_row(self) -> Iterator[str]:
        query = "SELECT path FROM files WHERE path NOT IN (SELECT path FROM catalog) ORDER BY path"
        return (path for (path,) in self.database.execute(query))


def _cut(database: sqlite3.Connection, source: BatchSource, out: Path, work: str, size: int) -> Plan:
    files = (_file(source.root, row) for row in database.execute(_FILES + _ORDER))
    digest, count, number = hashlib.sha256(), 0, 0
    while part := tuple(islice(files, size)):
        name = shard_id(part, _taken(database, part), work)
        first = os.fsencode(part[0].location.relative_to(source.root))
        database.execute("INSERT INTO shards VALUES (?, ?, ?, ?, ?)", (number, name, part[0].path, first, len(part)))
        digest.update(name.encode())
        count, number = count + len(part), number + 1
    return Plan(out, source.root, digest.hexdigest()[:32], work, count, number)


def _as_record(plan: Plan) -> str:
    return json.dumps({name: value for name, value in vars(plan).items() if name != "out"}, default=str)


def _drop_others(database: sqlite3.Connection, out: Path) -> None:
    """Remove shards of other plans, and what killed writers of shards left."""
    for path in (out / FOLDER).glob("*.parquet"):
        if not _is_planned(database, path.stem):
            path.unlink(missing_ok=True)
    for path in (out / FOLDER).glob(f"*{ATTEMPTS}"):
        if not _is_planned(database, path.stem) or _target(out, path.stem).is_file():
            path.unlink(missing_ok=True)


def _is_planned(database: sqlite3.Connection, name: str) -> bool:
    return database.execute("SELECT 1 FROM shards WHERE id = ?", (name,)).fetchone() is not None


def _file(root: Path, row: tuple[Any, ...]) -> BatchFile:
    path, location, size, modified_ns, facts = row
    return BatchFile(path, root / os.fsdecode(location), size, modified_ns, json.loads(facts) if facts else {})


def _taken(database: sqlite3.Connection, files: Iterable[BatchFile]) -> frozenset[str]:
    return frozenset(name for file in files for name in _spoken_for(database, file.path))


def _spoken_for(database: sqlite3.Connection, path: str) -> Iterable[str]:
    """Names that the enhanced image of a file may not take, of those it would try in turn."""
    query = "SELECT EXISTS (SELECT 1 FROM files WHERE path != ?1 AND (path = ?2 OR png = ?2))"
    name = png_name(path)
    if name == path:
        return
    while database.execute(query, (path, name)).fetchone()[0]:
        yield name
        name = f"{path}.png" if name == png_name(path) else f"{name}.png"
