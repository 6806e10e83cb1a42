"""Which pictures of a batch a shop has already: an index on disk that grows batch by batch.

What is known of a picture is kept by its content (sha256 of the bytes): its look, and of whom it is a copy. Where it
was delivered is kept by batch and path, with its SKU, whether it is shown, and what it is worth. So the same file for
the same SKU is one picture, from whichever folder it comes.

Candidates are found by their hashes: 64 bits are cut into 4 bands, and two hashes within 7 bits agree in one band but
for one bit at most, so that 17 look-ups a band find all of them (multi-index hashing, Norouzi et al., 2012); pictures
of the same SKU are candidates anyhow. `same_picture` then compares looks. Only *leaders* are compared with: a thousand
copies of one picture are each compared with one.

The rows of a batch are entered first and asked about afterwards, so that the order of names decides nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from packshot.catalog.same_picture import FARTHEST, HASH_DIGITS, Look, difference
from packshot.errors import PackshotError
from packshot.progress import say

BANDS, BAND_BITS = 4, 16
MOST_COMPARED = 16
"""Candidates whose looks are compared, the nearest first, of one SKU and of all others each."""
MOST_NAMED = 20
"""Pictures of earlier batches that a better one is said to displace."""
NEARLY_AS_LARGE = 0.64
"""Share of the largest picture's pixels from which on damage decides before size: a crop of 5 % a side has .81."""
SAME_SCORE = 0.03
"""A picture that was cropped or coded again is scored as far from itself: so near, the larger one is the original."""
WAIT_S = 600.0
"""How long to wait for another batch that is being entered."""
VERSION = 2

_TABLES = """
CREATE TABLE IF NOT EXISTS {0}.looks (
    id INTEGER PRIMARY KEY, content TEXT NOT NULL UNIQUE, leader INTEGER NOT NULL, difference REAL NOT NULL,
    hashes TEXT, thumbnail BLOB, side INTEGER
);
CREATE TABLE IF NOT EXISTS {0}.bands (
    key INTEGER, crop INTEGER, hash INTEGER, look INTEGER, PRIMARY KEY (key, crop, hash, look)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS {0}.deliveries (
    id INTEGER PRIMARY KEY, batch TEXT NOT NULL, path TEXT NOT NULL, look INTEGER NOT NULL, sku TEXT,
    shown INTEGER NOT NULL, pixels INTEGER NOT NULL, mended INTEGER NOT NULL, damage INTEGER NOT NULL,
    quality REAL NOT NULL, displaced_by TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS {0}.by_place ON deliveries (batch, path);
CREATE INDEX IF NOT EXISTS {0}.by_sku ON deliveries (sku, look) WHERE sku IS NOT NULL;
CREATE INDEX IF NOT EXISTS {0}.by_look ON deliveries (look);
CREATE INDEX IF NOT EXISTS {0}.by_leader ON looks (leader);
"""
_TOGETHER = """
CREATE TEMP VIEW every_look AS SELECT * FROM main.looks UNION ALL SELECT * FROM known.looks;
CREATE TEMP VIEW every_band AS SELECT * FROM main.bands UNION ALL SELECT * FROM known.bands;
CREATE TEMP VIEW every_delivery AS SELECT d.*, l.leader, l.content, l.difference, 1 AS ours
    FROM main.deliveries d JOIN every_look l ON l.id = d.look
    UNION ALL SELECT d.*, l.leader, l.content, l.difference, 0
    FROM known.deliveries d JOIN known.looks l ON l.id = d.look WHERE d.batch <> (SELECT name FROM main.ours);
"""


class DuplicatesUnusable(PackshotError):
    """The index of known pictures cannot be read or written."""

    exit_code = 74

    def __init__(self, path: Path | None, cause: Exception) -> None:
        super().__init__(
            f"cannot use the index of known pictures {path}: {cause}. Make room or wait for the other batch; a damaged "
            "file may be deleted, and then knows of pictures that are scored from now on"
        )


@dataclass(frozen=True)
class Worth:
    """What decides which of two copies is shown: pixels, then damage (was it mended, how many rules of damage does it
    break), then the quality to show, 0..1; where that is about the same, pixels again."""

    pixels: int
    mended: bool
    damage: int
    quality: float


@dataclass(frozen=True)
class Candidate:
    """A picture of the batch: sha256 of its bytes, its SKU where known, its look, whether it is accepted or enhanced,
    and what decides between copies."""

    path: str
    content: str
    sku: str | None
    look: Look
    shown: bool
    worth: Worth


@dataclass(frozen=True)
class Standing:
    """How a picture stands to others that show the same.

    `copy_of`: the one of its SKU that is shown in its place. `same_as`: one that came earlier and is of another SKU, or
    of a SKU that nobody named: it displaces nothing. Both are paths of the batch, or `batch:path`. `difference`: from
    that one, 0..1, None for equal bytes. `displaces`: pictures of its SKU, shown by earlier batches, that it is better
    than.
    """

    copy_of: str | None = None
    same_as: str | None = None
    difference: float | None = None
    displaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Forgotten:
    """What was taken out of the index: pictures of the batch, and how many of other batches were held back for them."""

    pictures: int
    displaced_elsewhere: int


@dataclass(frozen=True)
class Known:
    """An index and what may be done to it; no path: the pictures of a batch are compared with one another alone."""

    path: Path | None = None
    record: bool = False


NOT_KNOWN = Known()


@contextmanager
def known_pictures(known: Known, batch: str) -> Iterator[KnownPictures]:
    """An index to look one batch up in. Where it is one to record in, it keeps the batch, in place of what it held of
    it, if the block ends well. Raises DuplicatesUnusable."""
    path, record = known.path, known.record and known.path is not None
    try:
        connection = _opened(path if record or (path is not None and path.is_file()) else None, record)
    except (OSError, sqlite3.Error) as error:
        raise DuplicatesUnusable(path, error) from error
    try:
        connection.execute("INSERT INTO ours VALUES (?)", (batch,))
        yield KnownPictures(connection, batch)
        if record:
            _keep(connection, batch)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise DuplicatesUnusable(path, error) from error
    finally:
        connection.close()


def forget(path: Path, batch: str) -> Forgotten:
    """Take a batch out of the index at `path`; twice is as once. Raises DuplicatesUnusable."""
    if not path.is_file():
        return Forgotten(0, 0)
    try:
        connection = _opened(path, record=True)
    except (OSError, sqlite3.Error) as error:
        raise DuplicatesUnusable(path, error) from error
    try:
        prefix = f"{batch}:"
        there = connection.execute("SELECT count(*) FROM known.deliveries WHERE batch = ?", (batch,)).fetchone()[0]
        held = "SELECT id FROM known.deliveries WHERE batch <> ?2 AND substr(displaced_by, 1, length(?1)) = ?1"
        freed = [row for (row,) in connection.execute(held, (prefix, batch))]
        connection.executemany("UPDATE known.deliveries SET displaced_by = NULL WHERE id = ?", ((i,) for i in freed))
        connection.execute("DELETE FROM known.deliveries WHERE batch = ?", (batch,))
        _drop_unused_looks(connection)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise DuplicatesUnusable(path, error) from error
    finally:
        connection.close()
    return Forgotten(there, len(freed))


class KnownPictures:
    """Enters the rows of one batch, all of them, and then says how each stands."""

    def __init__(self, connection: sqlite3.Connection, batch: str) -> None:
        self._connection = connection
        self._batch = batch
        ask = "SELECT max(coalesce((SELECT max(id) FROM known.{0}), 0), 0)"
        self._last_look = self._one(ask.format("looks"))
        self._last_delivery = self._one(ask.format("deliveries"))

    def enter(self, picture: Candidate, most: float) -> None:
        """Take a picture in; another shows the same where their looks differ by less than `most` (0: equal bytes)."""
        look = self._look(picture, most)
        place = (self._batch, picture.path)
        known = "SELECT id FROM known.deliveries WHERE batch = ? AND path = ?"
        before = self._connection.execute(known, place).fetchone()
        if before is None:
            self._last_delivery += 1
        row = before[0] if before is not None else self._last_delivery
        self._connection.execute(
            "INSERT INTO main.deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (row, *place, look, picture.sku, picture.shown, *astuple(picture.worth)),
        )

    def standing(self, path: str) -> Standing:
        """How the picture at this path of the batch stands to all others."""
        columns = "id, sku, leader, content, shown, difference"
        query = f"SELECT {columns} FROM every_delivery WHERE ours AND batch = ? AND path = ?"
        own = dict(zip(columns.split(", "), self._row(query, self._batch, path), strict=True))
        own["batch"] = self._batch
        best = self._best(own) if own["sku"] is not None else None
        if best is not None and best["id"] == own["id"]:
            return self._same_elsewhere(own, self._displaced(own))
        redelivered = best is not None and not best["ours"] and best["content"] == own["content"]
        if best is None or redelivered:
            return self._same_elsewhere(own)
        return Standing(copy_of=self._name(best), difference=_apart(own, best))

    def settle(self, path: str, standing: Standing, shown: bool) -> None:
        """Remember what came of a picture in the end."""
        self._connection.execute(
            "UPDATE main.deliveries SET shown = ?, displaced_by = ? WHERE batch = ? AND path = ?",
            (shown, standing.copy_of, self._batch, path),
        )

    def _one(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])

    def _row(self, query: str, *values: object) -> tuple[object, ...]:
        found: tuple[object, ...] = self._connection.execute(query, values).fetchone()
        return found

    def _look(self, picture: Candidate, most: float) -> int:
        """The id of the look of a content, which is compared with others when it is first met."""
        known = self._connection.execute("SELECT id FROM every_look WHERE content = ?", (picture.content,)).fetchone()
        if known is not None:
            return int(known[0])
        self._last_look += 1
        leader, apart = self._leader(picture, most) if most > 0 and not picture.look.plain else (self._last_look, 0.0)
        leads = leader == self._last_look
        look = picture.look
        kept = (look.hashes, look.thumbnail, look.side) if leads else (None, None, None)
        self._connection.execute(
            "INSERT INTO main.looks VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._last_look, picture.content, leader, apart, *kept),
        )
        if leads and not look.plain:
            self._connection.executemany(
                "INSERT OR IGNORE INTO main.bands VALUES (?, ?, ?, ?)",
                ((key, crop, _signed(bits), leader) for crop, bits in enumerate(look.bits) for key in _keys(bits)),
            )
        return self._last_look

    def _leader(self, picture: Candidate, most: float) -> tuple[int, float]:
        """The leader that shows the same, and how far from it the picture is; itself where there is none."""
        best = (self._last_look, most)
        for leader in (*self._of_sku(picture.sku), *self._near(picture.look)):
            apart = difference(picture.look, self._stored(leader))
            if apart < best[1]:
                best = (leader, apart)
        return best if best[0] != self._last_look else (self._last_look, 0.0)

    def _of_sku(self, sku: str | None) -> list[int]:
        query = (
            "SELECT DISTINCT leader FROM every_delivery d WHERE sku = ? AND EXISTS (SELECT 1 FROM every_look l"
            " WHERE l.id = d.leader AND l.thumbnail IS NOT NULL) ORDER BY leader DESC LIMIT ?"
        )
        rows = self._connection.execute(query, (sku, MOST_COMPARED)) if sku is not None else ()
        return [row for (row,) in rows]

    def _near(self, look: Look) -> list[int]:
        """Leaders that a hash of theirs brings near: the whole to their crops, its crops to the whole of them."""
        found: dict[int, int] = {}
        for crop, bits in enumerate(look.bits):
            keys = [key ^ step for key in _keys(bits) for step in _STEPS]
            signed = _signed(bits)
            for row, other in self._connection.execute(_NEAR_WHOLE if crop else _NEAR_ANY, keys):
                apart = ((signed ^ other) & _ALL).bit_count()
                if apart <= FARTHEST:
                    found[row] = min(apart, found.get(row, apart))
        return sorted(found, key=lambda row: (found[row], row))[:MOST_COMPARED]

    def _stored(self, leader: int) -> Look:
        return Look(*self._row("SELECT hashes, thumbnail, side FROM every_look WHERE id = ?", leader))  # type: ignore[arg-type]

    def _best(self, own: dict[str, object]) -> dict[str, object] | None:
        """Which of the pictures of one SKU that show the same is to be shown; None where none of them is."""
        cluster = "FROM every_delivery WHERE sku = :sku AND leader = :leader AND shown"
        large = f"pixels >= {NEARLY_AS_LARGE} * (SELECT max(pixels) {cluster})"
        order = (
            f"NOT {large}, mended, damage, quality < (SELECT max(quality) {cluster} AND {large}) - {SAME_SCORE},"
            " pixels DESC, quality DESC, ours DESC, batch, path"
        )
        columns = ("id", "batch", "path", "content", "ours", "difference")
        query = f"SELECT {', '.join(columns)} {cluster}"
        best = self._connection.execute(f"{query} ORDER BY {order} LIMIT 1", own).fetchone()
        if best is None:
            return None
        of_bytes = own | {"best": best[columns.index("content")]}
        ours = f"{query} AND content = :best AND ours ORDER BY path LIMIT 1"
        return dict(zip(columns, self._connection.execute(ours, of_bytes).fetchone() or best, strict=True))

    def _displaced(self, own: dict[str, object]) -> tuple[str, ...]:
        query = (
            "SELECT batch, path FROM every_delivery WHERE sku = :sku AND leader = :leader AND shown AND NOT ours"
            " AND displaced_by IS NULL AND content <> :content ORDER BY id DESC LIMIT :most"
        )
        rows = self._connection.execute(query, own | {"most": MOST_NAMED})
        return tuple(f"{batch}:{path}" for batch, path in rows)

    def _same_elsewhere(self, own: dict[str, object], displaces: tuple[str, ...] = ()) -> Standing:
        """Earlier pictures of another SKU, or with no SKU on one side; one file in two batches without SKU is one."""
        columns = ("batch", "path", "content", "ours", "difference")
        query = (
            f"SELECT {', '.join(columns)} FROM every_delivery WHERE leader = :leader AND id < :id"
            " AND (sku <> :sku OR sku IS NULL OR :sku IS NULL)"
            " AND NOT (content = :content AND NOT ours AND (sku IS NULL OR :sku IS NULL))"
            " ORDER BY content <> :content, NOT shown, id LIMIT 1"
        )
        found = self._connection.execute(query, own).fetchone()
        if found is None:
            return Standing(displaces=displaces)
        other = dict(zip(columns, found, strict=True))
        return Standing(same_as=self._name(other), difference=_apart(own, other), displaces=displaces)

    def _name(self, other: dict[str, object]) -> str:
        return str(other["path"]) if other["ours"] else f"{other['batch']}:{other['path']}"


_ALL = (1 << 4 * HASH_DIGITS) - 1
_STEPS = (0, *(1 << bit for bit in range(BAND_BITS)))
"""From a band to itself and to those that are one bit away."""
_NEAR_ANY = f"SELECT look, hash FROM every_band WHERE key IN ({','.join('?' * BANDS * len(_STEPS))})"
_NEAR_WHOLE = f"{_NEAR_ANY} AND crop = 0"


def _opened(path: Path | None, record: bool) -> sqlite3.Connection:
    """Tables of our own in a temporary database on disk, beside those of the index: all within one transaction."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect("", timeout=WAIT_S, isolation_level=None, uri=True)
    try:
        mode = "rwc" if record else "ro"
        address = f"{path.resolve().as_uri()}?mode={mode}" if path is not None else ""
        connection.execute("ATTACH ? AS known", (address,))
        if path is not None and not record and not _is_current(connection):
            connection.execute("DETACH known")
            connection.execute("ATTACH '' AS known")
            path = None
        connection.execute("CREATE TABLE ours (name TEXT)")
        connection.executescript(_TABLES.format("main"))
        connection.execute("BEGIN IMMEDIATE")
        if record or path is None:
            _make_tables(connection, path)
        for view in filter(None, map(str.strip, _TOGETHER.split(";"))):
            connection.execute(view)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(connection: sqlite3.Connection, path: Path | None) -> None:
    """The tables of the index; those of its first version, which knew neither SKUs nor looks, make way."""
    if _has(connection, "pictures"):
        connection.execute("DROP TABLE known.pictures")
        connection.execute("DROP TABLE IF EXISTS known.entries")
        say(f"{path} is of an earlier version and begins anew: it knows of the pictures that are scored from now on")
    for statement in filter(None, map(str.strip, _TABLES.format("known").split(";"))):
        connection.execute(statement)
    connection.execute(f"PRAGMA known.user_version = {VERSION}")


def _is_current(connection: sqlite3.Connection) -> bool:
    return int(connection.execute("PRAGMA known.user_version").fetchone()[0]) == VERSION


def _has(connection: sqlite3.Connection, table: str) -> bool:
    query = "SELECT 1 FROM known.sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(query, (table,)).fetchone() is not None


def _keep(connection: sqlite3.Connection, batch: str) -> None:
    """Put what was entered into the index, in place of what it held of the batch."""
    connection.execute("DELETE FROM known.deliveries WHERE batch = ?", (batch,))
    for table in ("looks", "bands", "deliveries"):
        connection.execute(f"INSERT INTO known.{table} SELECT * FROM main.{table}")
    _drop_unused_looks(connection)


def _drop_unused_looks(connection: sqlite3.Connection) -> None:
    """Looks that nobody delivers any more and that lead no other."""
    unused = (
        "SELECT id FROM known.looks l WHERE NOT EXISTS (SELECT 1 FROM known.deliveries d WHERE d.look = l.id)"
        " AND NOT EXISTS (SELECT 1 FROM known.looks m WHERE m.leader = l.id AND m.id <> l.id)"
    )
    for row, hashes in connection.execute(f"SELECT id, hashes FROM known.looks WHERE id IN ({unused})").fetchall():
        if hashes is not None:
            bits = Look(hashes, b"", 0).bits
            keys = [(key, crop, _signed(each), row) for crop, each in enumerate(bits) for key in _keys(each)]
            connection.executemany("DELETE FROM known.bands WHERE key = ? AND crop = ? AND hash = ? AND look = ?", keys)
        connection.execute("DELETE FROM known.looks WHERE id = ?", (row,))


def _apart(one: dict[str, object], other: dict[str, object]) -> float | None:
    """How far two pictures of one leader are apart at most; None for equal bytes."""
    if one["content"] == other["content"]:
        return None
    return max(float(each["difference"]) for each in (one, other))  # type: ignore[arg-type]


def _keys(bits: int) -> list[int]:
    """The bands of a hash, each with its number above its bits."""
    mask = (1 << BAND_BITS) - 1
    return [band << BAND_BITS | bits >> band * BAND_BITS & mask for band in range(BANDS)]


def _signed(bits: int) -> int:
    """64 bits as SQLite keeps them."""
    return bits - (1 << 64) if bits >> 63 else bits
