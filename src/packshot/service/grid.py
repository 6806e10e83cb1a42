"""All pictures of the desk by columns in memory: filtered, searched and sorted in milliseconds."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any, Literal, Self
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from packshot.exports.source import VerdictFile
from packshot.scoring.decisions import reason_code
from packshot.scoring.verdicts import VerdictsUnreadable
from packshot.service.review import Decided, Now, Review, Waiting
from packshot.service.verdict_rows import Item

PAGE = 60
"""Pictures of a page."""
LABELS = {"style": "style", "category": "category", "seller": "sender", "sku": "sku"}
"""Filters by one text of a row, with their columns."""
_READ = ("title", *LABELS.values(), "reasons", "findings", "quality", "scored_at")
Sort = Literal["unsure", "surest", "worst", "best", "newest", "oldest", "path", "sku", "seller"]
Rows = NDArray[np.int64]


class Wanted(BaseModel):
    """Which pictures, in which order, and which page of them. Texts are compared whole, without regard to case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: tuple[Waiting, ...] = ()
    people: Literal["any", "open", "decided", "disputed"] = "any"
    code: tuple[str, ...] = ()
    """Reasons and broken rules; a picture has any of them."""
    style: str = ""
    category: str = ""
    seller: str = ""
    sku: str = ""
    batch: str = ""
    model: str = ""
    since: date | None = None
    until: date | None = None
    """Days on which pictures were scored, UTC, both inclusive."""
    narrowest: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    widest: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Of the interval of the score."""
    q: str = Field(default="", max_length=200)
    """Words, each of which is in title, SKU or path."""
    sort: Sort = "unsure"
    page: int = Field(default=1, ge=1, le=10**9)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError("the first day comes after the last")
        return self

    @classmethod
    def asked(cls, pairs: Sequence[tuple[str, str]]) -> Wanted:
        """Of an address: what is left blank is not asked. Raises ValidationError."""
        told: dict[str, Any] = {}
        for name, value in pairs:
            if value.strip():
                several = name in ("decision", "code")
                told[name] = (*told.get(name, ()), value.strip()) if several else value.strip()
        return cls.model_validate(told)

    def address(self, **changes: Any) -> str:
        """The query of an address that asks for this, with `changes`."""
        told = self.model_copy(update=changes).model_dump(mode="json", exclude_defaults=True)
        return urlencode({name: value for name, value in told.items() if value is not None}, doseq=True)


@dataclass(frozen=True)
class Row:
    """One picture of a page. `decided`: what people said, oldest first."""

    item: Item
    title: str | None
    style: str | None
    seller: str | None
    quality: float | None
    codes: tuple[str, ...]
    scored: str
    decided: list[Decided]
    disputed: bool

    @property
    def last(self) -> Decided | None:
        """What stands."""
        return self.decided[-1] if self.decided and self.decided[-1].outcome != "undo" else None

    @property
    def seen(self) -> int:
        """The newest entry about it."""
        return self.decided[-1].entry if self.decided else 0


@dataclass(frozen=True)
class Found:
    """A page of what was asked for: `total` pictures there are on `pages` pages."""

    total: int
    page: int
    pages: int
    rows: list[Row]


@dataclass
class _Texts:
    """A column of few different texts: a number for each row, -1 for none."""

    names: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    rows: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))

    def number(self, text: str | None) -> int:
        """That of a text, a new one where it is new."""
        if text is None or text == "":
            return -1
        if text not in self.numbers:
            self.numbers[text] = len(self.names)
            self.names.append(text)
        return self.numbers[text]

    def counted(self, most: int) -> list[tuple[str, int]]:
        """The commonest texts with the number of their rows."""
        counts = np.bincount(self.rows[self.rows >= 0], minlength=len(self.names))
        order = np.argsort(-counts, kind="stable")[:most]
        return [(self.names[at], int(counts[at])) for at in order]

    def is_text(self, text: str) -> NDArray[np.bool_]:
        """N: which rows have it."""
        numbers = [number for name, number in self.numbers.items() if folded(name) == folded(text)]
        return np.isin(self.rows, np.array(numbers, dtype=np.int32))

    def order(self) -> Rows:
        """Rows by their text; those without one last."""
        places = np.empty(len(self.names) + 1, np.int64)
        places[sorted(range(len(self.names)), key=lambda at: folded(self.names[at]))] = np.arange(len(self.names))
        places[-1] = len(self.names)
        return np.argsort(places[self.rows], kind="stable")


class Shelf:
    """The pictures of one state of the verdict files; row `i` is `items[i]`, the least sure first.

    Raises VerdictsUnreadable.
    """

    def __init__(self, items: list[Item]) -> None:
        count = len(items)
        self.items = items
        self.titles: list[str | None] = [None] * count
        self.codes: list[tuple[str, ...]] = [()] * count
        self.quality = np.full(count, np.nan)
        self.scored = np.zeros(count, np.int64)
        self.width = np.array([np.nan if item.width is None else item.width for item in items])
        self.texts = {name: _Texts() for name in (*LABELS, "batch", "model", "decision")}
        for texts in self.texts.values():
            texts.rows = np.full(count, -1, np.int32)
        for file, places in _by_file(items):
            self._read(file, places)
        self._known(items)
        self._sought = [
            folded(f"{title or ''}\n{item.sku or ''}\n{item.path}")
            for title, item in zip(self.titles, items, strict=True)
        ]
        self._orders: dict[str, Rows] = {}

    @cached_property
    def by_code(self) -> dict[str, Rows]:
        """The rows that have a reason or break a rule, the commonest first."""
        found: dict[str, list[int]] = {}
        for place, codes in enumerate(self.codes):
            for code in codes:
                found.setdefault(code, []).append(place)
        ordered = sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))
        return {code: np.array(places) for code, places in ordered}

    def matching(self, wanted: Wanted, open_: NDArray[np.bool_], disputed: NDArray[np.bool_]) -> Rows:
        """The rows that are asked for, in the order asked for. `open_`: N, what waits for people; `disputed`: N."""
        chosen = np.ones(len(self.items), bool)
        if wanted.decision:
            chosen &= np.any([self.texts["decision"].is_text(each) for each in wanted.decision], axis=0)
        if wanted.people != "any":
            chosen &= {"open": open_, "decided": ~open_, "disputed": disputed}[wanted.people]
        if wanted.code:
            chosen &= self._having(wanted.code)
        for name in (*LABELS, "batch", "model"):
            text: str = getattr(wanted, name)
            if text:
                chosen &= self.texts[name].is_text(text)
        chosen &= self._between(wanted)
        for word in folded(wanted.q).split():
            left = np.flatnonzero(chosen)
            chosen[[place for place in left if word not in self._sought[place]]] = False
        order = self._order(wanted.sort)
        return order[chosen[order]]

    def _having(self, codes: Sequence[str]) -> NDArray[np.bool_]:
        having = np.zeros(len(self.items), bool)
        for code in codes:
            having[self.by_code.get(code, np.empty(0, np.int64))] = True
        return having

    def _between(self, wanted: Wanted) -> NDArray[np.bool_]:
        chosen = np.ones(len(self.items), bool)
        if wanted.since is not None:
            chosen &= self.scored >= _microseconds(wanted.since)
        if wanted.until is not None:
            chosen &= self.scored < _microseconds(wanted.until) + 86_400_000_000
        if wanted.narrowest is not None:
            chosen &= self.width >= wanted.narrowest
        if wanted.widest is not None:
            chosen &= self.width <= wanted.widest
        return chosen

    def _order(self, sort: Sort) -> Rows:
        if sort not in self._orders:
            self._orders[sort] = self._ordered(sort)
        return self._orders[sort]

    def _ordered(self, sort: Sort) -> Rows:
        if sort in ("unsure", "surest"):
            keys = self.width if sort == "surest" else -self.width
        elif sort in ("worst", "best"):
            keys = self.quality if sort == "worst" else -self.quality
        elif sort in ("newest", "oldest"):
            keys = self.scored if sort == "oldest" else -self.scored
        elif sort == "path":
            return np.array(sorted(range(len(self.items)), key=lambda at: self.items[at].path), dtype=np.int64)
        else:
            return self.texts[sort].order()
        return np.argsort(keys, kind="stable")  # what has none stands last: it is NaN

    def _read(self, file: VerdictFile, places: Rows) -> None:
        """`places`: of each row of the file its place here, -1 for none."""
        start = 0
        for part in file.batches(_READ):
            here = places[start : start + part.num_rows]
            start += part.num_rows
            kept = np.flatnonzero(here >= 0)
            if len(here) != part.num_rows:
                break
            self._take(part.take(pa.array(kept)), here[kept])
        if start != len(places):
            raise VerdictsUnreadable(f"{file.folder} was scored anew meanwhile; ask again")

    def _take(self, part: pa.RecordBatch, places: Rows) -> None:
        for name, column in LABELS.items():
            self.texts[name].rows[places] = [self.texts[name].number(text) for text in part[column].to_pylist()]
        self.quality[places] = part["quality"].to_numpy(zero_copy_only=False)
        self.scored[places] = pc.fill_null(part["scored_at"].cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        told = zip(places, part["title"].to_pylist(), part["reasons"].to_pylist(), _rules(part), strict=True)
        for place, title, reasons, rules in told:
            self.titles[place] = title
            codes = (*map(reason_code, reasons or ()), *rules)
            self.codes[place] = tuple(dict.fromkeys(codes))

    def _known(self, items: list[Item]) -> None:
        for place, item in enumerate(items):
            self.texts["batch"].rows[place] = self.texts["batch"].number(item.file.batch_id)
            self.texts["model"].rows[place] = self.texts["model"].number(item.file.model)
            self.texts["decision"].rows[place] = self.texts["decision"].number(item.decision)


class Grid:
    """What is found among the pictures of the desk. Several threads may ask."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self._lock = threading.Lock()
        self._shelf: tuple[object, Shelf] | None = None

    def shelf(self) -> Shelf:
        """All pictures as the verdict files have them now. Raises VerdictsUnreadable, VerdictsMixed, LedgerError."""
        return self._shelf_of(self._review.now())

    def find(self, wanted: Wanted) -> Found:
        """A page of what is asked for; the last one where there are fewer. Raises as `shelf`."""
        now = self._review.now()
        shelf = self._shelf_of(now)
        rows = shelf.matching(wanted, ~now.settled, now.disputed)
        pages = max(1, -(-len(rows) // PAGE))
        page = min(wanted.page, pages)
        shown = [_row(shelf, int(place), self._review) for place in rows[PAGE * (page - 1) : PAGE * page]]
        return Found(len(rows), page, pages, shown)

    def _shelf_of(self, now: Now) -> Shelf:
        with self._lock:
            if self._shelf is None or self._shelf[0] != now.stamp:
                self._shelf = now.stamp, Shelf(now.items)
            return self._shelf[1]


def folded(text: str) -> str:
    """As texts are compared: without regard to case and to how a letter is composed."""
    return unicodedata.normalize("NFKC", text).casefold()


def _row(shelf: Shelf, place: int, review: Review) -> Row:
    item, quality = shelf.items[place], float(shelf.quality[place])
    decided, disputed = review.said_of(item.id)
    style, seller = (_named(shelf.texts[name], place) for name in ("style", "seller"))
    scored = datetime.fromtimestamp(shelf.scored[place] / 1e6, UTC).strftime("%Y-%m-%d")
    known = None if np.isnan(quality) else quality
    return Row(item, shelf.titles[place], style, seller, known, shelf.codes[place], scored, decided, disputed)


def _named(texts: _Texts, place: int) -> str | None:
    number = int(texts.rows[place])
    return None if number < 0 else texts.names[number]


def _by_file(items: list[Item]) -> Iterator[tuple[VerdictFile, Rows]]:
    """Each file with the place in `items` of each of its rows, -1 for rows that are not there."""
    places: dict[int, tuple[VerdictFile, Rows]] = {}
    for place, item in enumerate(items):
        key = id(item.file)
        if key not in places:
            places[key] = item.file, np.full(item.file.rows, -1, np.int64)
        places[key][1][item.number] = place
    yield from places.values()


def _rules(part: pa.RecordBatch) -> list[list[str]]:
    """Of each row the catalogue rules that it breaks."""
    found: list[list[str]] = [[] for _ in range(part.num_rows)]
    column = part["findings"]
    if pa.types.is_list(column.type) and column.null_count < part.num_rows:
        rules = pc.struct_field(pc.list_flatten(column), "rule").to_pylist()
        for row, rule in zip(pc.list_parent_indices(column).to_pylist(), rules, strict=True):
            found[row].append(rule)
    return found


def _microseconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1_000_000)
