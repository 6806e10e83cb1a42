"""An MLflow server that stops answering in the middle of a move: nothing is lost, and the next call finishes it."""

from __future__ import annotations

import http.client
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from skilled_models import Shop

from packshot.home import Home
from packshot.registry.alias_check import alias_version
from packshot.registry.ledger import Ledger
from packshot.registry.promote import promote
from packshot.registry.rollback import rollback
from packshot.registry.tracking import TrackingUnreachable

PATIENCE_S = 1
MOST_REQUESTS = 100


class Gateway(ThreadingHTTPServer):
    """Hands requests on to the real server until it is told not to: then it hangs up, or answers nobody."""

    daemon_threads = True

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server = server
        self.left = math.inf
        self.loses_alias = False
        self.answers = threading.Event()
        self.answers.set()

    def hang_up_after(self, requests: int) -> None:
        """Answer so many more requests, and no other."""
        self.left = requests

    def fall_silent_once_the_alias_is_set(self) -> None:
        """The server gets the next request that sets an alias; its answer, and all later ones, are lost."""
        self.loses_alias = True

    def answer_again(self) -> None:
        """Hand on everything."""
        self.left, self.loses_alias = math.inf, False
        self.answers.set()


class _Handler(BaseHTTPRequestHandler):
    server: Gateway

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        gateway = self.server
        gateway.left -= 1
        if gateway.left < 0:
            self.close_connection = True
            return
        if gateway.loses_alias and self.command == "POST" and "registered-models/alias" in self.path:
            gateway.answers.clear()
            self._ask(body)
        if not gateway.answers.is_set():
            gateway.answers.wait(60)
            self.close_connection = True
            return
        status, headers, answer = self._ask(body)
        self.send_response(status)
        self.send_header("Content-Type", headers.get("Content-Type") or "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _pass  # noqa: N815

    def _ask(self, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection(self.server.server, timeout=30)
        headers = {"Content-Type": self.headers.get("Content-Type") or "application/json"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def gateway(shop: Shop, home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Version 1 is champion, 2 a better challenger; from here on MLflow is a server behind a gateway."""
    shop.champions(0.8)
    shop.register(0.95)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    where = [
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--workers",
        "1",
        "--backend-store-uri",
        f"sqlite:///{home.mlflow_db}",
    ]
    command = [sys.executable, "-m", "mlflow", "server", *where]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait_until(lambda: _healthy(int(port)))
    between = Gateway(f"127.0.0.1:{port}")
    threading.Thread(target=between.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{between.server_port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(PATIENCE_S))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield between
    between.answer_again()
    between.shutdown()
    between.server_close()
    server.terminate()
    server.wait(30)


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


def _wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_a_registry_that_stops_answering_loses_no_move_and_makes_none_twice(
    shop: Shop, home: Home, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(home.ledger_db)
    for requests in range(MOST_REQUESTS):
        gateway.hang_up_after(requests)
        try:
            result = promote(shop.settings, workspace=shop.workspace)
        except TrackingUnreachable as error:
            assert "run the same command again" in str(error)
        else:
            break
        gateway.answer_again()
        assert alias_version(shop.settings, "champion") == 1
    gateway.answer_again()
    assert requests > 7, "each attempt must have come one request further"
    assert (result.outcome, result.reason) == ("promoted", "an interrupted promotion was finished")
    assert ledger.state("packshot").champions == [1, 2] and alias_version(shop.settings, "champion") == 2

    gateway.fall_silent_once_the_alias_is_set()
    with pytest.raises(TrackingUnreachable):
        rollback(shop.settings)
    gateway.answer_again()
    assert ledger.state("packshot").pending is not None and alias_version(shop.settings, "champion") == 1
    again = rollback(shop.settings)
    assert (again.from_version, again.to_version) == (2, 1), "the same command again goes back no further"
    assert "finishing the interrupted move of champion to version 1" in capsys.readouterr().err
    assert ledger.state("packshot").champions == [1, 2, 1] and alias_version(shop.settings, "champion") == 1
    assert ledger.state("packshot").pending is None
