"""The keys of the service: kept as hashes under PACKSHOT_HOME, with a role, an expiry, and when they were revoked."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from packshot.errors import PackshotError
from packshot.files import write_json
from packshot.home import Home
from packshot.lock import held
from packshot.service.access import Role

PREFIX = "pk_"
WAIT_S = 10.0


class KeyRefused(PackshotError):
    """A key is unknown, expired or revoked."""

    exit_code = 77


class KeyTaken(PackshotError):
    """There is a key of that name already, or none."""

    exit_code = 2


class KeysDamaged(PackshotError):
    """The file of keys cannot be read: nobody is let in."""

    exit_code = 65


class KeysBusy(PackshotError):
    """Another process is changing the keys."""

    exit_code = 75


class Key(BaseModel):
    """One key. `sha256` is that of its secret, which is kept nowhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Role
    sha256: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def id(self) -> str:
        """8 hex digits that logs may show."""
        return self.sha256[:8]

    def refused(self, now: datetime) -> str | None:
        """Why it opens nothing; None where it does."""
        if self.revoked_at is not None:
            return f"this key was revoked on {self.revoked_at:%Y-%m-%d}; ask for another"
        if self.expires_at is not None and now >= self.expires_at:
            return f"this key expired on {self.expires_at:%Y-%m-%d}; ask for another"
        return None


_KEYS = TypeAdapter(list[Key])


class Keys:
    """All keys. A change by another process counts from the next question on."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or Home.from_environment().root / "service" / "keys.json"
        self._read: tuple[tuple[int, int], list[Key]] | None = None

    def all(self) -> list[Key]:
        """In the order in which they were made. Raises KeysDamaged."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return []
        stamp = (found.st_mtime_ns, found.st_ino)
        if self._read is None or self._read[0] != stamp:
            self._read = (stamp, self._load())
        return self._read[1]

    def add(self, name: str, role: Role, days: int | None) -> str:
        """Make a key and return its secret, which cannot be had again. Raises KeyTaken, KeysDamaged, KeysBusy."""
        secret = PREFIX + secrets.token_urlsafe(32)
        with held("service-keys", WAIT_S, KeysBusy(f"{self._path} is being changed; try again")):
            kept = self._load() if self._path.exists() else []
            if any(key.name == name and key.revoked_at is None for key in kept):
                raise KeyTaken(f"there is a key called {name!r}; revoke it first, or choose another name")
            now = datetime.now(UTC)
            until = now + timedelta(days=days) if days is not None else None
            self._write([*kept, Key(name=name, role=role, sha256=_hash(secret), created_at=now, expires_at=until)])
        return secret

    def revoke(self, name: str) -> None:
        """From now on the key opens nothing. Raises KeyTaken where there is none of that name."""
        with held("service-keys", WAIT_S, KeysBusy(f"{self._path} is being changed; try again")):
            kept = self._load() if self._path.exists() else []
            if not any(key.name == name and key.revoked_at is None for key in kept):
                raise KeyTaken(f"there is no key called {name!r} that is not revoked; `packshot keys list` shows all")
            now = datetime.now(UTC)
            gone = {"revoked_at": now}
            self._write(
                [key.model_copy(update=gone) if key.name == name and not key.revoked_at else key for key in kept]
            )

    def find(self, secret: str) -> Key:
        """The key with that secret. Raises KeyRefused, KeysDamaged."""
        sought = _hash(secret)
        key = next((each for each in self.all() if secrets.compare_digest(each.sha256, sought)), None)
        if key is None:
            raise KeyRefused("this key is not known here")
        why = key.refused(datetime.now(UTC))
        if why is not None:
            raise KeyRefused(why)
        return key

    def _load(self) -> list[Key]:
        try:
            return _KEYS.validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            raise KeysDamaged(
                f"{self._path} cannot be read, so no key opens anything: put it back from a backup, or remove it and "
                f"make new keys ({type(error).__name__})"
            ) from error

    def _write(self, keys: list[Key]) -> None:
        write_json(self._path, json.loads(_KEYS.dump_json(keys, exclude_none=True)))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
