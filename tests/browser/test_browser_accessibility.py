"""Every page of the desk by axe-core: as wide as a phone and as a screen, light and dark, with all there is to tell."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from desk_content import drifted, labelled, passed, quarantined
from running_service import Running, run
from sample_verdicts import verdict, write_verdicts
from small_network import save_small_bundle, small_architecture

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sample_batch import picture, save
from test_browser_grid import focused, signed_in
from test_browser_report import browser  # noqa: F401 - a fixture

from packshot.config import load_settings
from packshot.exports.pictures import digest_of
from packshot.registry.ledger import Ledger
from packshot.service.keys import Keys

pytestmark = pytest.mark.browser
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PAGES = {
    "/desk": "#stage:not([hidden])",
    "/desk/grid?decision=review&code=blur": ".grid li",
    "/desk/batches": "tbody tr",
    "/desk/batch?id=monday": "svg",
    "/desk/model": "button[value=approve]",
    "/desk/data": "tbody tr",
    "/desk/sellers": "section",
    "/desk/sellers?name=north": "section li li",
    "/desk/labels": "tbody tr",
    "/desk/people": "tbody tr",
    "/desk/batch?id=none": "[role=alert]",
}
"""Each with what shows that it has something to tell."""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    rows = []
    for number in range(8):
        path = f"{number}.png"
        save(tmp_path / "in" / path, picture(100 + number, number, (90, 120)))
        told = {"image_id": digest_of(tmp_path / "in" / path), "sku": f"S-{number // 2}", "sender": "north"}
        rows.append(verdict(path, "review", reasons=["blur: 3 px"], title=f"Lamp {number}", **told))
    folder = write_verdicts(tmp_path / "out", rows, images=tmp_path / "in", batch_id="monday")
    drifted(tmp_path, examples=["0.png"])
    passed()
    quarantined(["truncated"] * 120)
    labelled([("bob", "accept", 0.2), ("eve", "reject", 0.6)])
    loaded = load_settings()
    settings = loaded.model_copy(update={"registry": loaded.registry.model_copy(update={"approval": True})})
    bundle = save_small_bundle(tmp_path / "bundle", small_architecture())
    for running in run(settings, str(bundle), Keys(), [folder]):
        item = running.service.review.now().items[0]
        for who, outcome in (("bob", "accept"), ("eve", "reject")):
            told = {"item": item.id, "path": item.path, "outcome": outcome, "token": f"{who}-decides"}
            Ledger.from_environment().record("reviewed", actor=who, model_name="packshot", payload=told)
        running.service.people.add("ann", "admin")
        yield running


def judged(page) -> list[str]:
    found = Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]}).response["violations"]
    return [
        f"{page.url}: {each['id']}: {node['html']}: {node['failureSummary']}"
        for each in found
        for node in each["nodes"]
    ]


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1400, "light"), (1400, "dark")])
def test_no_page_breaks_a_rule_of_accessibility(browser, desk: Running, width: int, scheme: str) -> None:  # noqa: F811
    said: list[str] = []
    stranger = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    broken = []
    link = desk.service.people.add("new", "review")
    for path in ("/desk", "/desk/sign-in", f"/desk/enter?link={link}", "/desk/enter?link=none"):
        stranger.goto(f"{desk.url}{path}")
        broken += judged(stranger)
    page = signed_in(browser, desk, said, width=width, color_scheme=scheme)
    for path, there in PAGES.items():
        page.goto(f"{desk.url}{path}")
        page.wait_for_selector(there)
        for closed in page.locator("details:not([open]) > summary").all():
            closed.click()
        broken += judged(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.goto(f"{desk.url}/desk")
    page.wait_for_selector("#stage:not([hidden])")
    for key in ("?", "r"):
        page.keyboard.press(key)
        page.wait_for_selector("dialog[open]")
        broken += judged(page)
        page.keyboard.press("Escape")
    page.click("#to-send")
    broken += judged(page)
    assert not broken, "\n".join(broken)
    assert [text for text in said if "404" not in text] == []


def test_a_version_is_approved_and_a_seller_found_by_keyboard_alone(browser, desk: Running) -> None:  # noqa: F811
    said: list[str] = []
    page = signed_in(browser, desk, said)
    page.goto(f"{desk.url}/desk")
    page.wait_for_selector("#stage:not([hidden])")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    for there, then in (
        ("nav a[href='/desk/model']", "button[value=approve]"),
        ("nav a[href='/desk/sellers']", "h2 a"),
    ):
        focused(page, there)
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", "one sees where one is"
        page.keyboard.press("Enter")
        page.wait_for_selector(then)
        if "model" in there:
            focused(page, then)
            page.keyboard.press("Enter")
            page.wait_for_selector("text=approved by ann")
    focused(page, "h2 a")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('north')")
    assert said == []
