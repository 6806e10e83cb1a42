"""Who may ask what: every route by every role, and every key that opens nothing."""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_service import Running
from typer.testing import CliRunner

import packshot.service.keys as module
from packshot.cli import app
from packshot.service.access import ROLES, ROUTES, Role, Route, table
from packshot.service.app import make_app
from packshot.service.keys import Key, KeyRefused, Keys, KeysDamaged, KeyTaken
from packshot.service.limits import Limits
from packshot.service.server import PortTaken

GUARDED = [route for route in ROUTES if route.roles]


WRONG = {"/desk/batch": (404, 422), "/desk/sign-in": (401, 429), "/desk/enter": (401,), "/v1/similar": (404,)}
"""What answers who may ask, but says nothing: nobody and no batch is called so, no link is known,
nothing was indexed."""


def asked(client: httpx.Client, route: Route, photos: Path) -> int:
    told: dict[str, Any] = {}
    if route.form:
        told["data"] = {"csrf": client.headers.get("x-csrf-token", "")}
    elif route.method == "POST":
        told["content"] = (photos / "0.png").read_bytes()
    return client.request(route.method, route.path, **told).status_code


def fitting(route: Route) -> tuple[int, ...]:
    if route.path in WRONG and not (route.method == "GET" and route.path == "/desk/sign-in"):
        return WRONG[route.path]
    # nothing is called {item}; of a form without fields some lead on and some cannot be read
    return (404, 422) if "{" in route.path else (200, 303, 400) if route.form else (200, 204)


@pytest.mark.parametrize("role", [*ROLES, None])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_open_to_keys_of_its_roles_and_to_no_others(
    served: Running, photos: Path, route: Route, role: str | None
) -> None:
    with served.client(role) as client:
        status = asked(client, route, photos)
    if not route.roles or role in route.roles:
        assert status in fitting(route)
    else:
        assert status == (403 if role is not None else 303 if route.is_page else 401)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_open_to_people_of_its_roles_and_to_no_others(
    served: Running, photos: Path, route: Route, role: Role
) -> None:
    with served.person(role) as browser:
        status = asked(browser, route, photos)
    signed_in = route.method == "GET" and route.path == "/desk/sign-in"
    # who has no work on the first page is led to another
    elsewhere = route.path == "/desk" and role in ("read", "approve")
    allowed = (303,) if signed_in or elsewhere else fitting(route)
    assert status in (allowed if not route.roles or role in route.roles else (403,))


@pytest.mark.parametrize("route", [each for each in ROUTES if each.method != "GET"], ids=lambda each: each.path)
def test_another_site_changes_nothing_in_the_name_of_a_session(served: Running, photos: Path, route: Route) -> None:
    """Neither with a forged form, nor by a page that guesses, nor after another page of the same browser signed in."""
    with served.person("admin") as browser, served.person("admin") as other:
        if route.roles:
            for told in ("", "0" * 64, other.headers["x-csrf-token"]):
                browser.headers["x-csrf-token"] = told
                assert asked(browser, route, photos) == 403
        if route.form:
            browser.headers["Sec-Fetch-Site"] = "cross-site"
            assert asked(browser, route, photos) == 403
            del browser.headers["Sec-Fetch-Site"]
            browser.headers["Origin"] = "https://evil.example"
            assert asked(browser, route, photos) == 403
        assert other.get("/v1/model").status_code == 200


def test_the_table_is_all_that_there_is_and_stands_in_the_documents(served: Running) -> None:
    routes = {(method, each.path) for each in served.server.config.app.routes for method in each.methods - {"HEAD"}}
    shown = {path for path in routes if path[1] not in ("/redoc", "/docs/oauth2-redirect")}
    assert shown == {(route.method, route.path) for route in ROUTES}
    assert table() in (Path(__file__).parents[2] / "docs" / "service.md").read_text()


@pytest.mark.parametrize("sent", ["", "Bearer", "Basic abc", "Bearer pk_unknown", "Bearer \u00e9", "Bearer a b"])
def test_what_is_no_key_opens_nothing(served: Running, sent: str) -> None:
    for route in GUARDED:
        with served.client(None) as client:
            headers = {"Authorization": sent.encode()}
            answer = client.request(route.method, route.path, headers=headers)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        assert "key" in answer.json()["error"]


def test_an_expired_and_a_revoked_key_say_so(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = served.service.keys
    secret = keys.add("for a day", "read", 1)
    headers = {"Authorization": f"Bearer {secret}"}
    with served.client(None) as client:
        assert client.get("/v1/model", headers=headers).status_code == 200

        class Tomorrow(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:
                return datetime.now(UTC) + timedelta(days=1, seconds=1)

        with monkeypatch.context() as later:
            later.setattr(module, "datetime", Tomorrow)
            assert "expired" in client.get("/v1/model", headers=headers).json()["error"]
        Keys().revoke("for a day")  # by another process
        refused = client.get("/v1/model", headers=headers)
        assert refused.status_code == 401 and "revoked" in refused.json()["error"]


def test_secrets_are_kept_nowhere_and_others_cannot_read_the_file(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    secret = keys.add("shop", "score", None)
    text = (tmp_path / "keys.json").read_text()
    assert secret not in text and secret.removeprefix("pk_") not in text
    assert Keys(tmp_path / "keys.json").find(secret).name == "shop"
    with pytest.raises(KeyTaken, match="revoke it first"):
        keys.add("shop", "read", None)
    with pytest.raises(KeyTaken, match="keys list"):
        keys.revoke("nobody")
    with pytest.raises(KeyRefused, match="not known"):
        keys.find(secret[:-1])
    Keys().add("private", "read", None)
    assert stat.S_IMODE(Keys()._path.stat().st_mode) == 0o600
    Keys().revoke("private")


def test_a_damaged_file_lets_nobody_in(served: Running, tmp_path: Path) -> None:
    path = served.service.keys._path
    kept = path.read_bytes()
    try:
        path.write_text("[{")
        with served.client("admin") as client:
            assert client.get("/v1/model").status_code == 503
            assert client.get("/healthz").status_code == 200
        with pytest.raises(KeysDamaged, match="put it back"):
            Keys().add("another", "admin", None)
    finally:
        path.write_bytes(kept)
    with served.client("admin") as client:
        assert client.get("/v1/model").status_code == 200


def test_the_command_prints_a_key_and_nothing_else(served: Running) -> None:
    made = CliRunner().invoke(app, ["keys", "add", "by command", "--role", "score"])
    assert made.exit_code == 0 and re.fullmatch(r"pk_[\w-]{43}\n", made.stdout)
    assert served.service.keys.find(made.stdout.strip()).role == "score"
    listed = CliRunner().invoke(app, ["keys", "list"])
    assert (
        '"by command"' in listed.stdout and made.stdout.strip() not in listed.stdout and "sha256" not in listed.stdout
    )
    assert CliRunner().invoke(app, ["keys", "revoke", "by command"]).exit_code == 0
    with pytest.raises(KeyRefused, match="revoked"):
        served.service.keys.find(made.stdout.strip())
    assert CliRunner().invoke(app, ["keys", "add", "x", "--role", "emperor"]).exit_code == 2


def test_a_key_may_ask_so_often_and_others_are_not_hindered() -> None:
    at = [0.0]
    limits = Limits(rate=2, burst=3, clock=lambda: at[0])
    assert [limits.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert limits.wait_s("b") == 0
    at[0] = 0.5
    assert (limits.wait_s("a"), limits.wait_s("a")) == (0, 0.5)
    at[0] = 100
    assert [limits.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5], "no more than a burst is saved up"


def test_too_many_questions_are_told_when_to_come_again(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.service, "limits", Limits(rate=0.1, burst=2))
    with served.client("read") as client:
        assert [client.get("/v1/model").status_code for _ in range(3)] == [200, 200, 429]
        assert int(client.get("/v1/model").headers["Retry-After"]) >= 1
        assert client.get("/healthz").status_code == 200
    with served.client("admin") as client:
        assert client.get("/v1/model").status_code == 200


def test_the_default_limit_is_at_least_twenty_a_second() -> None:
    from packshot.config import load_settings

    service = make_app(load_settings(), "nothing").state.service
    assert service.limits.rate >= 20 and service.limits.burst >= 20


def test_a_key_has_a_short_name_for_logs() -> None:
    key = Key(name="shop", role="score", sha256="ab" * 32, created_at=datetime.now(UTC))
    assert key.id == "abababab" and key.refused(datetime.now(UTC)) is None


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(served: Running) -> None:
    port = served.url.rpartition(":")[2]
    refused = CliRunner().invoke(app, ["serve", "--port", port, "--model", "nothing"])
    assert isinstance(refused.exception, PortTaken) and port in str(refused.exception)
    assert "--port" in str(refused.exception) and refused.exception.exit_code == 75
