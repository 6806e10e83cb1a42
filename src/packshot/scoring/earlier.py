"""What an earlier plan of the same output folder has found out already: verdicts that still hold, and facts.

A verdict holds for one content of one file under one name, with what the catalogue says of it. It is taken over
wherever the file now falls, so that a new file costs its own verdict and no other. A new plan takes from the one before
it only what that one would have used, never what merely lies about: an enhanced image may have been written anew since.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from packshot.progress import say
from packshot.scoring.listing import BatchFile, BatchSource
from packshot.scoring.plan_file import A_RUN, EARLIER, batch_file, files_query, location_in, shard_path, taken_names
from packshot.scoring.shards import OutputHolds
from packshot.scoring.verdicts import VERDICTS, verdict_parts

NAMED = 5
_ITS_SHARD = "SELECT number FROM shards WHERE (path, location) <= (?, ?) ORDER BY path DESC, location DESC LIMIT 1"


@dataclass(frozen=True)
class _Row:
    """A verdict of the plan before: of which file, where it stands, and the sha256 of what was judged, if known."""

    file: BatchFile
    shard: str
    row: int
    content: str | None


def check_none_gone(database: sqlite3.Connection, out: Path, source: BatchSource, named: str) -> None:
    """Raise OutputHolds where `out` has verdicts of files that are not in the batch."""
    verdicts, gone = out / VERDICTS, 0
    examples: list[str] = []
    if not verdicts.is_file():
        return
    for part in verdict_parts(verdicts, ["path"]):
        for path in part["path"].to_pylist():
            if database.execute("SELECT 1 FROM files WHERE path = ?", (path,)).fetchone() is None:
                gone += 1
                examples += [path] if len(examples) < NAMED else []
    if gone:
        first = ", ".join(examples) + (", …" if gone > NAMED else "")
        raise OutputHolds(
            f"{named} holds the verdicts of {gone} file(s) that are not among the images ({first}), and they are not "
            f"dropped in silence. Put the files back, choose another output folder, for instance --out "
            f"{named.rstrip('/')}-2, or say --drop-gone to let go of these verdicts; what is in this one stays"
        )


def keep_facts(database: sqlite3.Connection, named: str) -> None:
    """Let what the catalogue said of a file before stand where it no longer says it, and tell of that."""
    lost: Counter[str] = Counter()
    pictures = 0
    for path, text in database.execute(f"SELECT path, facts FROM {EARLIER}.catalog"):
        if database.execute("SELECT 1 FROM files WHERE path = ?", (path,)).fetchone() is None:
            continue
        now = _facts(database, "main", path)
        missing = {name: value for name, value in json.loads(text).items() if name not in now}
        if missing:
            pictures += 1
            lost.update(missing.keys())
            database.execute("INSERT OR REPLACE INTO catalog VALUES (?, ?)", (path, facts_text(now | missing)))
    if pictures:
        said = ", ".join(f"{name} of {count}" for name, count in sorted(lost.items()))
        say(
            f"the catalogue no longer gives what {named} has of {pictures} picture(s) ({said}): what it said before "
            "stands; to score without it choose another output folder"
        )


def facts_text(facts: dict[str, str | None]) -> str:
    """What a catalogue says of a file, as it stands in a plan."""
    return json.dumps({name: value for name, value in facts.items() if value is not None}, sort_keys=True)


def _facts(database: sqlite3.Connection, schema: str, path: str) -> dict[str, Any]:
    found = database.execute(f"SELECT facts FROM {schema}.catalog WHERE path = ?", (path,)).fetchone()
    known: dict[str, Any] = json.loads(found[0]) if found is not None else {}
    return known


def keep_rows(database: sqlite3.Connection, out: Path, source: BatchSource, most: int) -> None:
    """Enter the verdicts of the plan before that hold for the files as they are now.

    A file whose state on disk is another is read, up to `most` bytes, and is the same where its content is. Told is how
    many are judged anew.
    """
    anew: Counter[str] = Counter()
    for row in _rows_before(database, out, source.root):
        reason = _why_anew(database, source, row, most)
        if reason is None:
            place = (row.file.path, location_in(source.root, row.file))
            database.execute("INSERT INTO kept VALUES (?, ?, ?, ?, ?)", (*place, row.shard, row.row, row.content))
            database.execute("INSERT OR IGNORE INTO sources VALUES (?)", (row.shard,))
            database.execute(f"UPDATE shards SET waiting = waiting - 1 WHERE number = ({_ITS_SHARD})", place)
        else:
            anew[reason] += 1
    said = ", ".join(f"{count} {reason}" for reason, count in sorted(anew.items()) if reason)
    if said:
        say(f"judged anew: {said}")


def _why_anew(database: sqlite3.Connection, source: BatchSource, row: _Row, most: int) -> str | None:
    """Why a verdict no longer holds; None where it does, empty where the file is gone."""
    query = f"{files_query()} WHERE f.path = ? AND f.location = ?"
    found = database.execute(query, (row.file.path, location_in(source.root, row.file))).fetchone()
    if found is None:
        return ""
    now = batch_file(source.root, found)
    if now.facts != row.file.facts:
        return "of which the catalogue says something else"
    if taken_names(database, [now]) != taken_names(database, [now], EARLIER):
        return "whose enhanced image needs another name"
    if now.stamp != row.file.stamp and (row.content is None or source.content_id(now, most) != row.content):
        return "whose content has changed"
    return None


def _rows_before(database: sqlite3.Connection, out: Path, root: Path) -> Iterator[_Row]:
    """The verdicts that the plan before has, or would have taken over, of shards that the new plan does not have."""
    shards = database.execute(f"SELECT id, name, path, location, files FROM {EARLIER}.shards ORDER BY number")
    for identity, name, path, location, count in shards:
        target = shard_path(out, name)
        finished = target.is_file()
        planned = database.execute("SELECT 1 FROM shards WHERE id = ?", (identity,)).fetchone() is not None
        if finished and planned:
            continue
        query = files_query(EARLIER) + A_RUN
        files = [batch_file(root, row) for row in database.execute(query, (path, location, count))]
        yield from _judged(target, files) if finished else _taken_over(database, out, root, files)


def _judged(target: Path, files: list[BatchFile]) -> Iterator[_Row]:
    contents = pq.read_table(target, columns=["image_id"])["image_id"].to_pylist()
    for row, (file, content) in enumerate(zip(files, contents, strict=True)):
        yield _Row(file, target.stem, row, content)


def _taken_over(database: sqlite3.Connection, out: Path, root: Path, files: list[BatchFile]) -> Iterator[_Row]:
    query = f"SELECT shard, row, content FROM {EARLIER}.kept WHERE path = ? AND location = ?"
    for file in files:
        found = database.execute(query, (file.path, location_in(root, file))).fetchone()
        if found is not None and shard_path(out, found[0]).is_file():
            yield _Row(file, *found)
