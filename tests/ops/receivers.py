"""Real receivers of notices on loopback: an HTTP server that answers as a test says, and a small SMTP server."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Webhook:
    """`answers`: statuses to give in turn, then 204 for ever; `hangs_s`: how long each answer takes."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    hangs_s: float = 0.0
    posts: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A webhook that keeps what it is sent."""
    state = Webhook()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.posts.append((dict(self.headers), json.loads(body)))
            time.sleep(state.hangs_s)
            self.send_response(state.answers.pop(0) if state.answers else 204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Stay quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        state.url = f"http://127.0.0.1:{server.server_port}/secret-path"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield state
        server.shutdown()


class _Smtp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline().decode().strip():
            verb = line[:4].upper()
            if verb == "DATA":
                self._say("354 go on")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.messages.append(b"".join(lines).decode())  # type: ignore[attr-defined]
            elif verb == "QUIT":
                self._say("221 bye")
                return
            elif verb == "RCPT":
                self.server.recipients.append(line)  # type: ignore[attr-defined]
            self._say("250 ok")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class MailServer(socketserver.ThreadingTCPServer):
    """Takes every message and keeps it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.messages: list[str] = []
        self.recipients: list[str] = []


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """A mail server without encryption or login."""
    with MailServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
