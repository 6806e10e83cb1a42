"""The pictures that wait for a person, and what people decided: who, what and when stand in the ledger."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import BadImage, ImageLimits, encoded, resolve_inside
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.registry.events import Reviewed
from packshot.registry.ledger import Ledger
from packshot.scoring.contract import Verdict
from packshot.service.verdict_rows import Item, items_in, preview_of, scored_folders, stamp_of, verdict_of

Outcome = Literal["accept", "enhance", "reject", "undo"]
Waiting = Literal["review", "enhance", "reject", "accept"]
KIND = "reviewed"
SCREEN_PX = 1600
"""Longest side of a picture on the desk."""
SCREEN_QUALITY = 92
SURER_BY = 0.05
"""Of the width of an interval: one so much narrower comes later."""
LOOK_EVERY_S = 5.0
"""Seconds between looks for verdict files that are new."""


class NoSuchItem(PackshotError):
    """There is no such picture on the desk."""

    exit_code = 66


class PictureGone(PackshotError):
    """The picture cannot be shown: it is not there any more, or is another one."""

    exit_code = 66


class DecidedMeanwhile(PackshotError):
    """Somebody else decided on the picture since it was looked at."""

    exit_code = 75


class NotToDecide(PackshotError):
    """What was decided cannot be: there is no repaired picture to show, or nothing to take back."""

    exit_code = 2


class Said(BaseModel):
    """What a person decides on a picture."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    outcome: Outcome
    reason: str | None = Field(default=None, max_length=200)
    """Of a rejection: what is wrong."""
    score: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    style: str | None = Field(default=None, min_length=1, max_length=200)
    """What its score and its style are for this person, where the engine is wrong: labels to learn from."""
    seen: int = Field(default=0, ge=0)
    """Entry of the newest decision on the picture that was shown, 0 for none."""
    token: str = Field(pattern=r"^[\w-]{8,64}$")
    """Made up by the sender: the same decision sent twice is one."""

    @model_validator(mode="after")
    def _corrects_by_deciding(self) -> Self:
        if self.outcome == "undo" and (self.score is not None or self.style is not None):
            raise ValueError("what takes a decision back corrects nothing")
        return self


class Decided(BaseModel):
    """A decision as it stands in the ledger. `beside`: the person did not know of the one before it."""

    entry: int
    outcome: Outcome
    reason: str | None
    who: str
    at: str
    beside: bool
    score: float | None = None
    style: str | None = None


class Shown(BaseModel):
    """A picture on the desk: its verdict, what people decided, and other pictures of the same SKU."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    verdict: Verdict
    decided: list[Decided]
    disputed: bool
    siblings: list[str]
    styles: list[str]
    """Those that pictures of the desk have, of which a correction names one."""


class Listed(BaseModel):
    """A picture in the queue."""

    id: str
    path: str
    batch: str
    sku: str | None
    width: float | None


class Page(BaseModel):
    """A stretch of the queue: how many wait in all, and how many people have decided on."""

    waiting: int
    decided: int
    items: list[Listed]


@dataclass(frozen=True)
class Now:
    """All pictures, the least sure first, as the verdict files have them while `stamp` is the same; of each whether
    people have decided on it and agree (`settled`), and whether they disagree (`disputed`)."""

    stamp: object
    items: list[Item]
    settled: NDArray[np.bool_]
    disputed: NDArray[np.bool_]


@dataclass
class _Queue:
    """All pictures in the order of the desk, by their places; those that wait, by what the engine decided."""

    items: list[Item] = field(default_factory=list)
    place: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, list[int]] = field(default_factory=dict)
    of_sku: dict[str, list[int]] = field(default_factory=dict)
    styles: list[str] = field(default_factory=list)
    content: dict[str, int] = field(default_factory=dict)
    """By the sha256 of the file."""


class Review:
    """The desk's pictures: of `folders`, else of all that the home's inbox scored. Several threads may ask."""

    def __init__(self, settings: Settings, folders: Sequence[Path] = ()) -> None:
        self._settings, self._folders = settings, tuple(folders)
        self._lock = threading.RLock()
        self._ledger: Ledger | None = None
        self._queue = _Queue()
        self._stamp: object = None
        self._looked = float("-inf")
        self._last = 0
        self._decided: dict[str, list[Decided]] = {}
        self._tokens: dict[str, Decided] = {}
        self._standing: set[str] = set()
        self._crowned: tuple[int, int | None] | None = None
        self._now: tuple[int, Now] | None = None

    def warm(self) -> None:
        """Read the files now, so that nobody has to wait; what is wrong is told to who asks."""
        with suppress(PackshotError), self._lock:
            self._refresh()

    def now(self) -> Now:
        """Everything at once. Raises VerdictsUnreadable, VerdictsMixed, LedgerError."""
        with self._lock:
            self._refresh()
            if self._now is None or self._now[0] != self._last or self._now[1].stamp != self._stamp:
                settled, disputed = (np.zeros(len(self._queue.items), bool) for _ in range(2))
                for item_id, decided in self._decided.items():
                    place = self._queue.place.get(item_id)
                    if place is not None:
                        settled[place], disputed[place] = _stands(decided), _disputed(decided)
                self._now = self._last, Now(self._stamp, self._queue.items, settled, disputed)
            return self._now[1]

    def said(self) -> dict[str, list[Decided]]:
        """What people decided on pictures, by these, oldest first; pictures on which one person did are left out."""
        with self._lock:
            self._refresh()
            return {item: list(each) for item, each in self._decided.items() if len({one.who for one in each}) > 1}

    def said_of(self, item_id: str) -> tuple[list[Decided], bool]:
        """What people decided on a picture, oldest first, and whether they disagree."""
        with self._lock:
            decided = list(self._decided.get(item_id, ()))
        return decided, _disputed(decided)

    def standing_of(self, item_id: str) -> Outcome | None:
        """What people decided on a picture, where they agree."""
        decided, _ = self.said_of(item_id)
        return decided[-1].outcome if _stands(decided) else None

    def item(self, named: str) -> Item:
        """A scored picture, by its id on the desk or by the sha256 of its file. Raises NoSuchItem."""
        with self._lock:
            self._refresh()
            place = self._queue.place.get(named, self._queue.content.get(named))
            if place is None:
                raise NoSuchItem(f"no scored picture is called {named}; it may have been scored anew")
            return self._queue.items[place]

    def page(self, decision: Waiting, after: str | None, count: int) -> Page:
        """The next `count` pictures that wait behind `after` (None: from the first). Raises VerdictsUnreadable."""
        with self._lock:
            self._refresh()
            waiting = self._queue.waiting.get(decision, [])
            start = bisect_right(waiting, self._queue.place.get(after, -1)) if after is not None else 0
            listed = [self._listed(self._queue.items[place]) for place in waiting[start : start + count]]
            return Page(waiting=len(waiting), decided=len(self._standing), items=listed)

    def shown(self, item_id: str) -> Shown:
        """One picture. Raises NoSuchItem, VerdictsUnreadable."""
        item = self.item(item_id)
        decided, disputed = self.said_of(item_id)
        with self._lock:
            places = self._queue.of_sku.get(item.sku or "", ())
            siblings = [self._queue.items[place].id for place in places if self._queue.items[place] is not item]
            styles = self._queue.styles
        verdict = verdict_of(item)
        return Shown(id=item_id, verdict=verdict, decided=decided, disputed=disputed, siblings=siblings, styles=styles)

    def picture(self, item_id: str, which: Literal["original", "enhanced"]) -> bytes:
        """The picture as JPEG for a screen, decoded apart and written anew: no byte of a seller's file is passed on.

        Raises NoSuchItem, PictureGone.
        """
        item, limits = self.item(item_id), ImageLimits.from_settings(self._settings.validation)
        try:
            content = self._content(item, which, limits)
            return encoded(decode(content, limits, longest=SCREEN_PX), format="JPEG", jpeg_quality=SCREEN_QUALITY)
        except BadImage as error:
            raise PictureGone(f"the picture cannot be shown: {error.detail}") from error

    def preview(self, item_id: str) -> bytes:
        """The small JPEG that was made when the picture was judged, else `picture`. Raises as that."""
        return preview_of(self.item(item_id)) or self.picture(item_id, "original")

    def decide(self, item_id: str, said: Said, who: str) -> Decided:
        """Enter a decision into the ledger; one that came before comes back as it is.

        Raises NoSuchItem, DecidedMeanwhile, NotToDecide, LedgerError.
        """
        item = self.item(item_id)
        with self._lock:
            self._read_ledger()
            if said.token in self._tokens:
                return self._tokens[said.token]
            before = self._decided.get(item_id, [])
            if before and before[-1].entry > said.seen:
                last = before[-1]
                raise DecidedMeanwhile(f"{last.who} said {last.outcome} meanwhile; look again, then decide")
            self._may(item, said, before)
            told = said.model_dump() | {"item": item_id, "batch": item.file.batch_id, "path": item.path}
            told |= {"image_id": item.image_id}
            self._book().record(KIND, actor=who, model_name=self._settings.registry.model_name, payload=told)
            self._read_ledger()
            return self._tokens[said.token]

    def _may(self, item: Item, said: Said, before: Sequence[Decided]) -> None:
        if said.outcome == "undo" and not _stands(before):
            raise NotToDecide("there is no decision to take back")
        if said.outcome == "enhance" and verdict_of(item).enhanced_path is None:
            raise NotToDecide("there is no repaired picture to show; accept the picture or reject it")
        if said.style is not None and said.style not in self._queue.styles:
            raise NotToDecide(f"no picture here has a style of that name; there are {', '.join(self._queue.styles)}")

    def _content(self, item: Item, which: str, limits: ImageLimits) -> bytes:
        root, path, digest = item.file.images(), item.path, item.image_id
        if which == "enhanced":
            verdict = verdict_of(item)
            root, path, digest = item.file.folder, verdict.enhanced_path or "", verdict.enhanced_id
        if root is None or not path:
            raise PictureGone("there is no such picture: the folder that was scored has moved, or nothing was repaired")
        file = resolve_inside(root, path)
        try:
            if file.stat().st_size > limits.max_file_mb * 1e6:
                raise PictureGone("the file is larger than validation.max_file_mb")
            content = file.read_bytes()
        except OSError as error:
            raise PictureGone(f"the file cannot be read: {error.strerror}") from error
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise PictureGone("the file is another one than was judged; score it again")
        return content

    def _listed(self, item: Item) -> Listed:
        return Listed(id=item.id, path=item.path, batch=item.file.batch_id, sku=item.sku, width=item.width)

    def _book(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger.from_environment()
        return self._ledger

    def _refresh(self) -> None:
        """Take notice of what others decided, and now and then of verdict files that changed."""
        if monotonic() - self._looked >= LOOK_EVERY_S:
            folders = list(self._folders) or scored_folders(self._champion())
            stamp = stamp_of(folders)
            if stamp != self._stamp:
                self._queue = _ordered(list(items_in(folders)) if stamp else [])
                self._stamp = stamp
                for item_id in self._decided:
                    self._put(item_id)
            self._looked = monotonic()  # what cannot be read is told to everybody who asks
        self._read_ledger()

    def _champion(self) -> int | None:
        """Adding up the ledger takes .25 s for 10,000 decisions, and those move no champion."""
        newest = self._book().newest(but=KIND)
        if self._crowned is None or self._crowned[0] != newest:
            self._crowned = newest, self._book().state(self._settings.registry.model_name).champion
        return self._crowned[1]

    def _read_ledger(self) -> None:
        for event in self._book().events(self._settings.registry.model_name, KIND, after=self._last):
            self._last = event.id
            if isinstance(event, Reviewed):
                self._take(event)

    def _take(self, event: Reviewed) -> None:
        said = event.payload
        before = self._decided.setdefault(said.item, [])
        decided = _decided(event, before)
        before.append(decided)
        self._tokens[said.token] = decided
        self._put(said.item)

    def _put(self, item_id: str) -> None:
        """Let a picture wait, or no longer, by what was decided on it."""
        stands = _stands(self._decided.get(item_id, ()))
        (self._standing.add if stands else self._standing.discard)(item_id)
        place = self._queue.place.get(item_id)
        if place is None:
            return
        waiting = self._queue.waiting.setdefault(self._queue.items[place].decision, [])
        at = bisect_right(waiting, place) - 1
        there = at >= 0 and waiting[at] == place
        if stands and there:
            del waiting[at]
        elif not stands and not there:
            insort(waiting, place)


def _stands(decided: Sequence[Decided]) -> bool:
    """Whether people have decided on a picture, and agree."""
    return bool(decided) and decided[-1].outcome != "undo" and not _disputed(decided)


def _disputed(decided: Sequence[Decided]) -> bool:
    """Whether the last two decisions, made beside each other, differ."""
    return len(decided) > 1 and decided[-1].beside and decided[-1].outcome != decided[-2].outcome


def _ordered(items: list[Item]) -> _Queue:
    """Least sure first, by steps of SURER_BY; last those without an interval.

    Within a step they stand as in the files: neighbours are then read together, and finer differences say nothing."""
    items.sort(key=lambda item: (item.width is None, -int((item.width or 0.0) / SURER_BY)))
    queue = _Queue(items, {item.id: place for place, item in enumerate(items)})
    queue.styles = sorted({item.style for item in items if item.style})
    for place, item in enumerate(items):
        queue.waiting.setdefault(item.decision, []).append(place)
        if item.image_id:
            queue.content[item.image_id] = place
        if item.sku:
            queue.of_sku.setdefault(item.sku, []).append(place)
    return queue


def standing(events: Iterable[Reviewed]) -> list[Reviewed]:
    """Of each picture the decision that stands, by all entries about pictures, oldest first."""
    said: dict[str, list[Decided]] = {}
    last: dict[str, Reviewed] = {}
    for event in events:
        before = said.setdefault(event.payload.item, [])
        before.append(_decided(event, before))
        last[event.payload.item] = event
    return [event for item, event in last.items() if _stands(said[item])]


def _decided(event: Reviewed, before: Sequence[Decided]) -> Decided:
    said, beside = event.payload, bool(before) and before[-1].entry > event.payload.seen
    told = said.model_dump(include={"outcome", "reason", "score", "style"})
    told |= {"entry": event.id, "who": event.actor, "at": event.at}
    return Decided.model_validate(told | {"beside": beside})
