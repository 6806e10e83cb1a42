"""When a batch arrived in the inbox, and who was champion then."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from packshot.files import OutputNotWritable, write_text
from packshot.progress import say
from packshot.registry.ledger import Ledger

RECORD = ".arrived"
"""A hidden file in the folder of a batch: hidden files are no pictures, and it moves and goes with the batch."""


def record_arrival(folder: Path, at: datetime) -> None:
    """Write down when this batch arrived. Raises OutputNotWritable."""
    write_text(folder / RECORD, at.astimezone(UTC).isoformat() + "\n")


def keep_arrival(folder: Path) -> None:
    """Write down the arrival of a batch that came without `packshot inbox put`, before its folder changes again.

    An inbox that may not be written to is left as it is.
    """
    if not (folder / RECORD).is_file():
        try:
            record_arrival(folder, arrival(folder))
        except OutputNotWritable as error:
            say(f"the arrival of {folder.name} stays the time of its folder: {error}")


def arrival(folder: Path) -> datetime:
    """When this batch arrived, UTC: as written down, else when its folder last changed."""
    record = folder / RECORD
    if record.is_file():
        try:
            return datetime.fromisoformat(record.read_text(encoding="utf-8").strip()).astimezone(UTC)
        except ValueError:
            say(f"{record} holds no time; taking that of the folder")
    return datetime.fromtimestamp(folder.stat().st_mtime, UTC)


def arrived_on(inbox: Path, names: list[str], day: date) -> dict[str, datetime]:
    """Of these batches those that arrived on a day (UTC), and when, the oldest first."""
    at = {name: arrival(inbox / name) for name in names}
    return {name: at[name] for name in sorted(at, key=lambda name: (at[name], name)) if at[name].date() == day}


def champion_then(ledger: Ledger, model_name: str, at: datetime) -> int | None:
    """Who scores what arrived then: the champion of that time, else the first one after; None where none followed."""
    champions = [(datetime.fromisoformat(reign.since), reign.version) for reign in ledger.state(model_name).reigns]
    before = [version for since, version in champions if since <= at]
    if before and before[-1] is not None:
        return before[-1]
    return next((version for since, version in champions if since > at and version is not None), None)
