"""The desk's pages: how each is answered, and the page on which people review and send pictures."""

from __future__ import annotations

import secrets
from functools import lru_cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from packshot.service.access import route_of
from packshot.service.callers import Caller

PAGES = {
    "/desk": "Review",
    "/desk/grid": "Pictures",
    "/desk/batches": "Batches",
    "/desk/model": "Model",
    "/desk/data": "Data",
    "/desk/sellers": "Sellers",
    "/desk/labels": "Labels",
    "/desk/people": "People",
}
"""What the head of every page leads to."""
WORK = (("GET", "/v1/queue"), ("POST", "/v1/verdicts"))
"""What the first page is for: to review, and to send pictures."""


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page for who asks. Only its own script runs, and nothing is fetched from or sent to another site."""
    nonce, caller = secrets.token_urlsafe(16), request.state.caller
    policy = (
        f"default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'nonce-{nonce}'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    told = {"nonce": nonce, "me": caller, "pages": _open_to(caller), "here": request.url.path}
    return HTMLResponse(_environment().get_template(template).render(told | values), status, headers)


def desk_pages() -> APIRouter:
    """The page of the queue, and how all pages look."""
    router = APIRouter(prefix="/desk", include_in_schema=False)

    @router.get("", response_class=HTMLResponse)
    async def desk(request: Request) -> Response:
        """The review desk; who has no work there comes to the first page that is for them."""
        caller = request.state.caller
        open_to = _open_to(caller)
        if caller is not None and "/desk" not in open_to and open_to:
            return RedirectResponse(next(iter(open_to)), status_code=303)
        return page(request, "desk.html")

    @router.get("/desk.css")
    async def looks() -> Response:
        """The style sheet."""
        content = (files("packshot.service") / "templates" / "desk.css").read_bytes()
        return Response(content, media_type="text/css", headers={"Cache-Control": "max-age=300"})

    return router


def _open_to(caller: Caller | None) -> dict[str, str]:
    """Of PAGES those that this caller may see."""
    if caller is None:
        return {}
    asked = {path: WORK if path == "/desk" else (("GET", path),) for path in PAGES}
    return {path: PAGES[path] for path, routes in asked.items() if any(_may(caller, *route) for route in routes)}


def _may(caller: Caller, method: str, path: str) -> bool:
    route = route_of(method, path)
    return route is not None and (not route.roles or caller.role in route.roles)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    loader = PackageLoader("packshot.service")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
