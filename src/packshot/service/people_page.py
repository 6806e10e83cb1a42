"""The page on which admins let people in, make them a new link, and remove them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from packshot.service.access import ROLES
from packshot.service.callers import field, form_of
from packshot.service.desk import page
from packshot.service.keys import Keys
from packshot.service.names import check_name
from packshot.service.people import NoSuchPerson, People
from packshot.service.uploads import WrongRequest


def people_pages(people: People, keys: Keys) -> APIRouter:
    """The routes; who may ask is checked before they are reached."""
    router, pages = APIRouter(prefix="/desk", include_in_schema=False), _PeoplePages(people, keys)
    router.add_api_route("/people", pages.shown, methods=["GET"])
    router.add_api_route("/people", pages.changed, methods=["POST"])
    return router


class _PeoplePages:
    def __init__(self, people: People, keys: Keys) -> None:
        self._people, self._keys = people, keys

    async def shown(self, request: Request) -> Response:
        """Everybody who may sign in."""
        return await asyncio.to_thread(self._page, request, "", "")

    async def changed(self, request: Request) -> Response:
        """Let somebody in, make a new link, or remove somebody; a link is shown this once."""
        fields = await form_of(request)
        told = field(fields, "do"), field(fields, "name").strip(), field(fields, "role")
        if request.state.caller.csrf is None:
            raise WrongRequest("who lets people in is signed in")
        link = await asyncio.to_thread(self._change, *told, request.state.caller.name)
        return await asyncio.to_thread(self._page, request, told[1], link)

    def _change(self, what: str, name: str, role: str, by: str) -> str:
        """The secret of a link, empty where there is none."""
        chosen = next((each for each in ROLES if each == role), None)
        if what == "add" and chosen is not None:
            check_name(name, self._keys, self._people)
            return self._people.add(name, chosen)
        if what == "link":
            return self._people.link(name)
        if what == "remove" and name == by:
            raise NoSuchPerson("nobody removes themselves; another admin does")
        if what != "remove":
            raise WrongRequest("people are added with a role, given a link, or removed")
        self._people.remove(name)
        return ""

    def _page(self, request: Request, name: str, link: str) -> Response:
        address = f"{request.url.scheme}://{request.headers.get('host', '')}/desk/enter?link={link}" if link else ""
        known = [each for each in self._people.all() if each.removed is None]
        since = {each.name: datetime.fromtimestamp(each.created, UTC).strftime("%Y-%m-%d") for each in known}
        told: dict[str, Any] = {"known": known, "since": since, "roles": ROLES, "name": name, "address": address}
        return page(request, "desk_people.html", **told)
