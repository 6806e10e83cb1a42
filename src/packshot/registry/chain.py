"""The hash chain through the ledger: each entry's hash covers its own columns and the hash of the entry before.

A changed, replaced, inserted or missing entry breaks the chain at that place. Entries written before there was a chain
carry no hash of their own; the first that does covers all of them. That the newest entries are missing shows in no
chain: each machine keeps the hash that it saw last (`Witness`) beside the state it belongs to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packshot.files import write_json

COVERED = (
    "at",
    "actor",
    "kind",
    "model_name",
    "from_version",
    "to_version",
    "run_id",
    "data_rev",
    "code_rev",
    "params_hash",
    "payload",
)
"""The columns whose values a hash covers; the payload as the text that is stored."""
ORIGIN = ""
"""What stands for the hash before the first entry."""


@dataclass(frozen=True)
class Witness:
    """The newest entry that this machine wrote: its id, its hash (64 hex digits)."""

    id: int
    chain: str

    @classmethod
    def read(cls, file: Path) -> Witness | None:
        """What the file holds; None where there is none that can be read."""
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return cls(int(found["id"]), str(found["chain"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, file: Path) -> None:
        """Keep it. Raises OutputNotWritable."""
        write_json(file, {"id": self.id, "chain": self.chain})


def link(before: str, entry: Mapping[str, Any]) -> str:
    """The hash (64 hex digits) of an entry, whose `payload` is text, after the hash `before`."""
    told = json.dumps([before, *(entry.get(name) for name in COVERED)], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()


def end_of(entries: Iterable[Mapping[str, Any]]) -> str:
    """The hash at the end of entries in their order, those without a hash of their own counted in."""
    hash_ = ORIGIN
    for entry in entries:
        hash_ = entry["chain"] or link(hash_, entry)
    return hash_


def breaks(entries: Iterable[Mapping[str, Any]], witness: Witness | None = None) -> list[str]:
    """What is wrong with all entries of a ledger, oldest first, `payload` as text: one sentence each, none if whole."""
    found: list[str] = []
    hash_, chained, seen = ORIGIN, False, False
    for entry in entries:
        expected, hash_ = link(hash_, entry), entry["chain"]
        if hash_ is None:
            if chained:
                found.append(f"entry {entry['id']} ({entry['kind']}) has no hash: it was not written by Packshot")
            hash_ = expected
        elif hash_ != expected:
            found.append(
                f"entry {entry['id']} ({entry['kind']}) does not follow from those before it: "
                "it, or one before it, was changed, replaced or removed"
            )
        chained = chained or entry["chain"] is not None
        seen = seen or (witness is not None and (entry["id"], hash_) == (witness.id, witness.chain))
    if witness is not None and not seen:
        found.append(
            f"entry {witness.id}, the last that this machine wrote, is missing or another: "
            "entries were removed from the end, or the database was restored from an older backup"
        )
    return found
