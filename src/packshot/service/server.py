"""The server around the application: who opens a connection and does not come to the point is let go."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from packshot.config import ServiceSettings
from packshot.errors import PackshotError

MOST_HEADER_BYTES = 65_536


class PortTaken(PackshotError):
    """Nobody can listen where the service should."""

    exit_code = 75


class Punctual(asyncio.Protocol):
    """A connection that closes where the head of a request takes more than `wait_s` seconds or MOST_HEADER_BYTES.

    uvicorn waits for ever, and takes as much as comes. It is put before a protocol of uvicorn, which calls `cycle` the
    request at work.
    """

    wait_s: float
    transport: Any
    cycle: Any
    _giving_up: asyncio.TimerHandle | None = None
    _had = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio has it."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """As asyncio has it."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._arrived()
            return
        self._wait()
        self._had += len(data)
        if self._had > MOST_HEADER_BYTES:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio has it."""
        self._arrived()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._giving_up is None:
            self._giving_up = asyncio.get_running_loop().call_later(self.wait_s, self.transport.close)

    def _arrived(self) -> None:
        self._had = 0
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None


def server_of(app: FastAPI, rules: ServiceSettings, host: str, port: int) -> uvicorn.Server:
    """A server for the application, not yet running."""
    protocol = type("PunctualProtocol", (Punctual, AutoHTTPProtocol), {"wait_s": rules.read_timeout_s})
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=rules.read_timeout_s,
        timeout_graceful_shutdown=30,
    )
    return uvicorn.Server(config)


def check_free(host: str, port: int) -> None:
    """Raise PortTaken where nobody could listen there, before a model is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise PortTaken(f"nothing can listen on {host} port {port} ({error.strerror}); --port names another") from error
