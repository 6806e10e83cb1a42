"""The ledger for people and scripts."""

from __future__ import annotations

import json
import sys

from packshot.config import Settings
from packshot.registry.events import AnyEvent, Committed, Gated, Moved
from packshot.registry.ledger import Ledger

COLUMNS = ("id", "at", "kind", "actor", "version", "what")


def print_history(settings: Settings, *, as_json: bool = False) -> None:
    """Write the ledger to standard output, oldest first: a table, or one JSON object a line."""
    ledger = Ledger.from_environment()
    if as_json:
        for entry in ledger.history():
            sys.stdout.write(json.dumps(entry, sort_keys=True) + "\n")
        return
    entries = ledger.events()
    if not entries:
        sys.stdout.write(f"no model {settings.registry.model_name} was registered yet\n")
        return
    rows = [COLUMNS, *(_row(entry) for entry in entries)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        sys.stdout.write("  ".join([*cells, row[-1]]).rstrip() + "\n")


def _row(entry: AnyEvent) -> tuple[str, ...]:
    came, went = entry.from_version, entry.to_version
    version = "" if went is None and came is None else f"{came or '–'} → {went or '–'}"
    return (str(entry.id), entry.at[:19], entry.kind, entry.actor, version, _what(entry))


def _what(entry: AnyEvent) -> str:
    payload = entry.payload
    if isinstance(entry, Gated):
        failed = [gate["metric"] for gate in entry.payload.gates if gate["verdict"] not in ("pass", "not_applicable")]
        return str(payload.outcome).replace("_", " ") + (f": {', '.join(failed)}" if failed else "")
    told = payload.failure or payload.note or payload.reason or payload.outcome or payload.batch
    healed = isinstance(entry, Moved | Committed) and entry.payload.healed
    return told or ("finished after an interruption" if healed else "")
