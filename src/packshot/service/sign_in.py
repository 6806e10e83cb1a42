"""How people come in and go: name and password, a link that lets in once, and the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from packshot.errors import PackshotError
from packshot.service.callers import COOKIE, field, form_of
from packshot.service.desk import page
from packshot.service.engine import TooBusy
from packshot.service.limits import Limits
from packshot.service.people import PasswordWeak, People, SignInLocked, SignInRefused

DESK, SIGN_IN = "/desk", "/desk/sign-in"
MOST_WAITING = 8
"""Passwords that may wait to be hashed; whoever sends more keeps only passwords waiting, and no picture."""
T = TypeVar("T")


class _Hashing:
    """A thread of its own for passwords."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="passwords")
        self._waiting = 0

    async def run(self, work: Callable[..., T], *told: str) -> T:
        """What `work` gives. Raises TooBusy, and what it raises."""
        if self._waiting >= MOST_WAITING:
            raise TooBusy("too many people sign in at once; try again")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *told)
        finally:
            self._waiting -= 1


def sign_in_routes(people: People, addresses: Limits, hours: float) -> APIRouter:
    """The routes; `addresses`: how often each may try a password, `hours`: how long a browser keeps the cookie."""
    router, door = APIRouter(prefix=DESK, include_in_schema=False), _Door(people, addresses, hours)
    router.add_api_route("/sign-in", door.asked, methods=["GET"])
    router.add_api_route("/sign-in", door.sign_in, methods=["POST"])
    router.add_api_route("/enter", door.shown, methods=["GET"])
    router.add_api_route("/enter", door.enter, methods=["POST"])
    router.add_api_route("/sign-out", door.sign_out, methods=["POST"])
    return router


class _Door:
    def __init__(self, people: People, addresses: Limits, hours: float) -> None:
        self._people, self._addresses, self._hours = people, addresses, hours
        self._hashing = _Hashing()

    async def asked(self, request: Request, next: str = DESK) -> Response:
        """Where people sign in; who is signed in goes on."""
        if request.state.caller is not None:
            return RedirectResponse(_inside(next), 303)
        return page(request, "desk_sign_in.html", name="", wanted=_inside(next), said="")

    async def sign_in(self, request: Request) -> Response:
        """A session for who knows the password."""
        request.state.caller = None  # who signs in anew need not be who they were
        fields = await form_of(request)
        name, wanted = field(fields, "name").strip(), _inside(field(fields, "next"))
        try:
            self._check_address(request)
            await self._hashing.run(self._people.check, name, field(fields, "password"))
        except (SignInRefused, SignInLocked) as error:
            return _again(request, error, "desk_sign_in.html", name=name, wanted=wanted)
        return await self._let_in(request, name, wanted)

    async def shown(self, request: Request, link: str = "") -> Response:
        """Where a link leads: looking at it does not use it up, since mail programs look too."""
        request.state.caller = None
        try:
            name = await asyncio.to_thread(self._people.of_link, link)
        except SignInRefused as error:
            return _again(request, error, "desk_sign_in.html", name="", wanted=DESK)
        return page(request, "desk_enter.html", name=name, link=link, said="")

    async def enter(self, request: Request) -> Response:
        """Use the link up: a password, and a session."""
        request.state.caller = None
        fields = await form_of(request)
        link, password = field(fields, "link"), field(fields, "password")
        try:
            self._check_address(request)
            name = await asyncio.to_thread(self._people.of_link, link)
        except (SignInRefused, SignInLocked) as error:
            return _again(request, error, "desk_sign_in.html", name="", wanted=DESK)
        try:
            if password != field(fields, "again"):
                raise PasswordWeak("the two are not the same; write the password twice")
            await self._hashing.run(self._people.choose, link, password)
        except (PasswordWeak, SignInRefused) as error:
            return _again(request, error, "desk_enter.html", name=name, link=link)
        return await self._let_in(request, name, DESK)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        await form_of(request)
        await asyncio.to_thread(self._people.end, request.cookies.get(COOKIE, ""))
        answer = RedirectResponse(SIGN_IN, 303, {"Clear-Site-Data": '"cache"'})
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    def _check_address(self, request: Request) -> None:
        wait = self._addresses.wait_s(request.client.host if request.client else "")
        if wait:
            raise SignInLocked(wait)

    async def _let_in(self, request: Request, name: str, to: str) -> Response:
        secret = await asyncio.to_thread(self._people.begin, name)
        answer, secure = RedirectResponse(to, 303), request.url.scheme == "https"
        lasts = int(3600 * self._hours)
        answer.set_cookie(COOKIE, secret, max_age=lasts, httponly=True, samesite="strict", secure=secure)
        return answer


def _again(request: Request, error: PackshotError, template: str, **values: str) -> Response:
    locked = isinstance(error, SignInLocked)
    status = 429 if locked else 400 if isinstance(error, PasswordWeak) else 401
    answer = page(request, template, status, said=str(error), **values)
    if isinstance(error, SignInLocked):
        answer.headers["Retry-After"] = str(max(1, round(error.wait_s)))
    return answer


def _inside(wanted: str) -> str:
    """Where somebody was going, if that is a page of the desk; else the desk."""
    plain = wanted.isprintable() and "\\" not in wanted and "//" not in wanted.partition("?")[0]
    return wanted if plain and (wanted == DESK or wanted.startswith((f"{DESK}/", f"{DESK}?"))) else DESK
