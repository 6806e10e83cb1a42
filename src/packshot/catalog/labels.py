"""Labels that people give to pictures after these were scored: the file they come in, and the store that keeps them.

The file is a table (see `catalog.shop`) with the columns `image_id` or `path` (and `batch`, where several batches have
that path), `who`, `when` (ISO 8601, UTC where it names no zone), and of `quality_mos` (0..1), `style` and `decision`
(accept or reject) at least one; other columns are passed over, and so are rows in which all labels are blank. The store
only grows: a person corrects a label by a later one.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import filelock

from packshot.catalog.scores import as_score
from packshot.catalog.shop.columns import folded
from packshot.catalog.shop.matching import composed, spellings
from packshot.catalog.shop.records import Table, open_table
from packshot.config import CatalogSettings
from packshot.errors import PackshotError
from packshot.files import OutputNotWritable, write_bytes, write_text
from packshot.progress import say
from packshot.spreadsheet import unguarded

ENTRIES = "labels.jsonl"
IMAGES = "images"
VALUES = ("quality_mos", "style", "decision")
DECISIONS = ("accept", "reject")
REQUIRED = ("who", "when")
COLUMNS = ("image_id", "path", "batch", "why", *VALUES, *REQUIRED)
TOLD = 20
"""Most wrong rows that an error names."""
AHEAD = timedelta(days=1)
"""A date without a zone may lie so far ahead of UTC, and no further."""


class LabelsRefused(PackshotError):
    """A file of labels has wrong rows; nothing of it was added."""

    exit_code = 65


class LabelStoreDamaged(PackshotError):
    """The store of labels holds something that is no label."""

    exit_code = 65


@dataclass(frozen=True)
class Picture:
    """A scored picture: its content (sha256), where it lies, and what the shop says of it."""

    image_id: str
    batch: str
    path: str
    location: Path
    sku: str | None = None
    title: str | None = None
    sender: str | None = None
    category: str | None = None


@dataclass(frozen=True)
class Label:
    """What one person said of one picture. `when` is ISO 8601 in UTC, `file` lies below the store's folder, `why` is
    the label queue's reason for choosing the picture, where it did."""

    image_id: str
    quality_mos: float | None
    style: str | None
    who: str
    when: str
    file: str
    batch: str
    path: str
    sku: str | None
    title: str | None
    sender: str | None
    category: str | None
    why: str | None
    decision: str | None = None


@dataclass(frozen=True)
class Added:
    """Rows of a file by what became of them."""

    added: int
    known: int
    blank: int


@dataclass(frozen=True)
class Opinion:
    """What people together say of a picture: the mean score, the style that most of them name, and accept or reject.

    `label` is the newest entry, for the facts about the picture; `disputed`: as many would accept as reject it.
    """

    quality_mos: float | None
    style: str | None
    label: Label
    decision: str | None = None
    disputed: bool = False


class LabelStore:
    """The labels below a folder: `labels.jsonl`, and the labelled pictures in `images/`, named by their content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def labels(self) -> list[Label]:
        """All entries in the order they were added. Raises LabelStoreDamaged."""
        path = self.folder / ENTRIES
        if not path.exists():
            return []
        found = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                found.append(Label(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise LabelStoreDamaged(
                    f"{path}, line {number}, is no label ({error}); put the file back from a backup"
                ) from error
        return found

    def opinions(self) -> dict[str, Opinion]:
        """What is said of each labelled picture, by its content. Raises LabelStoreDamaged."""
        labels = self.labels()
        newest = {label.image_id: label for label in labels}
        said: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for (image_id, _), values in _current(labels).items():
            said[image_id].append({name: value for name, (value, _) in values.items()})
        return {image_id: _opinion(each, newest[image_id]) for image_id, each in said.items()}

    def lessons(self) -> dict[str, Opinion]:
        """Those of `opinions` that a training can learn from: a decision tells the shop's own scale alone."""
        return {
            key: one for key, one in self.opinions().items() if one.quality_mos is not None or one.style is not None
        }

    def add(
        self,
        file: Path,
        rules: CatalogSettings,
        pictures: Iterable[Picture],
        styles: Collection[str],
        now: datetime,
    ) -> Added:
        """Add the rows of a label file, read by `rules`, that are new, all or none.

        `pictures` are those that may have labels, `styles` those that the champion knows; none: any. Raises
        LabelsRefused naming every wrong row, CatalogUnreadable for a file that is no table, OutputNotWritable.
        """
        table = open_table(file, rules)
        if table.said:
            say(f"{file.name}: {table.said}")
        names = _named(table)
        missing = [name for name in REQUIRED if name not in names]
        if missing or not {"image_id", "path"} & set(names) or not set(VALUES) & set(names):
            raise LabelsRefused(
                f"{file} needs the columns image_id or path, one of {', '.join(VALUES)}, who, and when; "
                f"it has {', '.join(filter(None, table.header)) or 'none'}"
            )
        with self.alone():
            before = self.labels()
            reading = _Reading(_Known(pictures), styles, now, _current(before))
            for line, values in table.rows:
                reading.take(line, {name: unguarded(values[place] or "") for name, place in names.items()})
            if table.faults.broken:
                reading.problems.extend(table.faults.sentences())
            if reading.problems:
                raise LabelsRefused(_told(file, reading.problems))
            for label, picture in reading.fresh:
                self._keep(label, picture)
            if reading.fresh:
                lines = [json.dumps(asdict(label)) for label in [*before, *(label for label, _ in reading.fresh)]]
                write_text(self.folder / ENTRIES, "\n".join(lines) + "\n")
        return Added(len(reading.fresh), reading.known, reading.blank)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder for this process. Raises OutputNotWritable where it cannot be made."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputNotWritable(self.folder, error) from error
        with filelock.FileLock(self.folder / ".lock"):
            yield

    def _keep(self, label: Label, picture: Picture) -> None:
        # Before the label: a copy without a label is harmless, a label without its picture could not be learned from.
        target = self.folder / label.file
        if not target.exists():
            write_bytes(target, picture.location.read_bytes())


def _named(table: Table) -> dict[str, int]:
    """Where COLUMNS stand, whatever their case; of two alike the first."""
    places: dict[str, int] = {}
    for place, name in enumerate(table.header):
        for ours in COLUMNS:
            if folded(name) == folded(ours):
                places.setdefault(ours, place)
    return places


class _Known:
    """Pictures by content, and by path."""

    def __init__(self, pictures: Iterable[Picture]) -> None:
        self._by_id: dict[str, Picture] = {}
        self._by_path: defaultdict[str, dict[str, Picture]] = defaultdict(dict)
        for picture in pictures:
            self._by_id.setdefault(picture.image_id, picture)
            for name in {picture.path, composed(picture.path)}:
                self._by_path[name][picture.batch] = picture

    def find(self, row: Mapping[str, str]) -> Picture | str:
        """The picture that a row means, or what is wrong with how it names it."""
        image_id, path, batch = row.get("image_id", ""), row.get("path", ""), row.get("batch", "")
        if image_id:
            return self._by_id.get(image_id) or f"no scored picture has the image_id {image_id}"
        if not path:
            return "it names no picture: fill in image_id or path"
        found = next((self._by_path[name] for name in spellings(path, "") if name in self._by_path), {})
        if batch:
            return found.get(batch) or f"batch {batch!r} has no scored picture {path}"
        if len({picture.image_id for picture in found.values()}) > 1:
            return f"{path} is in the batches {', '.join(sorted(found))}; name one in a column batch"
        return next(iter(found.values()), f"no scored picture has the path {path}")


Current = dict[tuple[str, str], dict[str, tuple[Any, datetime]]]


class _Reading:
    """One pass over the rows of a file."""

    def __init__(self, pictures: _Known, styles: Collection[str], now: datetime, current: Current) -> None:
        self.fresh: list[tuple[Label, Picture]] = []
        self.known = 0
        self.blank = 0
        self.problems: list[str] = []
        self._pictures = pictures
        self._styles = styles
        self._now = now
        self._current = current
        self._seen: dict[tuple[str, str], int] = {}

    def take(self, number: int, row: Mapping[str, str]) -> None:
        """One row; `number` is its line in the file."""
        if not any(row.get(name) for name in VALUES):
            self.blank += 1
            return
        try:
            self._take(number, row)
        except ValueError as problem:
            self.problems.append(f"row {number}: {problem}")

    def _take(self, number: int, row: Mapping[str, str]) -> None:
        picture = self._pictures.find(row)
        if isinstance(picture, str):
            raise ValueError(picture)
        values = {
            "quality_mos": _score(row.get("quality_mos", "")),
            "style": self._style(row.get("style", "")),
            "decision": _decision(row.get("decision", "")),
        }
        who, when = row["who"], _time(row["when"], self._now)
        if not who:
            raise ValueError("nobody is named under who")
        first = self._seen.setdefault((picture.image_id, who), number)
        if first != number:
            raise ValueError(f"{who} labels the same picture in row {first}")
        given = {name: value for name, value in values.items() if value is not None}
        before = self._current.get((picture.image_id, who), {})
        if all(name in before and before[name][0] == value for name, value in given.items()):
            self.known += 1
            return
        for name, value in given.items():
            if name in before and before[name][0] != value and when <= before[name][1]:
                raise ValueError(
                    f"{who} said {name} = {before[name][0]} on {before[name][1].isoformat()}, not {value}; "
                    "a correction needs a later `when`"
                )
        if not _is_there(picture):
            raise ValueError(f"its picture {picture.location} is gone or no longer what was scored")
        self.fresh.append((_label(picture, values, who, when, row.get("why") or None), picture))

    def _style(self, text: str) -> str | None:
        if not text or not self._styles or text in self._styles:
            return text or None
        close = difflib.get_close_matches(text, list(self._styles), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; it knows {', '.join(sorted(self._styles))}"
        raise ValueError(f"the champion knows no style {text!r}{hint}")


def _label(picture: Picture, values: Mapping[str, Any], who: str, when: datetime, why: str | None) -> Label:
    return Label(
        image_id=picture.image_id,
        quality_mos=values["quality_mos"],
        style=values["style"],
        who=who,
        when=when.isoformat(),
        file=f"{IMAGES}/{picture.image_id}{PurePosixPath(picture.path).suffix.lower()}",
        batch=picture.batch,
        path=picture.path,
        sku=picture.sku,
        title=picture.title,
        sender=picture.sender,
        category=picture.category,
        why=why,
        decision=values["decision"],
    )


def _score(text: str) -> float | None:
    if not text:
        return None
    value = as_score(text)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"quality_mos is {text!r}; a number from 0 to 1 is expected")
    return value


def _decision(text: str) -> str | None:
    if text and text.lower() not in DECISIONS:
        raise ValueError(f"decision is {text!r}; {' or '.join(DECISIONS)} is expected")
    return text.lower() or None


def _time(text: str, now: datetime) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"when is {text!r}; an ISO 8601 date or time is expected, like 2026-05-01T12:00") from None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    if when > now + AHEAD:
        raise ValueError(f"when is {text}, which lies in the future")
    return when


def _is_there(picture: Picture) -> bool:
    try:
        return hashlib.sha256(picture.location.read_bytes()).hexdigest() == picture.image_id
    except OSError:
        return False


def _current(labels: Iterable[Label]) -> Current:
    """For each picture and person what holds now: name of the label to its value and time."""
    found: defaultdict[tuple[str, str], dict[str, tuple[Any, datetime]]] = defaultdict(dict)
    for label in labels:
        for name in VALUES:
            value = getattr(label, name)
            if value is not None:
                found[label.image_id, label.who][name] = (value, datetime.fromisoformat(label.when))
    return dict(found)


def _opinion(said: Sequence[Mapping[str, Any]], newest: Label) -> Opinion:
    scores, styles, decisions = ([one[name] for one in said if name in one] for name in VALUES)
    decision = _majority(decisions)
    return Opinion(_mean(scores), _majority(styles), newest, decision, bool(decisions) and decision is None)


def _mean(scores: Sequence[float]) -> float | None:
    return math.fsum(scores) / len(scores) if scores else None


def _majority(styles: Sequence[str]) -> str | None:
    """The style named most often; None where two are."""
    ranked = Counter(styles).most_common(2)
    return ranked[0][0] if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]) else None


def _told(file: Path, problems: Sequence[str]) -> str:
    shown = [*problems[:TOLD], *([f"... and {len(problems) - TOLD} more"] if len(problems) > TOLD else [])]
    return f"{file} has {len(problems)} wrong row(s), so nothing was added:\n  " + "\n  ".join(shown)
