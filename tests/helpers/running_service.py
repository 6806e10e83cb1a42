"""A service in a thread of the test: its address, and the keys that open it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from packshot.config import Settings
from packshot.service.access import Role
from packshot.service.app import Service, make_app
from packshot.service.callers import COOKIE, CSRF_HEADER
from packshot.service.keys import Keys
from packshot.service.server import server_of


@dataclass
class Running:
    """An address, the keys that open it, and what runs there."""

    url: str
    secrets: dict[str, str]
    service: Service
    server: uvicorn.Server

    def client(self, role: str | None = "score") -> httpx.Client:
        """Of a role; None: without a key."""
        headers = {"Authorization": f"Bearer {self.secrets[role]}"} if role else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def person(self, role: Role) -> httpx.Client:
        """A browser in which somebody of a role is signed in; every request comes from a page of theirs."""
        people, name = self.service.people, f"{role} person"
        if all(each.name != name for each in people.all()):
            people.add(name, role)
        secret = people.begin(name)
        told = {CSRF_HEADER: people.session(secret).csrf, "Sec-Fetch-Site": "same-origin"}
        return httpx.Client(base_url=self.url, headers=told, cookies={COOKIE: secret}, timeout=60)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def with_rules(settings: Settings, **rules: object) -> Settings:
    return settings.model_copy(update={"service": settings.service.model_copy(update=rules)})


def run(settings: Settings, model: str, keys: Keys, verdicts: Sequence[Path] = ()) -> Iterator[Running]:
    """A server in a thread of its own; ready when it is yielded."""
    app, port = make_app(settings, model, keys, verdicts), free_port()
    server = server_of(app, settings.service, "127.0.0.1", port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    secrets = {key.name: "" for key in keys.all()}
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        yield Running(url, secrets, app.state.service, server)
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()
