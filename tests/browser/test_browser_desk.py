"""The desk in a real browser: the queue is worked off by keys, nothing that a file name asks for runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from running_service import Running, run
from small_network import save_small_bundle, small_architecture

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sample_batch import BrightnessJudge, Judged, picture, save, scorer
from test_browser_report import browser  # noqa: F401 - a fixture

from packshot.config import load_settings
from packshot.registry.ledger import Ledger
from packshot.scoring.batch import score
from packshot.service.keys import Keys

pytestmark = pytest.mark.browser
COUNT = 12
HOSTILE = "<img src=x onerror=alert(1)>.png"


class UnsureJudge(BrightnessJudge):
    """Less sure of a picture the darker it is; enhancing darkens, so that none is repaired."""

    def _one(self, image: object) -> Judged:
        found = super()._one(image)
        return replace(found, quality_low=found.quality - 0.2 * (1 - found.quality))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    loaded = load_settings()
    changes = {"accept_at": 0.6, "reject_below": 0.35, "thresholds": "fixed", "profiles": {"own": {}}}
    settings = loaded.model_copy(update={"scoring": loaded.scoring.model_copy(update=changes)})
    for number in range(COUNT - 1):
        save(tmp_path / "in" / f"{number:02d}.png", picture(100 + number, number, (600, 800)))
    save(tmp_path / "in" / HOSTILE, picture(115, 50, (600, 800)))
    score(settings, tmp_path / "in", tmp_path / "out", scorer=scorer(UnsureJudge(step=-60)))
    keys = Keys()
    secrets = {"ann": keys.add("ann", "review", None)}
    bundle = save_small_bundle(tmp_path / "bundle", small_architecture())
    for running in run(settings, str(bundle), keys, [tmp_path / "out"]):
        running.secrets = secrets
        yield running


def opened(browser, desk: Running, said: list[str], width: int = 1200):  # noqa: F811
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto(f"{desk.url}/desk")
    page.fill("#key", desk.secrets["ann"])
    page.press("#key", "Tab")
    page.wait_for_selector("#stage:not([hidden])")
    until(page, "document.getElementById('stage').dataset.ms")
    return page


def until(page, expression: str, value: object = None) -> None:
    """Wait for an expression of a value; what Playwright waits with is forbidden by the page's policy."""
    deadline = time.monotonic() + 20
    while not page.evaluate(expression, value):
        assert time.monotonic() < deadline, f"{expression} is never so; the desk says {page.text_content('#told')!r}"
        page.wait_for_timeout(20)


def on_show(page) -> str:
    return str(page.text_content("#what"))


def press(page, key: str) -> str:
    before = on_show(page)
    page.keyboard.press(key)
    until(page, "before => document.getElementById('what').textContent !== before", before)
    return on_show(page)


def entries() -> list[tuple[str, str, str | None]]:
    found = Ledger.from_environment().events(kind="reviewed")
    return [(each.payload.path, each.payload.outcome, each.payload.reason) for each in found]


def settled(page, count: int) -> None:
    until(page, "sessionStorage.getItem('packshot-pending') in {'[]': 1, 'null': 1}")
    for _ in range(50):
        if len(entries()) == count:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{count} decisions were expected, {entries()} are in the ledger")


def test_the_queue_is_worked_off_by_keys(browser, desk: Running) -> None:  # noqa: F811
    said: list[str] = []
    page = opened(browser, desk, said)
    first = on_show(page)
    second = press(page, "a")
    page.keyboard.press("r")
    page.fill("#more", "a <b>stain</b>")
    page.keyboard.press("Enter")
    until(page, "before => document.getElementById('what').textContent !== before", second)
    settled(page, 2)
    (one, two) = entries()
    assert one == (first, "accept", None) and two[:2] == (second, "reject") and "a <b>stain</b>" in str(two[2])
    assert press(page, "u") == second
    settled(page, 3)
    assert entries()[-1] == (second, "undo", None)
    until(page, "document.getElementById('who').textContent.includes('stain')")
    assert "a <b>stain</b>" in str(page.text_content("#who")) and page.locator("#who b").count() == 0
    third = press(page, "s")
    assert press(page, "ArrowLeft") == second and press(page, "ArrowRight") == third
    assert said == []


def test_names_run_nothing_and_the_next_picture_is_there_at_once(browser, desk: Running) -> None:  # noqa: F811
    said: list[str] = []
    page = opened(browser, desk, said, width=390)
    seen, waited = [on_show(page)], []
    for _ in range(COUNT - 1):
        page.wait_for_timeout(300)  # a person looks at least so long
        seen.append(press(page, "s"))
        waited.append(int(str(page.get_attribute("#stage", "data-ms"))))
    assert HOSTILE in seen and len(set(seen)) == COUNT and said == []
    assert sorted(waited)[len(waited) // 2] <= 100, f"ms to the next picture: {waited}"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.keyboard.press("s")
    until(page, "document.getElementById('told').textContent.includes('Nothing more')")


def test_without_a_network_decisions_wait_and_are_sent_once(browser, desk: Running) -> None:  # noqa: F811
    said: list[str] = []
    page = opened(browser, desk, said)
    page.wait_for_timeout(500)
    first = on_show(page)
    page.context.set_offline(True)
    second = press(page, "a")
    press(page, "a")
    until(page, "document.getElementById('unsent').textContent.startsWith('2 ')")
    assert entries() == []
    page.context.set_offline(False)
    settled(page, 2)
    page.wait_for_timeout(3500)
    assert entries() == [(first, "accept", None), (second, "accept", None)]


def test_a_wrong_key_is_told(browser, desk: Running) -> None:  # noqa: F811
    page = browser.new_page()
    page.goto(f"{desk.url}/desk")
    page.fill("#key", "pk_wrong")
    page.press("#key", "Tab")
    until(page, "document.getElementById('told').textContent.includes('401')")
    assert page.is_hidden("#stage")


def test_what_somebody_else_decides_is_seen_at_once_and_not_decided_over_unknowingly(browser, desk: Running) -> None:  # noqa: F811
    said: list[str] = []
    page = opened(browser, desk, said)
    item, path = str(page.get_attribute("#stage", "data-item")), on_show(page)
    told = {"item": item, "path": path, "outcome": "reject", "reason": "a <b>stain</b>", "token": "by-another"}
    Ledger.from_environment().record("reviewed", actor="bob", model_name="packshot", payload=told)
    until(page, "document.getElementById('told').textContent === 'bob has just decided: reject'")
    assert "bob: reject (a <b>stain</b>)" in str(page.text_content("#who"))
    press(page, "a")
    settled(page, 2)
    (first, second) = Ledger.from_environment().events(kind="reviewed")
    assert second.payload.seen == first.id, "whoever overrules knows of it"
    assert said == []


def test_pictures_that_look_alike_stand_beside_and_lead_there(browser, desk: Running) -> None:  # noqa: F811
    said: list[str] = []
    page = opened(browser, desk, said)
    page.wait_for_selector("#alike a:nth-child(1) img[src^=blob]")
    assert page.locator("#alike li").count() == 6 and "review" in str(page.text_content("#alike li"))
    there = str(page.get_attribute("#alike a", "href")).lstrip("#")
    page.click("#alike a")
    until(page, "there => document.getElementById('stage').dataset.item === there", there)
    assert page.url.endswith(there) and said == []


def test_a_correction_goes_along_with_the_next_decision_and_with_no_other(browser, desk: Running) -> None:  # noqa: F811
    said: list[str] = []
    page = opened(browser, desk, said)
    first = on_show(page)
    page.keyboard.press("c")
    page.keyboard.type("0.35")
    page.select_option("#style-is", "dark")
    page.keyboard.press("Enter")
    assert page.text_content("#right-is") == "For you: score 0.35, style dark"
    press(page, "a")
    assert page.text_content("#right-is") == ""
    press(page, "a")
    settled(page, 2)
    found = Ledger.from_environment().events(kind="reviewed")
    assert [(each.payload.score, each.payload.style) for each in found] == [(0.35, "dark"), (None, None)]
    page.keyboard.press("u")
    page.wait_for_timeout(500)
    assert press(page, "u") == first
    assert "(score 0.35) (style dark)" in str(page.text_content("#who"))
    page.keyboard.press("c")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    assert page.evaluate("document.getElementById('right').open"), "what is no score is not kept"
    assert said == []


def test_who_is_signed_in_sends_pictures_of_their_own(browser, desk: Running, tmp_path: Path) -> None:  # noqa: F811
    said: list[str] = []
    page = browser.new_context().new_page()
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto(f"{desk.url}/desk/enter?link={desk.service.people.add('zoe', 'review')}")
    for field in ("#password", "#again"):
        page.fill(field, "violet tram under seven")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stage:not([hidden])")
    page.click("#to-send")
    page.set_input_files("#files", tmp_path / "in" / HOSTILE)
    page.wait_for_selector("#found li h2")
    assert HOSTILE in str(page.text_content("#found li")) and page.text_content("#said") == "1 of 1 judged."
    assert said == []


def test_somebody_comes_in_by_a_link_decides_and_signs_out(browser, desk: Running) -> None:  # noqa: F811
    said: list[str] = []
    page = browser.new_context(viewport={"width": 390, "height": 900}).new_page()
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto(f"{desk.url}/desk/enter?link={desk.service.people.add(HOSTILE, 'review')}")
    for field in ("#password", "#again"):
        page.fill(field, "violet tram under seven")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stage:not([hidden])")
    assert page.url == f"{desk.url}/desk" and page.locator("#key").count() == 0
    assert page.text_content("header span") == f"{HOSTILE} (review)"
    assert page.evaluate("document.cookie") == "" and page.evaluate("document.documentElement.scrollWidth") <= 390
    press(page, "a")
    until(page, "['[]', null].includes(sessionStorage.getItem('packshot-pending:' + document.body.dataset.me))")
    assert [entry.actor for entry in Ledger.from_environment().events(kind="reviewed")] == [HOSTILE]
    page.click("text=Sign out")
    page.wait_for_selector("text=Sign in")
    page.go_back()
    assert page.locator("#stage:not([hidden])").count() == 0, "nothing of the desk is shown again"
    page.goto(f"{desk.url}/desk/sign-in")
    page.fill("#name", HOSTILE)
    page.fill("#password", "wrong wrong wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=do not go together")
    page.fill("#password", "violet tram under seven")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stage:not([hidden])")
    assert said == []
