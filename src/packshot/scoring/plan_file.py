"""The SQLite file behind a plan: its tables, and how they are written once and then read by any number of processes."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from packshot.files import OutputNotWritable
from packshot.scoring.listing import BatchFile
from packshot.scoring.shards import FOLDER
from packshot.scoring.writing import png_name

_SCHEMA = """
CREATE TABLE files (
    path TEXT, location BLOB, size INTEGER, modified_ns INTEGER, changed_ns INTEGER, inode INTEGER, png TEXT,
    PRIMARY KEY (path, location)
) WITHOUT ROWID;
CREATE TABLE composed (name TEXT PRIMARY KEY, path TEXT) WITHOUT ROWID;
CREATE TABLE catalog (path TEXT PRIMARY KEY, facts TEXT) WITHOUT ROWID;
CREATE TABLE shards (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE, name TEXT UNIQUE, path TEXT, location BLOB, files INTEGER,
    waiting INTEGER, UNIQUE (path, location)
);
CREATE TABLE kept (
    path TEXT, location BLOB, shard TEXT, row INTEGER, content TEXT, PRIMARY KEY (path, location)
) WITHOUT ROWID;
CREATE TABLE sources (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE plan (record TEXT);
"""
_CACHE = -64 * 1024
"""Of SQLite while it builds a plan: 64 MiB."""
EARLIER = "earlier"
"""The schema under which the plan before is attached while a new one is built."""


def plan_path(out: Path) -> Path:
    """Where the plan of an output folder lies."""
    return out / FOLDER / "plan.sqlite"


def shard_path(out: Path, name: str) -> Path:
    """Where the rows of a shard go."""
    return out / FOLDER / f"{name}.parquet"


@contextmanager
def reading(out: Path) -> Iterator[sqlite3.Connection]:
    """The plan of an output folder, which never changes in place."""
    with closing(sqlite3.connect(_unlocked(plan_path(out)), uri=True)) as database:
        yield database


def _unlocked(path: Path) -> str:
    # No lock is needed, and those of SQLite are not to be relied on over a network.
    return f"{path.resolve().as_uri()}?mode=ro&immutable=1"


@contextmanager
def full_disk_told(target: Path) -> Iterator[None]:
    """Raise OutputNotWritable where SQLite finds the disk full, or cannot write for another reason."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputNotWritable(target, OSError(errno.EIO, str(error))) from error


@contextmanager
def building(target: Path, temporary: Path, earlier: Path | None) -> Iterator[sqlite3.Connection]:
    """An empty plan in `temporary`, with the one of the output folder `earlier` attached, where given."""
    with full_disk_told(target), closing(sqlite3.connect(temporary.resolve().as_uri(), uri=True)) as database:
        # What a killed process leaves half-built is thrown away, so nothing has to be undone.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(f"PRAGMA cache_size = {_CACHE}")
        if earlier is not None:
            database.execute(f"ATTACH ? AS {EARLIER}", (_unlocked(plan_path(earlier)),))
        database.executescript(_SCHEMA)
        yield database
        database.commit()


def files_query(schema: str = "main") -> str:
    """SELECT of files with what the catalogue says of them, for `batch_file`."""
    return (
        "SELECT f.path, f.location, f.size, f.modified_ns, f.changed_ns, f.inode, c.facts"
        f" FROM {schema}.files f LEFT JOIN {schema}.catalog c ON c.path = f.path"
    )


IN_ORDER = " ORDER BY f.path, f.location"
A_RUN = f" WHERE (f.path, f.location) >= (?, ?) {IN_ORDER} LIMIT ?"
"""So many files from one on."""


def batch_file(root: Path, row: tuple[Any, ...]) -> BatchFile:
    """A row of `files_query`."""
    path, location, size, modified_ns, changed_ns, inode, facts = row
    known = json.loads(facts) if facts else {}
    return BatchFile(path, root / os.fsdecode(location), size, modified_ns, known, changed_ns, inode)


def location_in(root: Path, file: BatchFile) -> bytes:
    """What stands in the column `location`."""
    return os.fsencode(file.location.relative_to(root))


def taken_names(database: sqlite3.Connection, files: Iterable[BatchFile], schema: str = "main") -> frozenset[str]:
    """Names that the enhanced images of files may not take, of those they would try in turn."""
    return frozenset(name for file in files for name in _spoken_for(database, file.path, schema))


def _spoken_for(database: sqlite3.Connection, path: str, schema: str) -> Iterable[str]:
    query = f"SELECT EXISTS (SELECT 1 FROM {schema}.files WHERE path != ?1 AND (path = ?2 OR png = ?2))"
    name = png_name(path)
    if name == path:
        return
    while database.execute(query, (path, name)).fetchone()[0]:
        yield name
        name = f"{path}.png" if name == png_name(path) else f"{name}.png"
