"""The small pictures that verdicts carry, for pages: out of memory until they are shown."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager

from packshot.exports.source import VerdictFile

Find = Callable[[str, str], str | None]


@contextmanager
def kept_previews(files: Sequence[VerdictFile], wanted: Collection[tuple[str, str]]) -> Iterator[Find]:
    """Yields what finds a preview, as a `data:` address, by batch and path among those wanted; None where a row has
    none."""
    with closing(sqlite3.connect("")) as database:  # on disk but for a small cache
        database.execute("CREATE TABLE previews (batch TEXT, path TEXT, jpeg BLOB, PRIMARY KEY (batch, path))")
        for file in files:
            rows = (
                (file.batch_id, row["path"], row["preview"])
                for row in file.each(("path", "preview"))
                if row["preview"] is not None and (file.batch_id, row["path"]) in wanted
            )
            database.executemany("INSERT OR IGNORE INTO previews VALUES (?, ?, ?)", rows)

        def find(batch: str, path: str) -> str | None:
            query = "SELECT jpeg FROM previews WHERE batch = ? AND path = ?"
            found = database.execute(query, (batch, path)).fetchone()
            return f"data:image/jpeg;base64,{base64.b64encode(found[0]).decode('ascii')}" if found else None

        yield find
