"""What users looked at and clicked: a CSV, line by line, with weights that fade."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from packshot.config import ProfileSettings
from packshot.errors import PackshotError

Item = tuple[str, str]
"""`path` or `sku`, and its value."""
DAY_S = 86_400.0


class EventsUnreadable(PackshotError):
    """The file of events cannot be read, or lacks a column."""

    exit_code = 65


@dataclass(frozen=True)
class Event:
    """One look or click. `at` is None where the line names no time."""

    user: str
    item: Item
    kind: str
    at: datetime | None


@dataclass
class Events:
    """All events together: the weight of each user for each item, and what could not be used."""

    weights: dict[str, dict[Item, float]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    of_item: Counter[Item] = field(default_factory=Counter)
    broken_lines: int = 0
    other_kinds: int = 0


def read_events(path: Path, rules: ProfileSettings) -> Events:
    """Sum up a CSV with the columns user, event, path or sku (or both: path counts), and, if wanted, time (ISO).

    A kind weighs as `exports.profile.weights` says, and halves with every `half_life_days` that it lies before the
    newest event; without a time it does not fade. Broken lines and events of other kinds are counted and left out.
    Raises EventsUnreadable.
    """
    newest = max((event.at for event in _lines(path, Events()) if event.at is not None), default=None)
    found = Events()
    for event in _lines(path, found):
        if event.kind not in rules.weights:
            found.other_kinds += 1
            continue
        weight = rules.weights[event.kind] * _faded(event.at, newest, rules.half_life_days)
        of_user = found.weights.setdefault(event.user, {})
        of_user[event.item] = of_user.get(event.item, 0.0) + weight
        found.counts[event.user] += 1
        found.of_item[event.item] += 1
    return found


def _faded(at: datetime | None, newest: datetime | None, half_life_days: float) -> float:
    if at is None or newest is None:
        return 1.0
    return float(0.5 ** ((newest - at).total_seconds() / DAY_S / half_life_days))


def _lines(path: Path, found: Events) -> Iterator[Event]:
    """The events of the file; each line stands alone, so that an open quotation mark costs no more than its own."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
            columns = next(csv.reader([handle.readline()]), [])
            _check(path, columns)
            for line in handle:
                event = _event(columns, line)
                if event is not None:
                    yield event
                elif line.strip():
                    found.broken_lines += 1
    except OSError as error:
        raise EventsUnreadable(f"cannot read the events {path}: {error.strerror}") from error


def _check(path: Path, columns: list[str]) -> None:
    missing = [name for name in ("user", "event") if name not in columns]
    if missing or not {"path", "sku"} & set(columns):
        needed = "user, event, and path or sku"
        raise EventsUnreadable(f"{path} needs the columns {needed}; it has {', '.join(columns) or 'none'}")


def _event(columns: list[str], line: str) -> Event | None:
    try:
        values = next(csv.reader([line.rstrip("\r\n")], strict=True), [])
    except csv.Error:
        return None
    if len(values) != len(columns):
        return None
    row = {name: value.strip() for name, value in zip(columns, values, strict=True)}
    item = _item(row)
    try:
        at = _time(row.get("time", ""))
    except (ValueError, OverflowError):
        return None
    return Event(row["user"], item, row["event"], at) if row["user"] and item is not None else None


def _item(row: Mapping[str, str]) -> Item | None:
    for name in ("path", "sku"):
        if row.get(name):
            return (name, row[name])
    return None


def _time(text: str) -> datetime | None:
    if not text:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
