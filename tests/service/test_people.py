"""People sign in: by a link that lets in once, by name and password; a session ends, and a guesser is kept out."""

from __future__ import annotations

import re
import stat
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from running_service import Running
from typer.testing import CliRunner

from packshot.cli import app
from packshot.service.callers import COOKIE
from packshot.service.people import (
    MOST_LOCKED_S,
    TRIES,
    NoSuchPerson,
    PasswordWeak,
    People,
    PeopleUnreadable,
    SignInLocked,
    SignInRefused,
)
from packshot.service.sign_in import _inside

PASSWORD = "violet tram under seven"
SITE = {"Sec-Fetch-Site": "same-origin"}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def people(tmp_path: Path, clock: Clock) -> People:
    return People(tmp_path / "people.db", hours=12, idle_minutes=60, clock=clock)


def entered(people: People, name: str = "ann") -> str:
    people.choose(people.add(name, "review"), PASSWORD)
    return people.begin(name)


def browser_of(served: Running) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers=SITE, timeout=60)


def test_a_link_lets_in_once_and_the_password_from_then_on(served: Running) -> None:
    made = CliRunner().invoke(app, ["people", "add", "Ann B", "--role", "review", "--address", served.url + "/"])
    assert made.exit_code == 0 and re.fullmatch(re.escape(served.url) + r"/desk/enter\?link=[\w-]{43}\n", made.stdout)
    link = made.stdout.strip()
    with browser_of(served) as browser:
        assert browser.get(link).status_code == 200 and browser.get(link).status_code == 200, "looking uses nothing up"
        told = {"link": link.partition("=")[2], "password": PASSWORD, "again": PASSWORD + "!"}
        assert "not the same" in browser.post("/desk/enter", data=told).text
        came = browser.post("/desk/enter", data=told | {"again": PASSWORD})
        assert (came.status_code, came.headers["location"]) == (303, "/desk")
        cookie = came.headers["set-cookie"]
        assert all(part in cookie for part in (f"{COOKIE}=", "HttpOnly", "SameSite=strict", "Max-Age=", "Path=/"))
        assert "Ann B (review)" in browser.get("/desk").text and browser.get("/v1/queue").status_code == 200
        again = browser.post("/desk/enter", data=told | {"again": PASSWORD})
        assert again.status_code == 401 and "used already" in again.text
    with browser_of(served) as browser:
        assert browser.post("/desk/sign-in", data={"name": "Ann B", "password": "no"}).status_code == 401
        told = {"name": "Ann B", "password": PASSWORD, "next": "/desk?x=1"}
        assert browser.post("/desk/sign-in", data=told).headers["location"] == "/desk?x=1"
        assert browser.get("/desk/sign-in").status_code == 303
        form = re.search(r'name="csrf" value="(\w+)"', browser.get("/desk").text)
        assert form and browser.post("/desk/sign-out", data={"csrf": form[1]}).status_code == 303
        assert COOKIE not in browser.cookies and browser.get("/v1/queue").status_code == 401


def test_a_cookie_that_was_kept_opens_nothing_after_its_session(served: Running) -> None:
    with served.person("review") as browser:
        secret = browser.cookies[COOKIE]
        assert browser.get("/v1/queue").status_code == 200
        assert browser.post("/desk/sign-out", data={"csrf": browser.headers["x-csrf-token"]}).status_code == 303
    with httpx.Client(base_url=served.url, cookies={COOKIE: secret}) as thief:
        assert thief.get("/v1/queue").status_code == 401
        assert thief.get("/desk").status_code == 200 and "Sign out" not in thief.get("/desk").text


def test_the_cookie_is_for_tls_alone_where_a_proxy_speaks_it(served: Running) -> None:
    people = served.service.people
    people.choose(people.add("behind a proxy", "read"), PASSWORD)
    with browser_of(served) as browser:
        told = {"name": "behind a proxy", "password": PASSWORD}
        plain = browser.post("/desk/sign-in", data=told)
        proxied = browser.post("/desk/sign-in", data=told, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" not in plain.headers["set-cookie"] and "Secure" in proxied.headers["set-cookie"]


def test_a_session_ends_by_itself(people: People, clock: Clock) -> None:
    secret = entered(people)
    for _ in range(11):
        clock.now += 3500
        assert people.session(secret).name == "ann"
    clock.now += 4700
    with pytest.raises(SignInRefused, match="expired"):
        people.session(secret)
    idle = people.begin("ann")
    clock.now += 3601
    with pytest.raises(SignInRefused, match="expired"):
        people.session(idle)


def test_who_is_removed_is_out_at_once_and_comes_back_only_by_a_new_link(people: People) -> None:
    secret, link = entered(people), people.link("ann")
    people.remove("ann")
    for refused in (
        lambda: people.session(secret),
        lambda: people.of_link(link),
        lambda: people.check("ann", PASSWORD),
    ):
        with pytest.raises(SignInRefused):
            refused()
    with pytest.raises(NoSuchPerson, match="people list"):
        people.begin("ann")
    people.add("ann", "approve")
    with pytest.raises(SignInRefused):
        people.check("ann", PASSWORD)
    with pytest.raises(NoSuchPerson, match="people link"):
        people.add("ann", "admin")
    assert [(each.name, each.role, each.ready) for each in people.all()] == [("ann", "approve", False)]


def test_a_new_password_ends_every_session_and_a_new_link_every_older_one(people: People, clock: Clock) -> None:
    secret, first = entered(people), people.link("ann")
    second = people.link("ann")
    with pytest.raises(SignInRefused, match="not known"):
        people.of_link(first)
    clock.now += 48 * 3600
    with pytest.raises(SignInRefused, match="expired"):
        people.choose(second, PASSWORD)
    people.choose(people.link("ann"), PASSWORD + " again")
    with pytest.raises(SignInRefused, match="ended"):
        people.session(secret)


@pytest.mark.parametrize("password", ["short", "a" * 11, "aaaaaaaaaaaaaaaa", "abababababababab", "x1y2" * 60])
def test_a_weak_password_is_refused_and_the_link_stays_good(people: People, password: str) -> None:
    link = people.add("ann", "review")
    with pytest.raises(PasswordWeak):
        people.choose(link, password)
    assert people.choose(link, PASSWORD) == "ann"


@pytest.mark.parametrize("name", ["ann", "nobody of that name"])
def test_a_guesser_is_locked_out_for_longer_and_longer_whether_there_is_such_a_person_or_not(
    people: People, clock: Clock, name: str
) -> None:
    entered(people)
    told = set()
    for _ in range(TRIES):
        with pytest.raises(SignInRefused) as refused:
            people.check(name, "wrong wrong wrong")
        told.add(str(refused.value))
    assert len(told) == 1
    for wait in (60, 120, 240, 480, MOST_LOCKED_S, MOST_LOCKED_S):
        with pytest.raises(SignInLocked) as locked:
            people.check(name, PASSWORD)
        assert locked.value.wait_s == wait
        clock.now += wait
        with pytest.raises(SignInRefused):
            people.check(name, "wrong wrong wrong")
    people.choose(people.link("ann"), PASSWORD)
    people.check("ann", PASSWORD)
    clock.now += 3600
    for _ in range(3):
        people.check("ann", PASSWORD)


def test_one_address_may_try_only_so_often(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.service.addresses, "burst", 10)
    monkeypatch.setattr(served.service.addresses, "rate", 0.2)
    with browser_of(served) as browser:
        tries = [browser.post("/desk/sign-in", data={"name": f"n{n}", "password": "wrong"}) for n in range(15)]
    assert tries[0].status_code == 401 and tries[-1].status_code == 429
    assert int(tries[-1].headers["Retry-After"]) >= 1 and "try again in" in tries[-1].text


def test_secrets_and_passwords_are_kept_nowhere_and_others_cannot_read_the_file(people: People) -> None:
    link = people.add("ann", "review")
    people.choose(link, PASSWORD)
    session = people.begin("ann")
    kept = b"".join(file.read_bytes() for file in people.path.parent.glob("people.db*"))
    assert b"ann" in kept and not any(each.encode() in kept for each in (link, PASSWORD, session))
    assert stat.S_IMODE(people.path.stat().st_mode) == 0o600


def test_a_damaged_file_lets_nobody_in_and_keys_still_open(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with served.person("admin") as browser, served.client("admin") as client:
        damaged = served.service.people.path.with_name("damaged.db")
        damaged.write_bytes(b"no database at all" * 1000)
        monkeypatch.setattr(served.service.people, "path", damaged)
        assert browser.get("/v1/model").status_code == 503
        assert browser.get("/desk").status_code == 200 and client.get("/v1/model").status_code == 200
        with pytest.raises(PeopleUnreadable):
            People(damaged).all()


def test_a_form_that_is_none_is_refused(served: Running) -> None:
    with suppress(httpx.TransportError), browser_of(served) as browser:  # the connection closes on who goes on sending
        assert browser.post("/desk/sign-in", data={"name": "x" * 300_000}).status_code == 413
    with browser_of(served) as browser:
        assert browser.post("/desk/sign-in", json={"name": "x"}).status_code == 400
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        assert browser.post("/desk/sign-in", content=b"name=%ff", headers=kind).status_code == 400
        assert browser.post("/desk/sign-in", content=b"a&" * 3000, headers=kind).status_code == 400


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example", "//evil.example", "/\\evil", "/deskevil", "", "/desk\n/x", "/v1/model"],
)
def test_signing_in_leads_to_pages_of_the_desk_alone(wanted: str) -> None:
    assert _inside(wanted).startswith("/desk") and "evil" not in _inside(wanted) and "v1" not in _inside(wanted)


def test_what_is_asked_for_comes_after_signing_in(served: Running) -> None:
    assert _inside("/desk/grid?q=a//b") == "/desk/grid?q=a//b"
    with browser_of(served) as browser:
        assert 'value="/desk/grid?q=&#34;&gt;"' in browser.get("/desk/sign-in", params={"next": '/desk/grid?q=">'}).text


def test_an_admin_lets_people_in_and_removes_them_in_the_desk(served: Running) -> None:
    with served.person("admin") as admin, browser_of(served) as browser:
        csrf = {"csrf": admin.headers["x-csrf-token"]}
        page = admin.post("/desk/people", data=csrf | {"do": "add", "name": "Zoe <b>", "role": "read"}).text
        link = re.search(r"/desk/enter\?link=([\w-]{43})<", page)
        assert link and f"{served.url}/desk/enter" in page and "Zoe &lt;b&gt;" in page and "Zoe <b>" not in page
        assert link[1] not in admin.get("/desk/people").text
        told = {"link": link[1], "password": PASSWORD, "again": PASSWORD}
        assert browser.post("/desk/enter", data=told).status_code == 303
        assert browser.get("/desk/grid").status_code == 200 and browser.get("/desk/people").status_code == 403
        again = admin.post("/desk/people", data=csrf | {"do": "link", "name": "Zoe <b>"}).text
        assert "/desk/enter?link=" in again and browser.get("/desk/grid").status_code == 200, "until it is used"
        admin.post("/desk/people", data=csrf | {"do": "remove", "name": "Zoe <b>"})
        assert browser.get("/desk/grid").status_code == 303
        for wrong in (
            {"do": "add", "name": "Zoe", "role": "emperor"},
            {"do": "add", "name": "admin", "role": "read"},
            {"do": "add", "name": "", "role": "read"},
            {"do": "link", "name": "nobody"},
            {"do": "remove", "name": "admin person"},
            {"do": "crown", "name": "Zoe", "role": "read"},
        ):
            assert admin.post("/desk/people", data=csrf | wrong).status_code == 400, wrong


def test_keys_and_people_share_no_name(served: Running) -> None:
    run = CliRunner()
    assert run.invoke(app, ["keys", "add", "one name", "--role", "read"]).exit_code == 0
    assert "a key called" in str(run.invoke(app, ["people", "add", "one name", "--role", "read"]).exception)
    assert run.invoke(app, ["people", "add", "other name", "--role", "read"]).exit_code == 0
    assert "a person called" in str(run.invoke(app, ["keys", "add", "other name", "--role", "read"]).exception)
    assert '"ready": false' in run.invoke(app, ["people", "list"]).stdout
    assert run.invoke(app, ["people", "link", "other name"]).stdout.startswith("http://127.0.0.1:8300/desk/enter?link=")
    assert run.invoke(app, ["people", "remove", "other name"]).exit_code == 0
    for wrong in ("", " x", "a\nb", "x" * 81):
        assert run.invoke(app, ["people", "add", wrong, "--role", "read"]).exit_code != 0
