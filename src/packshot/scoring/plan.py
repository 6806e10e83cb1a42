"""A batch cut into shards, on disk: `OUT/.shards/plan.sqlite`.

It holds every file of the batch in order, what the catalogue says of each, the content-addressed id of each shard, and
which verdicts of an earlier plan still hold. Files and catalogue go in as streams and come out a shard at a time, so
that memory grows with neither. A plan is written whole and renamed into place; from then on it is only read, by any
number of processes.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from packshot.catalog.shop.catalogue import Facts, open_catalog
from packshot.catalog.shop.matching import composed, match
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import atomic_path, remove_unfinished
from packshot.progress import track
from packshot.relocation import present
from packshot.scoring.earlier import check_none_gone, facts_text, keep_facts, keep_rows
from packshot.scoring.judging import Scorer
from packshot.scoring.listing import BatchFile, BatchSource
from packshot.scoring.plan_file import (
    A_RUN,
    EARLIER,
    IN_ORDER,
    batch_file,
    building,
    files_query,
    location_in,
    plan_path,
    reading,
    shard_path,
    taken_names,
)
from packshot.scoring.shards import (
    ATTEMPTS,
    FOLDER,
    KeptRow,
    OutputHolds,
    Shard,
    check_same_work,
    restart_manifest,
    shard_id,
    work_id,
    work_record,
)
from packshot.scoring.verdicts import VERDICTS
from packshot.scoring.writing import png_name


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
        """One shard with its files, what the catalogue says of them, and the rows that they have already."""
        with reading(self.out) as database:
            query = "SELECT name, path, location, files FROM shards WHERE number = ?"
            name, path, location, count = database.execute(query, (number,)).fetchone()
            found = database.execute(files_query() + A_RUN, (path, location, count))
            files = tuple(batch_file(self.root, row) for row in found)
            kept = self._kept(database, files)
            return Shard(files, shard_path(self.out, name), taken_names(database, files), kept)

    def _kept(self, database: sqlite3.Connection, files: Sequence[BatchFile]) -> dict[int, KeptRow]:
        query = "SELECT shard, row FROM kept WHERE path = ? AND location = ?"
        rows = (database.execute(query, (file.path, location_in(self.root, file))).fetchone() for file in files)
        found = {place: KeptRow(shard_path(self.out, row[0]), row[1]) for place, row in enumerate(rows) if row}
        there = {shard: shard.is_file() for shard in {row.shard for row in found.values()}}
        return {place: row for place, row in found.items() if there[row.shard]}

    def targets(self) -> Iterator[Path]:
        """Where the rows of each shard go, in order."""
        for target, _ in self._targets():
            yield target

    def waiting(self, numbers: range) -> tuple[list[int], int]:
        """Of these shards those that are not finished, and how many of their files are to be judged."""
        shards = ((number, *shard) for number, shard in enumerate(self._targets()) if number in numbers)
        found = [(number, files) for number, target, files in shards if not target.is_file()]
        return [number for number, _ in found], sum(files for _, files in found)

    def parts(self, shards: int, most: int) -> list[range]:
        """Runs of `shards` consecutive shards, or more so that there are `most` of them at most; only those in which
        something is left to score."""
        size = max(shards, math.ceil(self.shards / most))
        waiting, _ = self.waiting(range(self.shards))
        return [range(n * size, min((n + 1) * size, self.shards)) for n in sorted({each // size for each in waiting})]

    def drop_others(self) -> None:
        """Remove the shards of earlier plans whose rows were taken over. Call it where every shard is finished."""
        with reading(self.out) as database:
            _drop_but(self.out, partial(_has, database, "SELECT 1 FROM shards WHERE name = ?"))

    def _targets(self) -> Iterator[tuple[Path, int]]:
        with reading(self.out) as database:
            for name, waiting in database.execute("SELECT name, waiting FROM shards ORDER BY number"):
                yield shard_path(self.out, name), waiting


def make_plan(
    settings: Settings, source: BatchSource, out: Path, scorer: Scorer, *, named: str, drop_gone: bool = False
) -> Plan:
    """Cut a batch into shards of `scoring.shard_size` files at most, in the order of their paths, and keep it in `out`.

    Verdicts that are there stay: those of files that are as they were are taken over, facts that the catalogue no
    longer gives stand, and what would replace or drop others is refused, unless with `drop_gone` those of files that
    are gone; `named` is what the user calls the folder. Of two rows of the catalogue for one path the first counts.
    Shards whose rows no longer hold are dropped before the new plan stands: from then on their enhanced images may be
    overwritten. Call it as the sole writer of `out`. Raises CatalogUnreadable, OutputNotWritable, OutputHolds.
    """
    target = plan_path(out)
    record, work = work_record(settings, scorer), work_id(settings, scorer)
    check_same_work(out, record, named)
    earlier = out if _planned_before(out, work, named) else None
    remove_unfinished(target)
    with atomic_path(target) as temporary, building(target, temporary, earlier) as database:
        _take_files(database, source)
        if not drop_gone:
            check_none_gone(database, out, source, named)
        if source.catalog is not None:
            _take_facts(database, source, settings)
        if earlier is not None:
            keep_facts(database, named)
        plan = _cut(database, source, out, work, settings.scoring.shard_size, earlier is not None)
        if earlier is not None:
            keep_rows(database, out, source, int(settings.validation.max_file_mb * 1_000_000))
        restart_manifest(out, scorer, plan.id, record, str(source.root))
        used = "SELECT 1 FROM shards WHERE name = ?1 UNION ALL SELECT 1 FROM sources WHERE name = ?1"
        _drop_but(out, partial(_has, database, used))
        database.execute("INSERT INTO plan VALUES (?)", (_as_record(plan),))
    return plan


def _planned_before(out: Path, work: str, named: str) -> bool:
    """Whether `out` holds a plan of the same work. Raises OutputHolds where it has verdicts and no plan."""
    try:
        found = _open(out).work == work
    except NotPlanned as error:
        if (out / VERDICTS).is_file():
            raise OutputHolds(
                f"{named} holds verdicts, and what goes with them is lost: {error}. They are not replaced; choose "
                f"another output folder, for instance --out {named.rstrip('/')}-2"
            ) from error
        return False
    return found


def open_plan(settings: Settings, out: Path, scorer: Scorer) -> Plan:
    """The plan in `out`. Raises NotPlanned where there is none, or where it is not of this model, code and rules."""
    plan = _open(out)
    if plan.work != work_id(settings, scorer):
        raise NotPlanned(f"model, code or rules have changed since {out} was planned; cut the batch into shards again")
    return plan


def _open(out: Path) -> Plan:
    if not plan_path(out).is_file():
        raise NotPlanned(f"{out} holds no plan of a batch; cut the batch into shards first")
    try:
        with reading(out) as database:
            record = json.loads(database.execute("SELECT record FROM plan").fetchone()[0])
        return Plan(**(record | {"out": out, "root": present(Path(record["root"]))}))
    except (sqlite3.DatabaseError, KeyError, TypeError, ValueError) as error:
        raise NotPlanned(f"{plan_path(out)} is damaged ({error}); cut the batch into shards again") from error


def _take_files(database: sqlite3.Connection, source: BatchSource) -> None:
    def rows() -> Iterator[tuple[str, bytes, int, int, int, int, str]]:
        for file in track(source.files(), "listing", unit="files"):
            if (name := composed(file.path)) != file.path:
                database.execute("INSERT OR IGNORE INTO composed VALUES (?, ?)", (name, file.path))
            state = (file.size, file.modified_ns, file.changed_ns, file.inode)
            yield file.path, location_in(source.root, file), *state, png_name(file.path)

    database.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", rows())
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
        row = path, facts_text(facts)
        return self.database.execute("INSERT OR IGNORE INTO catalog VALUES (?, ?)", row).rowcount == 1

    def paths(self) -> Iterator[str]:
        return (path for (path,) in self.database.execute("SELECT path FROM files ORDER BY path"))

    def without_row(self) -> Iterator[str]:
        query = "SELECT path FROM files WHERE path NOT IN (SELECT path FROM catalog) ORDER BY path"
        return (path for (path,) in self.database.execute(query))


def _cut(database: sqlite3.Connection, source: BatchSource, out: Path, work: str, size: int, again: bool) -> Plan:
    files = (batch_file(source.root, row) for row in database.execute(files_query() + IN_ORDER))
    digest, count, number = hashlib.sha256(), 0, 0
    for part in _runs(files, size):
        identity = shard_id(part, taken_names(database, part), work)
        name = _name(database, identity) if again else identity
        first = (part[0].path, location_in(source.root, part[0]))
        row = (number, identity, name, *first, len(part), len(part))
        database.execute("INSERT INTO shards VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        digest.update(identity.encode())
        count, number = count + len(part), number + 1
    return Plan(out, source.root, digest.hexdigest()[:32], work, count, number)


def _runs(files: Iterable[BatchFile], size: int) -> Iterator[list[BatchFile]]:
    """Runs of `size` consecutive files at most. Where one ends is a matter of the name of its last file, so that a file
    more or less moves the ends next to it alone."""
    run: list[BatchFile] = []
    for file in files:
        run.append(file)
        named = int.from_bytes(hashlib.sha256(file.path.encode()).digest()[:8], "big")
        if len(run) == size or named % size == 0:
            yield run
            run = []
    if run:
        yield run


def _name(database: sqlite3.Connection, identity: str) -> str:
    """The name that the plan before gave a shard, else one that no shard has from which rows were taken over: such a
    shard may be of the same id, and hold rows of which the images have been written anew since."""
    found = database.execute(f"SELECT name FROM {EARLIER}.shards WHERE id = ?", (identity,)).fetchone()
    if found is not None:
        return str(found[0])
    name = identity
    while _has(database, f"SELECT 1 FROM {EARLIER}.sources WHERE name = ?", name):
        name = f"{name}r"
    return name


def _as_record(plan: Plan) -> str:
    return json.dumps({name: value for name, value in vars(plan).items() if name != "out"}, default=str)


def _drop_but(out: Path, is_used: partial[bool]) -> None:
    for path in (out / FOLDER).glob("*.parquet"):
        if not is_used(path.stem):
            path.unlink(missing_ok=True)
    for path in (out / FOLDER).glob(f"*{ATTEMPTS}"):
        if not is_used(path.stem) or shard_path(out, path.stem).is_file():
            path.unlink(missing_ok=True)


def _has(database: sqlite3.Connection, query: str, value: Any) -> bool:
    return database.execute(query, (value,)).fetchone() is not None
