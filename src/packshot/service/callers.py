"""Who asks: a key, or a person by the cookie of a session; and whether a page of ours sent what changes something."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request

from packshot.errors import PackshotError
from packshot.service.access import Role, Route
from packshot.service.keys import KeyRefused, Keys
from packshot.service.people import People, PeopleUnreadable, SignInRefused
from packshot.service.uploads import TooLarge, WrongRequest

COOKIE = "packshot_session"
CSRF_HEADER = "x-csrf-token"
SAFE = ("GET", "HEAD")
MOST_FORM_BYTES = 200_000
MOST_FIELDS = 2_000


class ForeignPage(PackshotError):
    """A page of another site, or of another session, asked to change something."""

    exit_code = 77


class NotSignedIn(PackshotError):
    """A page of the desk was asked for by nobody known; `wanted` is where they were going."""

    exit_code = 77

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        super().__init__("sign in first")


@dataclass(frozen=True)
class Caller:
    """`id` may stand in logs; `limited` is what requests are counted by. `csrf`: of a session, None for a key."""

    name: str
    role: Role
    id: str
    limited: str
    csrf: str | None = None


def caller_of(request: Request, route: Route, keys: Keys, people: People) -> Caller | None:
    """Who asks; None where a route is open and nobody is signed in.

    A key counts before a session. Raises KeyRefused, SignInRefused, NotSignedIn, ForeignPage, KeysDamaged,
    PeopleUnreadable.
    """
    if route.form and not _from_here(request):
        raise ForeignPage("this was sent from another site")
    if not route.roles:
        return _signed_in(request, people) if route.path.startswith("/desk") else None
    header = request.headers.get("authorization")
    if header is not None:
        return _by_key(header, keys)
    secret = request.cookies.get(COOKIE)
    try:
        if secret is None:
            raise KeyRefused("a key is needed: Authorization: Bearer KEY (`packshot keys add NAME --role score`)")
        caller = _by_session(secret, people)
    except (KeyRefused, SignInRefused) as error:
        if route.is_page:
            raise NotSignedIn(str(request.url.path) + (f"?{request.url.query}" if request.url.query else "")) from error
        raise
    if request.method not in SAFE and not route.form:
        check_csrf(caller, request.headers.get(CSRF_HEADER, ""))
    return caller


def check_csrf(caller: Caller, told: str) -> None:
    """Raise ForeignPage where what a session sent does not come from a page of that session."""
    if caller.csrf is not None and not hmac.compare_digest(told.encode(), caller.csrf.encode()):
        raise ForeignPage("this page is not of your session; load it again")


async def form_of(request: Request) -> dict[str, list[str]]:
    """The fields of a form sent by a page of the caller's session. Raises WrongRequest, TooLarge, ForeignPage."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    length = request.headers.get("content-length", "")
    if kind != "application/x-www-form-urlencoded" or not length.isdigit():
        raise WrongRequest("a form is expected: application/x-www-form-urlencoded, with its length")
    if int(length) > MOST_FORM_BYTES:
        raise TooLarge(f"the form has more than {MOST_FORM_BYTES} bytes")
    fields: dict[str, list[str]] = {}
    try:
        text = (await request.body()).decode()
        for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"):
            fields.setdefault(name, []).append(value)
    except ValueError as error:
        raise WrongRequest("the form cannot be read") from error
    caller: Caller | None = request.state.caller
    if caller is not None:
        check_csrf(caller, field(fields, "csrf"))
    return fields


def field(fields: Mapping[str, list[str]], name: str) -> str:
    """The first value of a field; empty where there is none."""
    return next(iter(fields.get(name, ())), "")


def _by_key(header: str, keys: Keys) -> Caller:
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise KeyRefused("a key is needed: Authorization: Bearer KEY (`packshot keys add NAME --role score`)")
    key = keys.find(secret.strip())
    return Caller(key.name, key.role, key.id, key.sha256)


def _by_session(secret: str, people: People) -> Caller:
    session = people.session(secret)
    return Caller(session.name, session.role, session.id, f"person {session.name}", session.csrf)


def _signed_in(request: Request, people: People) -> Caller | None:
    secret = request.cookies.get(COOKIE)
    try:
        return _by_session(secret, people) if secret else None
    except (SignInRefused, PeopleUnreadable):
        return None


def _from_here(request: Request) -> bool:
    """Whether a browser says that a page of this site sends. What says nothing at all is no browser."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site == "same-origin"
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
