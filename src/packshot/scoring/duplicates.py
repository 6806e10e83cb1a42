"""Which pictures of a batch the catalogue has already: an index on disk that grows batch by batch.

A picture is found by the sha256 of its bytes, or by its perceptual hash: the 64 bits are cut into 4 bands, and two
hashes within 7 bits agree in one band but for one bit at most, so that 17 look-ups a band find all of them (multi-index
hashing, Norouzi et al., 2012) and no pair is compared in vain. Packshots of two products may have one hash, so what was
found is compared by thumbnail; a picture without structure has a hash of rounding errors and is compared by bytes only.

Only originals are looked up by hash: a thousand copies of one picture are each compared with one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from packshot.errors import PackshotError

BANDS, BAND_BITS = 4, 16
FARTHEST = 2 * BANDS - 1
"""Bits, of 64, up to which every near hash is found."""
ALIKE = 0.98
"""Least correlation of the brightness of two thumbnails that show the same: light and contrast may differ."""
SAME_COLOURS = 30.0
"""Most that a pixel of two such thumbnails differs in a channel, brightness apart, of 255."""
PLAIN_BELOW = 4.0
"""A thumbnail whose brightness has a smaller standard deviation than this, of 255, has no structure."""
WAIT_S = 600.0
"""How long to wait for another batch that is being entered."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS pictures (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    batch TEXT NOT NULL, folder TEXT NOT NULL, path TEXT NOT NULL, image_id TEXT NOT NULL,
    hash TEXT, thumbnail BLOB, {", ".join(f"band{band} INTEGER" for band in range(BANDS))},
    entered INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY AUTOINCREMENT, batch TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_bytes ON pictures (image_id);
"""
_BAND_INDEX = "CREATE INDEX IF NOT EXISTS by_band{0} ON pictures (band{0}, hash) WHERE band{0} IS NOT NULL;"
_THIS_ONE = "image_id = :image_id AND path = :path AND (batch = :batch OR folder = :folder)"
_EARLIER = (
    "(batch <> :batch AND id < :id OR batch = :batch AND entered = :entered AND id <> :id)"
    " AND NOT (folder = :folder AND path = :path)"
)


class DuplicatesUnusable(PackshotError):
    """The index of known pictures cannot be read or written."""

    exit_code = 74

    def __init__(self, path: Path | None, cause: Exception) -> None:
        super().__init__(
            f"cannot use the index of known pictures {path}: {cause}. Make room or wait for the other batch; a damaged "
            "file may be deleted, and then knows of pictures that are scored from now on"
        )


@dataclass(frozen=True)
class Candidate:
    """A picture of the batch: sha256 of its bytes, perceptual hash (16 hex digits), 16 x 16 x 3 bytes RGB."""

    path: str
    image_id: str
    hash: str
    thumbnail: bytes


@dataclass(frozen=True)
class Copy:
    """What a picture is a copy of: a path of its batch, or `batch:path`; `distance` in bits, None for equal bytes."""

    original: str
    distance: int | None


@dataclass(frozen=True)
class Owner:
    """Whose pictures are entered: the name of the batch and its folder.

    A picture is no copy of itself when its batch is scored again, by another model, under another name or with more
    pictures in it, nor of what stood under its path in that folder before.
    """

    batch: str
    folder: str


@contextmanager
def known_pictures(path: Path | None, owner: Owner) -> Iterator[KnownPictures]:
    """The index at `path`, to enter one batch in; all of it is kept where the block ends well, else nothing.

    None: an index of this batch alone. Raises DuplicatesUnusable.
    """
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        # an empty name is a temporary database on disk
        connection = sqlite3.connect(path or "", timeout=WAIT_S, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise DuplicatesUnusable(path, error) from error
    try:
        connection.executescript(_SCHEMA + "".join(_BAND_INDEX.format(band) for band in range(BANDS)))
        connection.execute("BEGIN IMMEDIATE")
        yield KnownPictures(connection, owner)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise DuplicatesUnusable(path, error) from error
    finally:
        connection.close()


class KnownPictures:
    """Enters the rows of one batch in their order."""

    def __init__(self, connection: sqlite3.Connection, owner: Owner) -> None:
        self._connection = connection
        number = connection.execute("INSERT INTO entries (batch) VALUES (?)", (owner.batch,)).lastrowid
        self._own = {"batch": owner.batch, "folder": owner.folder, "entered": number}

    def enter(self, picture: Candidate, farthest: int) -> Copy | None:
        """What the picture is a copy of, within `farthest` bits (-1: equal bytes only; at most FARTHEST).

        Earlier are rows of the batch that were entered before, and what other batches had when the picture first came.
        """
        place = self._place(picture)
        copy = self._exact(place) or self._near(place, picture, min(farthest, FARTHEST))
        original = copy is None and not _plain(picture.thumbnail)
        bands = _bands(picture.hash) if original else [None] * BANDS
        kept = (picture.hash, picture.thumbnail) if original else (None, None)
        columns = ", ".join(f"band{band} = ?" for band in range(BANDS))
        self._connection.execute(
            f"UPDATE pictures SET entered = ?, hash = ?, thumbnail = ?, {columns} WHERE id = ?",
            (place["entered"], *kept, *bands, place["id"]),
        )
        return copy

    def _place(self, picture: Candidate) -> dict[str, object]:
        own: dict[str, object] = {**self._own, "path": picture.path, "image_id": picture.image_id}
        known = self._connection.execute(f"SELECT id FROM pictures WHERE {_THIS_ONE}", own).fetchone()
        if known is not None:
            return own | {"id": known[0]}
        added = self._connection.execute(
            "INSERT INTO pictures (batch, folder, path, image_id, entered)"
            " VALUES (:batch, :folder, :path, :image_id, :entered)",
            own,
        )
        return own | {"id": added.lastrowid}

    def _exact(self, place: dict[str, object]) -> Copy | None:
        found = self._connection.execute(
            f"SELECT id FROM pictures WHERE image_id = :image_id AND ({_EARLIER}) ORDER BY id LIMIT 1", place
        ).fetchone()
        return None if found is None else Copy(self._name(found[0]), None)

    def _near(self, place: dict[str, object], picture: Candidate, farthest: int) -> Copy | None:
        if farthest < 0 or _plain(picture.thumbnail):
            return None
        found: dict[int, int] = {}
        own = int(picture.hash, 16)
        for band, value in enumerate(_bands(picture.hash)):
            keys = ",".join(str(key) for key in (value, *(value ^ 1 << bit for bit in range(BAND_BITS))))
            # answered by the index alone: whether they are earlier is asked of the few that are near
            rows = self._connection.execute(f"SELECT id, hash FROM pictures WHERE band{band} IN ({keys})")
            distances = {row: (own ^ int(other, 16)).bit_count() for row, other in rows}
            found |= {row: distance for row, distance in distances.items() if distance <= farthest}
        for row in sorted(found):
            earlier = self._connection.execute(
                f"SELECT thumbnail FROM pictures WHERE id = :near AND ({_EARLIER})", place | {"near": row}
            ).fetchone()
            if earlier is not None and shows_the_same(picture.thumbnail, earlier[0]):
                return Copy(self._name(row), found[row])
        return None

    def _name(self, row: int) -> str:
        batch, folder, path = self._connection.execute(
            "SELECT batch, folder, path FROM pictures WHERE id = ?", (row,)
        ).fetchone()
        ours = batch == self._own["batch"] or folder == self._own["folder"]
        return str(path) if ours else f"{batch}:{path}"


def shows_the_same(one: bytes, other: bytes) -> bool:
    """Whether two thumbnails that have structure show the same in the same colours."""
    first, second = _pixels(one), _pixels(other)
    light, other_light = first.mean(axis=1), second.mean(axis=1)
    if np.corrcoef(light, other_light)[0, 1] < ALIKE:
        return False
    return bool(np.abs((first - light[:, None]) - (second - other_light[:, None])).max() <= SAME_COLOURS)


def _plain(thumbnail: bytes) -> bool:
    return bool(_pixels(thumbnail).mean(axis=1).std() < PLAIN_BELOW)


def _pixels(thumbnail: bytes) -> NDArray[np.float32]:
    return np.frombuffer(thumbnail, np.uint8).reshape(-1, 3).astype(np.float32)


def _bands(hash: str) -> list[int]:
    return [int(hash[start : start + 4], 16) for start in range(0, 16, 4)]
