"""The report in a real browser: it loads alone, fits a phone, and runs nothing that a file name asks for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_report import HOSTILE, make_report

pytestmark = pytest.mark.browser
HINT = "no Chromium found; install it with `apt-get install chromium`, or name one in PACKSHOT_CHROMIUM"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


def chromium() -> str:
    found = os.environ.get("PACKSHOT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail(HINT)
    pytest.skip(HINT)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(folder / "home"))
        return make_report(folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    executable = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield opened
        opened.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1400, "light"), (390, "dark")])
def test_the_report_in_a_browser(browser, report: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_timeout(300)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").count() == 1 and page.locator("h2").count() >= 6
    broken = "[...document.images].filter(i => !i.complete || i.naturalWidth === 0).length"
    assert page.evaluate(broken) == 0
    assert page.get_by_text(HOSTILE).count() >= 1
    page.close()


def test_text_stands_out_from_its_ground(browser, report: Path) -> None:
    """WCAG 2 contrast of the page's two ink colours on its two grounds: at least 4.5 in both schemes."""
    ratio = """() => {
      const style = getComputedStyle(document.documentElement);
      const light = name => {
        const hex = style.getPropertyValue(name).trim().slice(1);
        const parts = [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16) / 255)
          .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * parts[0] + .7152 * parts[1] + .0722 * parts[2];
      };
      const pairs = ['--ink', '--soft', '--accent', '--reject', '--accept'].flatMap(a =>
        ['--paper', '--card'].map(b => [light(a), light(b)]));
      return Math.min(...pairs.map(p => (Math.max(...p) + .05) / (Math.min(...p) + .05)));
    }"""
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(report.as_uri())
        assert page.evaluate(ratio) >= 4.5
        page.close()
