"""The grid in a real browser: filtered and decided by keyboard alone, on a phone, and no text of a shop runs."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_service import Running, run
from sample_verdicts import verdict, write_verdicts
from small_network import save_small_bundle, small_architecture

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sample_batch import picture, save
from test_browser_report import browser  # noqa: F401 - a fixture

from packshot.config import load_settings
from packshot.registry.ledger import Ledger
from packshot.service.callers import COOKIE
from packshot.service.keys import Keys

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=alert(1)>"
COUNT = 70


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    rows = []
    for number in range(COUNT):
        path = f"{number:02d} {HOSTILE}.png"
        save(tmp_path / "in" / path, picture(100 + number, number, (60, 80)))
        content = hashlib.sha256((tmp_path / "in" / path).read_bytes()).hexdigest()
        texts = {name: f"{name}-{number % 3} {HOSTILE}" for name in ("title", "sku", "sender", "style", "category")}
        decision = "review" if number % 2 else "reject"
        rows.append(verdict(path, decision, image_id=content, reasons=[f"blur: {HOSTILE}"], **texts))
    folder = write_verdicts(tmp_path / "out", rows, images=tmp_path / "in")
    bundle = save_small_bundle(tmp_path / "bundle", small_architecture())
    yield from run(load_settings(), str(bundle), Keys(), [folder])


def signed_in(browser, desk: Running, said: list[str], width: int = 1200, **more: str):  # noqa: F811
    people = desk.service.people
    if not people.all():
        people.add("ann", "review")
    context = browser.new_context(viewport={"width": width, "height": 900}, **more)
    context.add_cookies([{"name": COOKIE, "value": people.begin("ann"), "url": desk.url, "sameSite": "Strict"}])
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    return page


def focused(page, what: str) -> None:
    """Go on by the key Tab until `what` has the focus."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("what => document.activeElement.matches(what)", what):
            return
    raise AssertionError(f"{what} cannot be reached by Tab")


def test_pictures_are_found_and_decided_by_keyboard_alone(browser, desk: Running) -> None:  # noqa: F811
    said: list[str] = []
    page = signed_in(browser, desk, said)
    page.goto(f"{desk.url}/desk/grid")
    assert page.text_content("#total") == f"{COUNT} pictures, page 1 of 2"
    focused(page, "#q")
    page.keyboard.type("TITLE-1")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=TITLE*")
    assert page.text_content("#total") == "23 pictures" and page.url.endswith(
        "/desk/grid?q=TITLE-1&people=any&sort=unsure"
    )
    for _ in range(3):
        focused(page, "input[name=item]")
        page.keyboard.press("Space")
    assert page.text_content("#ticked") == "3 ticked"
    page.focus("#content")
    focused(page, "#reason")
    page.keyboard.type("blur")
    focused(page, "button[value=reject]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#done")
    assert "3 decided: reject" in str(page.text_content("#done"))
    entries = Ledger.from_environment().events(kind="reviewed")
    assert [(each.actor, each.payload.outcome, each.payload.reason) for each in entries] == [
        ("ann", "reject", "blur")
    ] * 3
    page.click("text=Take 3 back")
    page.wait_for_selector("text=3 decided: undo")
    focused(page, "#title")
    page.keyboard.type(HOSTILE)
    page.keyboard.press("Enter")
    page.wait_for_selector(".view")
    assert page.text_content(".view a") == HOSTILE
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_grid_fits_a_phone_and_shows_texts_as_texts(browser, desk: Running, scheme: str) -> None:  # noqa: F811
    said: list[str] = []
    page = signed_in(browser, desk, said, width=390, color_scheme=scheme)
    page.goto(f"{desk.url}/desk/grid?people=any&category=category-0+{HOSTILE}")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator(".grid li").count() == 24 and HOSTILE in str(page.text_content(".grid li"))
    page.click("#all")
    assert page.text_content("#ticked") == "24 ticked"
    broken = "[...document.images].filter(i => i.complete && i.naturalWidth === 0).length"
    assert page.evaluate(broken) == 0 and said == []
    page.click(".grid li a")
    page.wait_for_selector("#stage:not([hidden])")
    assert HOSTILE in str(page.text_content("#what"))
