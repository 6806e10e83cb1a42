"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import tempfile
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from packshot import __version__
from packshot.catalog.labels import LabelStoreDamaged
from packshot.config import ServiceSettings, Settings
from packshot.errors import PackshotError
from packshot.exports.source import VerdictsMixed
from packshot.extras import ExtraMissing
from packshot.registry.alias import ChampionChanged, RegistryBusy
from packshot.registry.alias_check import AliasMovedByHand
from packshot.registry.approval import NotYoursToApprove
from packshot.registry.ledger import LedgerError
from packshot.registry.models import STARTER, ArtefactsDamaged, NoSuchModel
from packshot.registry.rollback import NothingToRollBackTo
from packshot.registry.tracking import TrackingUnreachable
from packshot.scoring.contract import SCHEMA_VERSION, Verdict
from packshot.scoring.verdicts import VerdictsUnreadable
from packshot.service.access import Route, route_of
from packshot.service.alike import Alike
from packshot.service.callers import Caller, ForeignPage, NotSignedIn, caller_of
from packshot.service.champion import Following
from packshot.service.desk import desk_pages, page
from packshot.service.desk_routes import desk_routes
from packshot.service.engine import Answer, Engine, NoModel, TooBusy
from packshot.service.grid import Grid
from packshot.service.grid_page import grid_pages
from packshot.service.keys import KeyRefused, Keys, KeysDamaged
from packshot.service.limits import Limits
from packshot.service.lookup_routes import NoIndex, NotJudged, lookup_routes
from packshot.service.names import NameRefused
from packshot.service.overviews import NoSuchBatch, QuarantineUnreadable
from packshot.service.pages import overview_pages
from packshot.service.people import NoSuchPerson, People, PeopleUnreadable, SignInRefused
from packshot.service.people_page import people_pages
from packshot.service.review import DecidedMeanwhile, NoSuchItem, NotToDecide, PictureGone, Review
from packshot.service.sign_in import SIGN_IN, sign_in_routes
from packshot.service.uploads import TooLarge, TooSlow, WrongRequest, bounded, pictures_of
from packshot.service.views import NoView
from packshot.starter import card_of

LOG = logging.getLogger("packshot.service")
"""One line of JSON for every answer: ids and numbers, nothing that a client wrote."""
RETRY_S = 1
PICTURES_PER_S, PICTURES_AT_ONCE = 200, 1000
"""How often a person may ask: a page shows many pictures."""
PASSWORDS_PER_S, PASSWORDS_AT_ONCE = 0.2, 10
"""How often one address may try a password."""
STATUS: dict[type[PackshotError], int] = {
    WrongRequest: 400,
    NotToDecide: 400,
    NoView: 400,
    NameRefused: 400,
    NothingToRollBackTo: 400,
    NoSuchPerson: 400,
    KeyRefused: 401,
    SignInRefused: 401,
    ForeignPage: 403,
    NotYoursToApprove: 403,
    NoSuchItem: 404,
    NoSuchBatch: 404,
    NoSuchModel: 404,
    NoIndex: 404,
    NotJudged: 422,
    TooSlow: 408,
    DecidedMeanwhile: 409,
    AliasMovedByHand: 409,
    ChampionChanged: 409,
    PictureGone: 410,
    TooLarge: 413,
    ExtraMissing: 501,
    RegistryBusy: 503,
    ArtefactsDamaged: 503,
    TrackingUnreachable: 503,
    TooBusy: 503,
    NoModel: 503,
    KeysDamaged: 503,
    PeopleUnreadable: 503,
    QuarantineUnreadable: 503,
    LabelStoreDamaged: 503,
    LedgerError: 503,
    VerdictsUnreadable: 503,
    VerdictsMixed: 503,
}


@dataclass
class Meters:
    """What Prometheus is told."""

    registry: CollectorRegistry
    requests: Counter
    seconds: Histogram
    pictures: Counter
    waiting: Gauge

    @classmethod
    def new(cls) -> Meters:
        """All at zero."""
        registry = CollectorRegistry()
        return cls(
            registry,
            Counter("packshot_requests_total", "Requests by route and status", ["route", "status"], registry=registry),
            Histogram("packshot_request_seconds", "From the first byte to the answer", ["route"], registry=registry),
            Counter("packshot_pictures_total", "Pictures judged, by decision", ["decision"], registry=registry),
            Gauge("packshot_pictures_waiting", "Pictures that wait or are being judged", registry=registry),
        )


class Service:
    """What the routes share."""

    def __init__(self, settings: Settings, model: str, keys: Keys, verdicts: Sequence[Path] = ()) -> None:
        self.rules: ServiceSettings = settings.service
        self.engine = Engine(settings, self.rules.waiting_pictures)
        self.following = Following(settings, model, self.engine, self.rules.follow_s)
        self.keys = keys
        self.people = People(hours=self.rules.session_hours, idle_minutes=self.rules.session_idle_minutes)
        self.limits = Limits(self.rules.rate_per_s, self.rules.burst)
        self.visitors = Limits(PICTURES_PER_S, PICTURES_AT_ONCE)
        self.addresses = Limits(PASSWORDS_PER_S, PASSWORDS_AT_ONCE)
        self.meters = Meters.new()
        self.review = Review(settings, verdicts)

    def caller_for(self, request: Request, route: Route) -> Caller | None:
        """Who asks what may be asked by them; None where anybody may. Raises what refuses it."""
        caller = caller_of(request, route, self.keys, self.people)
        if caller is None or not route.roles:
            return caller
        if caller.role not in route.roles:
            whose = "this key's role" if caller.csrf is None else "your role"
            raise HTTPException(403, f"{whose} is {caller.role}; {route.path} is for {', '.join(route.roles)}")
        wait = (self.limits if caller.csrf is None else self.visitors).wait_s(caller.limited)
        if wait:
            raise HTTPException(429, "this key or person asks too often", {"Retry-After": str(max(1, round(wait)))})
        return caller

    async def answers(self, request: Request, most: int) -> list[Answer]:
        """Verdicts on what a question sends. Raises WrongRequest, TooLarge, TooSlow, TooBusy, NoModel."""
        with tempfile.TemporaryDirectory(prefix="packshot-upload-") as folder:
            sent = await pictures_of(request, Path(folder), most)
            found = await asyncio.wrap_future(self.engine.ask(sent))
        for each in found:
            self.meters.pictures.labels(each.verdict.decision).inc()
        return found


def make_app(
    settings: Settings, model: str = "champion", keys: Keys | None = None, verdicts: Sequence[Path] = ()
) -> FastAPI:
    """The application; its model is loaded when it starts. The desk shows the folders of `verdicts`, else all batches
    of the inbox."""
    service = Service(settings, model, keys or Keys(), verdicts)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.engine.start()
        service.following.start()
        threading.Thread(target=service.review.warm, name="desk", daemon=True).start()
        yield
        await asyncio.to_thread(service.following.stop)
        await asyncio.to_thread(service.engine.stop)

    app = FastAPI(title="Packshot", version=__version__, lifespan=life, summary="Verdicts on product pictures")
    app.state.service = service
    app.add_middleware(Guard, service=service)
    for kind in (PackshotError, MultiPartException, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _told)
    _add_public(app, service)
    _add_judging(app, service)
    app.include_router(desk_pages())
    app.include_router(sign_in_routes(service.people, service.addresses, service.rules.session_hours))
    grid = Grid(service.review)
    app.include_router(grid_pages(service.review, grid, service.people))
    app.include_router(overview_pages(settings, service.review, grid))
    app.include_router(people_pages(service.people, service.keys))
    app.include_router(desk_routes(service.review, Alike(grid)))
    app.include_router(lookup_routes(settings, service.review, service.answers, BODY))
    return app


class Guard:
    """Every question: who asks, role and limit before its body is read; then its answer is counted and logged."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, rules, request = perf_counter(), self._service.rules, Request(scope)
        route = route_of(request.method, request.url.path)
        number, status, caller = secrets.token_hex(8), 500, None

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"], headers["X-Request-Id"] = "nosniff", number
            await send(message)

        request.state.caller = None
        try:
            request.state.caller = caller = self._admitted(request, route)
        except Exception as error:
            await _refusal(request, error)(scope, receive, answer)
        else:
            most = int(rules.max_request_mb * 1e6)
            await self._app(scope, bounded(receive, most, rules.read_timeout_s), answer)
        finally:
            name, seconds = route.path if route else "other", perf_counter() - begun
            self._service.meters.requests.labels(name, str(status)).inc()
            self._service.meters.seconds.labels(name).observe(seconds)
            _log(number, name, status, seconds, caller)

    def _admitted(self, request: Request, route: Route | None) -> Caller | None:
        """Who asks a question that may be asked. Raises what refuses it."""
        if route is None:
            raise HTTPException(404, f"there is no {request.method} {request.url.path}; see /docs")
        caller = self._service.caller_for(request, route)
        most = self._service.rules.max_request_mb
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > most * 1e6:
            raise TooLarge(f"the request has more than {most:g} MB (service.max_request_mb)")
        return caller


def _log(number: str, route: str, status: int, seconds: float, caller: Caller | None) -> None:
    line = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request": number,
        "route": route,
        "status": status,
        "ms": round(1000 * seconds),
        "key": caller.id if caller and caller.csrf is None else None,
        "session": caller.id if caller and caller.csrf is not None else None,
    }
    LOG.info(json.dumps(line))


async def _told(request: Request, error: Exception) -> Response:
    return _refusal(request, error)


def _refusal(request: Request, error: BaseException) -> Response:
    if isinstance(error, NotSignedIn):
        return RedirectResponse(f"{SIGN_IN}?next={quote(error.wanted, safe='')}", 303)
    status, message, headers = _why(error)
    if request.url.path.startswith("/desk") and "text/html" in request.headers.get("accept", ""):
        answer = page(request, "desk_refused.html", status, said=message)
        answer.headers.update(headers)
        return answer
    return _error(status, message, headers)


def _why(error: BaseException) -> tuple[int, str, dict[str, str]]:
    """Status, what to say, and headers."""
    if isinstance(error, MultiPartException):
        error = WrongRequest(f"the multipart body cannot be read: {error.message}")
    if isinstance(error, RequestValidationError):
        # what was sent is not said again: it may be anything
        told = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return 422, "; ".join(told), {}
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), dict(error.headers or {})
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:
        LOG.error(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        return 500, "something went wrong here; the log of the service says what", {}
    headers = {"Retry-After": str(RETRY_S)} if status == 503 else {}
    return status, str(error), headers | ({"WWW-Authenticate": "Bearer"} if status == 401 else {})


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)


def _add_public(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """Whether the process runs."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"])
    async def readyz() -> Response:
        """Whether a model is loaded and may judge."""
        why = service.engine.why_not
        return JSONResponse({"status": "ready"}) if why is None else _error(503, why, {"Retry-After": str(RETRY_S)})

    @app.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        service.meters.waiting.set(service.engine.waiting)
        content = generate_latest(service.meters.registry)
        return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/model", tags=["model"])
    async def model() -> dict[str, Any]:
        """Which model judges: its lineage, the digest of its files, what computes, and the card of the starter."""
        scorer = service.engine.scorer
        if scorer is None:
            raise NoModel(service.engine.why_not or "no model is loaded")
        card = card_of() if scorer.lineage.model_name == STARTER else None
        facts = {"bundle_sha256": scorer.digest, "runtime": scorer.runtime, "schema_version": SCHEMA_VERSION}
        scale = scorer.scale.id if scorer.scale is not None else None
        return asdict(scorer.lineage) | facts | {"scale": scale, "card": card}


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "sku": {"type": "array", "items": {"type": "string"}, "example": ["A-1001"]},
                        "title": {"type": "array", "items": {"type": "string"}, "example": ["Walnut side table"]},
                    },
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def _add_judging(app: FastAPI, service: Service) -> None:
    @app.post("/v1/verdicts", tags=["pictures"], openapi_extra=BODY)
    async def verdicts(request: Request) -> dict[str, list[Verdict]]:
        """The verdict on each picture sent, in order; one that cannot be read has `error`."""
        found = await service.answers(request, service.rules.pictures_per_request)
        return {"verdicts": [each.verdict for each in found]}

    @app.post("/v1/enhance", tags=["pictures"], openapi_extra=BODY, response_class=Response)
    async def enhance(request: Request) -> Response:
        """The repaired picture where it is better than the one sent; 204 where none is. Headers say why."""
        answer = (await service.answers(request, 1))[0]
        verdict = answer.verdict
        said = "; ".join(verdict.reasons) or verdict.error or ""
        headers = {
            "X-Packshot-Decision": verdict.decision,
            "X-Packshot-Reasons": said.encode("ascii", "replace").decode().replace("\n", " "),
        }
        if answer.enhanced is None:
            return Response(status_code=204, headers=headers)
        kind = f"image/{(verdict.format or 'octet-stream').lower()}"
        return Response(answer.enhanced, media_type=kind, headers=headers)
