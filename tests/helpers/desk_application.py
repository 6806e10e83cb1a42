"""The service's application asked without a server and without a model, as people and keys ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from packshot.config import Settings, load_settings
from packshot.service.access import Role
from packshot.service.app import make_app
from packshot.service.callers import COOKIE, CSRF_HEADER


@dataclass
class Browser:
    """Somebody who is signed in. `get` and `post` answer as a browser would be answered; forms carry their token."""

    app: Any
    secret: str
    csrf: str

    def get(self, address: str, **more: Any) -> httpx.Response:
        return self._ask("GET", address, **more)

    def post(self, address: str, fields: Sequence[tuple[str, str]]) -> httpx.Response:
        data: dict[str, list[str]] = {"csrf": [self.csrf]}
        for name, value in fields:
            data.setdefault(name, []).append(value)
        return self._ask("POST", address, data=data)

    def _ask(self, method: str, address: str, **more: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            told = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin", CSRF_HEADER: self.csrf}
            way = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            cookies = {COOKIE: self.secret}
            async with httpx.AsyncClient(
                transport=way, base_url="http://desk", headers=told, cookies=cookies
            ) as client:
                return await client.request(method, address, **more)

        return asyncio.run(asked())


@dataclass
class Application:
    """The application over folders of verdicts."""

    app: Any

    @classmethod
    def over(cls, *folders: Path, settings: Settings | None = None) -> Application:
        return cls(make_app(settings or load_settings(), "none", verdicts=folders))

    def person(self, name: str, role: Role = "review") -> Browser:
        people = self.app.state.service.people
        if all(each.name != name for each in people.all()):
            people.add(name, role)
        secret = people.begin(name)
        return Browser(self.app, secret, people.session(secret).csrf)
