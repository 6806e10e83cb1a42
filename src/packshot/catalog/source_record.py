"""What `collect` says of the source that it took: the record that every later stage reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packshot.errors import PackshotError

RAW = Path("data/raw")
SOURCE = RAW / "source.json"
VALIDATION = Path("data/valid/validation.json")
QUARANTINE = Path("data/valid/quarantine.parquet")
HELD_BACK = Path("data/heldback")
"""Pictures of the source that no stage learns from: new arrivals of a demo and of drills."""


class SourceError(PackshotError):
    """A source is missing, unreachable, or not what was declared."""

    exit_code = 2


@dataclass(frozen=True)
class SetRecord:
    """One set as collected: rows in the manifest, images held back, and where they came from."""

    rows: int
    held_back: int
    address: str
    licence: str
    commit: str | None = None
    labels_sha256: str | None = None
    styles: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceRecord:
    """`data/raw/source.json`: which source, why, and what it gave."""

    profile: str
    """Key of `profiles` in params.yaml."""
    chosen: str
    why: str
    fingerprint: str
    """sha256 hex over the profile, the declarations, and every file's name, content and labels."""
    collected_at: str
    """UTC, ISO 8601; the only value that two runs on the same source may differ in."""
    sets: Mapping[str, SetRecord]


def read_source(workspace: Path) -> SourceRecord:
    """The record of the collected source. Raises SourceError where there is none or it is damaged."""
    path = workspace / SOURCE
    if not path.exists():
        raise SourceError(f"{path} does not exist; run `packshot collect` first")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        sets = {
            name: SetRecord(**{**entry, "styles": tuple(entry["styles"])}) for name, entry in raw.pop("sets").items()
        }
        return SourceRecord(**raw, sets=sets)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceError(f"{path} is damaged ({error}); run `packshot collect` again") from error
