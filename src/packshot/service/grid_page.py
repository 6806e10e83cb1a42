"""The page of the grid: what is asked for, what is selected and decided at once, and the views that people keep."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from packshot.errors import PackshotError
from packshot.registry.ledger import LedgerError
from packshot.service.access import REVIEWERS
from packshot.service.callers import Caller, field, form_of
from packshot.service.desk import page
from packshot.service.grid import PAGE, Found, Grid, Shelf, Wanted
from packshot.service.people import People
from packshot.service.review import Review, Said
from packshot.service.uploads import WrongRequest
from packshot.service.views import View, keep, throw_away, views_of
from packshot.serving.batches import REASONS

OFFERED = 200
"""Texts of a filter that are offered, the commonest first."""
SORTS = {
    "unsure": "least sure first",
    "surest": "surest first",
    "worst": "worst first",
    "best": "best first",
    "newest": "newest first",
    "oldest": "oldest first",
    "path": "by path",
    "sku": "by SKU",
    "seller": "by seller",
}
PEOPLE = {"any": "decided or not", "open": "not decided by people", "decided": "decided", "disputed": "people disagree"}


@dataclass(frozen=True)
class Done:
    """What became of one decision on several pictures: items that it was entered for, and why not for others."""

    outcome: str
    items: list[str]
    refused: list[str]


def grid_pages(review: Review, grid: Grid, people: People) -> APIRouter:
    """The routes; who may ask is checked before they are reached."""
    router, pages = APIRouter(prefix="/desk", include_in_schema=False), _GridPages(review, grid, people)
    router.add_api_route("/grid", pages.shown, methods=["GET"])
    router.add_api_route("/grid", pages.decided, methods=["POST"])
    router.add_api_route("/views", pages.views, methods=["POST"])
    return router


class _GridPages:
    def __init__(self, review: Review, grid: Grid, people: People) -> None:
        self._review, self._grid, self._people = review, grid, people

    async def shown(self, request: Request) -> Response:
        """Pictures by a filter."""
        return await asyncio.to_thread(self._answer, request, None)

    async def decided(self, request: Request) -> Response:
        """Decide on the pictures that are ticked, then show the same filter again."""
        fields = await form_of(request)
        said = [each.partition(":") for each in fields.get("item", ())]
        if not all(seen.isdigit() for _, _, seen in said):
            raise WrongRequest("a picture is named by its id and the entry that was seen")
        chosen = [(item, int(seen)) for item, _, seen in said[:PAGE]]
        told = field(fields, "outcome"), field(fields, "reason").strip(), field(fields, "token")
        done = await asyncio.to_thread(self._decide, chosen, *told, request.state.caller)
        return await asyncio.to_thread(self._answer, request, done)

    async def views(self, request: Request) -> Response:
        """Keep a view, or throw one away."""
        fields, name = await form_of(request), _owner(request.state.caller)
        query, title = field(fields, "query"), field(fields, "title").strip()
        try:
            query = Wanted.asked(parse_qsl(query)).address(page=1)
        except ValidationError as error:
            raise WrongRequest(_said(error)) from error
        if field(fields, "gone"):
            await asyncio.to_thread(throw_away, self._people, name, field(fields, "gone"))
        else:
            await asyncio.to_thread(keep, self._people, name, View(title, query))
        return RedirectResponse(f"/desk/grid?{query}", 303)

    def _answer(self, request: Request, done: Done | None) -> Response:
        caller: Caller = request.state.caller
        shelf, wrong = self._grid.shelf(), ""
        try:
            wanted = Wanted.asked(request.query_params.multi_items())
            found = self._grid.find(wanted)
        except ValidationError as error:
            wanted, found, wrong = Wanted(), Found(0, 1, 1, []), _said(error)
        again = [(item, self._seen(item)) for item in done.items] if done is not None else []
        values: dict[str, Any] = {
            "wanted": wanted,
            "found": found,
            "wrong": wrong,
            "done": done,
            "again": again,
            "token": secrets.token_hex(16),
            "may_decide": caller.role in REVIEWERS,
            "views": [] if caller.csrf is None else views_of(self._people, caller.name),
            "words": REASONS,
            "sorts": SORTS,
            "people": PEOPLE,
        }
        return page(request, "desk_grid.html", 400 if wrong else 200, **values, **_offered(shelf))

    def _seen(self, item: str) -> int:
        decided, _ = self._review.said_of(item)
        return decided[-1].entry if decided else 0

    def _decide(self, chosen: Sequence[tuple[str, int]], outcome: str, reason: str, token: str, who: Caller) -> Done:
        """One entry of the ledger for each picture; what is sent twice is entered once."""
        done = Done(outcome, [], [])
        if outcome == "reject" and not reason:
            return Done(outcome, [], ["a rejection needs a reason"])
        if not chosen:
            return Done(outcome, [], ["no picture was ticked"])
        for item, seen in chosen:
            own = hashlib.sha256(f"{token} {item} {outcome}".encode()).hexdigest()[:32]
            told = {"outcome": outcome, "reason": reason or None, "seen": seen, "token": own}
            try:
                self._review.decide(item, Said.model_validate(told), who.name)
                done.items.append(item)
            except LedgerError:
                raise
            except (PackshotError, ValidationError) as error:
                done.refused.append(_said(error) if isinstance(error, ValidationError) else f"{item}: {error}")
        return done


def _offered(shelf: Shelf) -> dict[str, Any]:
    codes = [(code, len(rows)) for code, rows in shelf.by_code.items()][:OFFERED]
    names = ("style", "category", "seller", "batch", "model")
    return {"codes": codes} | {f"{name}_texts": shelf.texts[name].counted(OFFERED) for name in names}


def _owner(caller: Caller) -> str:
    if caller.csrf is None:
        raise WrongRequest("views are kept for people: sign in")
    return caller.name


def _said(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'filter'}: {each['msg']}" for each in error.errors())
