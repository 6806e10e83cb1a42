"""People who sign in: their passwords as hashes, their sessions, and links that let each of them in once.

All of it lies in one small database under PACKSHOT_HOME. Secrets are kept as sha256 of 256 random bits, passwords by
scrypt; neither can be had again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packshot.errors import PackshotError
from packshot.files import make_folder
from packshot.home import Home
from packshot.service.access import Role

WAIT_S = 5.0
LINK_S = 48 * 3600
SEEN_EVERY_S = 60
"""How often a session at work is written down as such."""
LEAST_PASSWORD = 12
MOST_PASSWORD = 200
TRIES = 5
"""Wrong passwords for one name before it is locked."""
LOCKED_S, MOST_LOCKED_S = 60, 15 * 60
"""A name is locked for so long, twice as long after each further wrong password, up to so long."""
FORGET_S = 24 * 3600
"""After which wrong passwords count no more."""
SCRYPT = {"n": 2**15, "r": 8, "p": 3, "maxmem": 2**26}
"""OWASP's Password Storage Cheat Sheet: 32 MiB and some 250 ms for each try."""

_TABLES = """
CREATE TABLE IF NOT EXISTS people (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, salt BLOB, hash BLOB, created REAL NOT NULL, removed REAL);
CREATE TABLE IF NOT EXISTS links (sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, expires REAL NOT NULL, used REAL);
CREATE TABLE IF NOT EXISTS sessions (
    sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, created REAL NOT NULL, seen REAL NOT NULL);
CREATE TABLE IF NOT EXISTS failures (name TEXT PRIMARY KEY, count INTEGER NOT NULL, last REAL NOT NULL);
CREATE TABLE IF NOT EXISTS views (
    name TEXT NOT NULL, title TEXT NOT NULL, query TEXT NOT NULL, PRIMARY KEY (name, title));
"""
_VERSION = 2


class NoSuchPerson(PackshotError):
    """There is nobody of that name, or somebody is there already."""

    exit_code = 2


class PeopleUnreadable(PackshotError):
    """The database of people cannot be read or written: nobody signs in."""

    exit_code = 74


class SignInRefused(PackshotError):
    """Name and password do not go together, or a link or a session opens nothing."""

    exit_code = 77


class PasswordWeak(PackshotError):
    """A password that is too short, or too easily guessed."""

    exit_code = 2


class SignInLocked(PackshotError):
    """Too many wrong passwords: nobody signs in under that name for `wait_s` seconds."""

    exit_code = 77

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        wait = f"{round(wait_s / 60)} min" if wait_s > 90 else f"{max(1, round(wait_s))} s"
        super().__init__(f"too many wrong passwords: try again in {wait}, or ask for a new link")


@dataclass(frozen=True)
class Person:
    """Somebody who may sign in; `ready` once a password was chosen. Times are seconds of the epoch."""

    name: str
    role: Role
    created: float
    removed: float | None
    ready: bool


@dataclass(frozen=True)
class Session:
    """A person at work. `csrf` is what a page of this session sends back with everything that changes something."""

    name: str
    role: Role
    id: str
    """8 hex digits that logs may show."""
    csrf: str


class People:
    """All people. `hours`: how long a session lasts, `idle_minutes`: and how long without a question."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        hours: float = 12,
        idle_minutes: float = 120,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path or Home.from_environment().root / "service" / "people.db"
        self._hours, self._idle, self._clock = hours, idle_minutes, clock
        self._hashing = threading.Lock()

    def all(self) -> list[Person]:
        """Everybody, those removed too, by name."""
        if not self.path.exists():
            return []
        with self.transaction("DEFERRED") as database:
            rows = database.execute("SELECT * FROM people ORDER BY name").fetchall()
        return [_person(row) for row in rows]

    def add(self, name: str, role: Role) -> str:
        """Let somebody in: the secret of a link under which they choose a password. Raises NoSuchPerson where there is
        somebody of that name; who was removed comes back, without the password of then."""
        with self.transaction() as database:
            if _find(database, name) is not None:
                raise NoSuchPerson(f"there is somebody called {name!r}; `packshot people link` makes them a new link")
            database.execute("DELETE FROM people WHERE name = ?", (name,))
            told = (name, role, None, None, self._clock(), None)
            database.execute("INSERT INTO people VALUES (?, ?, ?, ?, ?, ?)", told)
            return self._link(database, name)

    def link(self, name: str) -> str:
        """The secret of a new link for somebody who forgot a password; earlier links open nothing any more."""
        with self.transaction() as database:
            self._known(database, name)
            return self._link(database, name)

    def remove(self, name: str) -> None:
        """From now on nobody is let in under that name, and sessions of theirs end. Raises NoSuchPerson."""
        with self.transaction() as database:
            self._known(database, name)
            database.execute("UPDATE people SET removed = ? WHERE name = ?", (self._clock(), name))
            database.execute("DELETE FROM sessions WHERE name = ?", (name,))
            database.execute("DELETE FROM links WHERE name = ?", (name,))

    def of_link(self, secret: str) -> str:
        """Whom a link is for; it stays good. Raises SignInRefused."""
        with self.transaction("DEFERRED") as database:
            return self._of_link(database, secret)

    def choose(self, secret: str, password: str) -> str:
        """Use a link up: its person has this password from now on, and no other session. Returns their name.

        Raises SignInRefused, PasswordWeak.
        """
        name = self.of_link(secret)
        _check_strength(name, password)
        salt = secrets.token_bytes(16)
        hashed = self._hash(password, salt)
        with self.transaction() as database:
            used = database.execute(
                "UPDATE links SET used = ? WHERE sha256 = ? AND used IS NULL", (self._clock(), _sha(secret))
            )
            if used.rowcount != 1:
                raise SignInRefused("this link was used already; ask for a new one")
            database.execute("UPDATE people SET salt = ?, hash = ? WHERE name = ?", (salt, hashed, name))
            database.execute("DELETE FROM sessions WHERE name = ?", (name,))
            database.execute("DELETE FROM failures WHERE name = ?", (_sha(name),))
        return name

    def check(self, name: str, password: str) -> None:
        """Let somebody in who knows the password; a wrong one counts, also for a name that nobody has.

        Raises SignInRefused, SignInLocked.
        """
        with self.transaction() as database:
            self._count(database, name)
            row = _find(database, name)
        salt, kept = (row["salt"], row["hash"]) if row is not None and row["hash"] else (b"nobody's", b"")
        if not hmac.compare_digest(self._hash(password[:MOST_PASSWORD], salt), kept):
            raise SignInRefused("this name and this password do not go together")
        with self.transaction() as database:
            database.execute("DELETE FROM failures WHERE name = ?", (_sha(name),))

    def begin(self, name: str) -> str:
        """A new session of a person: the secret that its cookie holds. Raises NoSuchPerson."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        with self.transaction() as database:
            self._known(database, name)
            database.execute("DELETE FROM sessions WHERE created < ?", (now - 3600 * self._hours,))
            database.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", (_sha(secret), name, now, now))
        return secret

    def session(self, secret: str) -> Session:
        """The session of a cookie. Raises SignInRefused where it is unknown, has ended or has expired."""
        now, sha256 = self._clock(), _sha(secret)
        asked = "SELECT s.*, p.role FROM sessions s JOIN people p USING (name) WHERE s.sha256 = ? AND p.removed IS NULL"
        with self.transaction("DEFERRED") as database:
            row = database.execute(asked, (sha256,)).fetchone()
        if row is None:
            raise SignInRefused("this session has ended; sign in again")
        if now >= row["created"] + 3600 * self._hours or now >= row["seen"] + 60 * self._idle:
            raise SignInRefused("this session has expired; sign in again")
        if now >= row["seen"] + SEEN_EVERY_S:
            self._see(sha256, now)
        csrf = hmac.digest(secret.encode(), b"csrf", "sha256").hex()
        return Session(row["name"], row["role"], sha256[:8], csrf)

    def end(self, secret: str) -> None:
        """Sign out."""
        with self.transaction() as database:
            database.execute("DELETE FROM sessions WHERE sha256 = ?", (_sha(secret),))

    @contextmanager
    def transaction(
        self, kind: Literal["DEFERRED", "IMMEDIATE"] = "IMMEDIATE", wait_s: float = WAIT_S
    ) -> Iterator[sqlite3.Connection]:
        """A transaction; one that writes is IMMEDIATE. Raises PeopleUnreadable."""
        try:
            make_folder(self.path.parent)
            database = sqlite3.connect(self.path, timeout=wait_s, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise PeopleUnreadable(f"{self.path} cannot be opened: {error}") from error
        try:
            database.row_factory = sqlite3.Row
            if database.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
                self.path.chmod(0o600)
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
            database.execute(f"BEGIN {kind}")
            yield database
            database.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise PeopleUnreadable(f"{self.path} cannot be read or written: {error}") from error
        finally:
            database.close()

    def _see(self, sha256: str, now: float) -> None:
        with suppress(PeopleUnreadable), self.transaction(wait_s=0.1) as database:  # the next question writes it down
            database.execute("UPDATE sessions SET seen = ? WHERE sha256 = ?", (now, sha256))

    def _count(self, database: sqlite3.Connection, name: str) -> None:
        """One more try under a name, before it is known to be wrong, so that tries beside each other all count."""
        now, key = self._clock(), _sha(name)
        database.execute("DELETE FROM failures WHERE last < ?", (now - FORGET_S,))
        row = database.execute("SELECT * FROM failures WHERE name = ?", (key,)).fetchone()
        count = row["count"] if row else 0
        if count >= TRIES:
            wait = min(MOST_LOCKED_S, LOCKED_S * 2 ** (count - TRIES)) - (now - row["last"])
            if wait > 0:
                raise SignInLocked(wait)
        count = min(count + 1, TRIES + 10)
        database.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (key, count, now))

    def _link(self, database: sqlite3.Connection, name: str) -> str:
        secret, now = secrets.token_urlsafe(32), self._clock()
        database.execute("DELETE FROM links WHERE name = ?", (name,))
        database.execute("INSERT INTO links VALUES (?, ?, ?, NULL)", (_sha(secret), name, now + LINK_S))
        return secret

    def _of_link(self, database: sqlite3.Connection, secret: str) -> str:
        row = database.execute("SELECT * FROM links WHERE sha256 = ?", (_sha(secret),)).fetchone()
        if row is None:
            raise SignInRefused("this link is not known here; ask for a new one")
        if row["used"] is not None or self._clock() >= row["expires"]:
            raise SignInRefused("this link was used already or has expired; ask for a new one")
        return str(row["name"])

    def _known(self, database: sqlite3.Connection, name: str) -> None:
        if _find(database, name) is None:
            raise NoSuchPerson(f"there is nobody called {name!r}; `packshot people list` shows all")

    def _hash(self, password: str, salt: bytes) -> bytes:
        with self._hashing:  # one at a time: whoever tries many fills neither memory nor cores
            return hashlib.scrypt(password.encode(), salt=salt, **SCRYPT)


def _find(database: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    found: sqlite3.Row | None = database.execute(
        "SELECT * FROM people WHERE name = ? AND removed IS NULL", (name,)
    ).fetchone()
    return found


def _person(row: sqlite3.Row) -> Person:
    return Person(row["name"], row["role"], row["created"], row["removed"], row["hash"] is not None)


def _check_strength(name: str, password: str) -> None:
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise PasswordWeak(f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters; a few words will do")
    if len(set(password)) < 5 or password.lower() == name.lower():
        raise PasswordWeak("this password is guessed at once; take a few words that do not belong together")


def _sha(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
