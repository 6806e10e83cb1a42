"""The desk's pages about batches, the model, data, sellers and labels."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.background import BackgroundTask

from packshot.catalog.labels import LabelStore
from packshot.config import Settings
from packshot.exports.sellers import COLUMNS, PICTURE_COLUMNS, Seller, picture_rows, sellers_of, table_rows
from packshot.exports.source import VerdictFile
from packshot.extras import explained
from packshot.files import make_folder
from packshot.home import Home
from packshot.registry.approval import record_answer
from packshot.registry.ledger import Ledger
from packshot.registry.rollback import rollback
from packshot.service.access import APPROVERS, REVIEWERS
from packshot.service.agreement import pairs_at_desk, pairs_in_labels
from packshot.service.callers import field, form_of
from packshot.service.desk import page
from packshot.service.grid import Grid
from packshot.service.overviews import batch_details, batches, data, model
from packshot.service.review import Review
from packshot.service.uploads import WrongRequest
from packshot.spreadsheet import write_csv

SHOWN = 200
"""Sellers, and disputes, of a page."""
LONGEST_REASON = 500
DIGITS = 9
"""Of the number of a version, at most."""
Number = Annotated[int, Query(ge=1, le=10**9)]
Text = Annotated[str, Query(max_length=1000)]


def overview_pages(settings: Settings, review: Review, grid: Grid) -> APIRouter:
    """The routes; who may ask is checked before they are reached."""
    router, pages = APIRouter(prefix="/desk", include_in_schema=False), _Pages(settings, review, grid)
    for path, answer in (
        ("/batches", pages.batches),
        ("/batch", pages.batch),
        ("/model", pages.model),
        ("/data", pages.data),
        ("/sellers", pages.sellers),
        ("/sellers.csv", pages.sellers_file),
        ("/labels", pages.labels),
    ):
        router.add_api_route(path, answer, methods=["GET"])
    router.add_api_route("/model", pages.answer, methods=["POST"])
    router.add_api_route("/rollback", pages.roll_back, methods=["POST"])
    return router


class _Pages:
    def __init__(self, settings: Settings, review: Review, grid: Grid) -> None:
        self._settings, self._review, self._grid = settings, review, grid
        self._sellers = _Sellers(settings, review)

    async def batches(self, request: Request) -> Response:
        """All batches."""
        return await self._page(
            request,
            "desk_batches.html",
            lambda: {"batches": batches(self._settings, self._grid.shelf(), Ledger.from_environment())},
        )

    async def batch(self, request: Request, id: Text) -> Response:
        """One batch."""
        return await self._page(
            request,
            "desk_batch.html",
            lambda: {"told": batch_details(self._settings, self._grid.shelf(), Ledger.from_environment(), id)},
        )

    async def model(self, request: Request) -> Response:
        """Versions, gates, approvals, reigns."""
        return await self._page(
            request,
            "desk_model.html",
            lambda: {
                "model": model(self._settings, Ledger.from_environment()),
                "may_answer": request.state.caller.role in APPROVERS,
                "may_roll_back": request.state.caller.role == "admin",
                "longest": LONGEST_REASON,
            },
        )

    async def answer(self, request: Request) -> Response:
        """What somebody says to the question whether a version shall become champion; an entry of the ledger."""
        fields, caller = await form_of(request), request.state.caller
        version, said = field(fields, "version"), field(fields, "answer")
        if caller.csrf is None or not version.isdigit() or said not in ("approve", "reject"):
            raise WrongRequest("somebody who is signed in approves or rejects a version by its number")
        told = {"approved": said == "approve", "by": caller.name}
        await asyncio.to_thread(record_answer, self._settings, int(version), **told)
        return RedirectResponse("/desk/model", 303)

    async def roll_back(self, request: Request) -> Response:
        """An earlier champion again, as by `packshot registry rollback`, in the name of who is signed in."""
        fields, caller = await form_of(request), request.state.caller
        version, reason = field(fields, "version"), field(fields, "reason").strip()
        if caller.csrf is None or not version.isdecimal() or len(version) > DIGITS:
            raise WrongRequest("somebody who is signed in names an earlier champion by its number")
        if not reason.isprintable() or not 0 < len(reason) <= LONGEST_REASON:
            raise WrongRequest(f"say why, in one line of at most {LONGEST_REASON} characters")
        await asyncio.to_thread(_roll_back, self._settings, int(version), caller.name, reason)
        return RedirectResponse("/desk/model", 303)

    async def data(self, request: Request, reason: Text = "", page: Number = 1) -> Response:
        """What validation found in the newest data."""
        return await self._page(request, "desk_data.html", lambda: {"data": data(reason, page), "reason": reason})

    async def sellers(self, request: Request, name: Text = "") -> Response:
        """What sellers have to fix; `name`: one of them."""

        def told() -> dict[str, Any]:
            found = self._sellers.all()
            worst = sorted(found, key=lambda seller: -sum(fault.images for fault in seller.to_fix))
            chosen = [seller for seller in worst if seller.name == name] if name else worst
            return {"sellers": chosen[:SHOWN], "total": len(found), "name": name}

        return await self._page(request, "desk_sellers.html", told)

    async def sellers_file(self, request: Request, name: Text = "") -> Response:
        """The table of all sellers, or the pictures that one of them has to fix."""
        file = await asyncio.to_thread(self._sellers.file, name)
        gone, called = BackgroundTask(file.unlink), "pictures.csv" if name else "sellers.csv"
        return FileResponse(file, media_type="text/csv; charset=utf-8", filename=called, background=gone)

    async def labels(self, request: Request) -> Response:
        """How far people agree, and what they have to settle."""

        def told() -> dict[str, Any]:
            now, store = self._review.now(), LabelStore(Home.from_environment().labels)
            labels, opinions = store.labels(), store.opinions()
            disputes = [now.items[place] for place in now.disputed.nonzero()[0]]
            return {
                "at_desk": pairs_at_desk(self._review.said().values()),
                "in_labels": pairs_in_labels(labels),
                "disputes": [(item, self._review.said_of(item.id)[0]) for item in disputes[:SHOWN]],
                "disputed": len(disputes),
                "labels": len(labels),
                "labelled": len(opinions),
                "undecided": [opinion.label for opinion in opinions.values() if opinion.disputed][:SHOWN],
                "may_decide": request.state.caller.role in REVIEWERS,
            }

        return await self._page(request, "desk_labels.html", told)

    async def _page(self, request: Request, template: str, told: Callable[[], dict[str, Any]]) -> Response:
        def made() -> Response:
            return page(request, template, **told())

        return await asyncio.to_thread(made)


def _roll_back(settings: Settings, version: int, by: str, reason: str) -> None:
    try:
        rollback(settings, version, by=by, reason=reason)
    except ModuleNotFoundError as error:  # MLflow comes with another extra than the service
        raise explained(error) or error from error


class _Sellers:
    """What sellers have to fix, added up once for each state of the verdict files."""

    def __init__(self, settings: Settings, review: Review) -> None:
        self._rules, self._review = settings.exports, review
        self._lock = threading.Lock()
        self._known: tuple[object, list[Seller]] | None = None

    def all(self) -> list[Seller]:
        """All of them by name. Raises VerdictsUnreadable."""
        stamp, files = self._files()
        with self._lock:
            if self._known is None or self._known[0] != stamp:
                self._known = stamp, sellers_of(self._rules, files)
            return self._known[1]

    def file(self, name: str) -> Path:
        """A CSV file, to be removed by who asks. Raises VerdictsUnreadable, OutputNotWritable."""
        folder = Home.from_environment().root / "service"
        make_folder(folder)
        with NamedTemporaryFile(dir=folder, prefix="sellers-", suffix=".csv", delete=False) as made:
            target = Path(made.name)
        try:
            if name:
                _, files = self._files()
                with self._lock:  # one pass over the files at a time
                    write_csv(target, PICTURE_COLUMNS, picture_rows(files, name))
            else:
                write_csv(target, COLUMNS, table_rows(self.all()))
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return target

    def _files(self) -> tuple[object, list[VerdictFile]]:
        now = self._review.now()
        return now.stamp, list({id(item.file): item.file for item in now.items}.values())
