"""The report holds what was measured, needs nothing outside itself, and no name can speak in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from sample_batch import picture, save
from sample_report import HOSTILE, make_report

from packshot.catalog.image import ImageLimits
from packshot.config import load_settings
from packshot.home import project_root
from packshot.scoring.verdicts import VerdictsUnreadable
from packshot.serving.decisions import view_decisions
from packshot.serving.figures import figure_rows, gate_rows
from packshot.serving.report import NothingToReport, render
from packshot.serving.thumbnails import Thumbnails


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(folder / "home"))
        return make_report(folder).read_text()


@pytest.fixture(scope="module")
def elements(page: str) -> Elements:
    parser = Elements()
    parser.feed(page)
    return parser


def test_it_needs_nothing_but_itself(page: str, elements: Elements) -> None:
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"script", "iframe", "object", "embed", "form"}
    loaded = [value or "" for _, attrs in elements.found for name, value in attrs.items() if name in ("src", "srcset")]
    assert loaded and all(value.startswith("data:image/") for value in loaded)
    assert [a["href"] for tag, a in elements.found if tag == "link"] == ["data:,"]
    assert "url(" not in page and "@import" not in page and len(page) < 8_000_000


def test_names_and_texts_are_inert(page: str, elements: Elements) -> None:
    assert HOSTILE in "".join(elements.text)
    assert not any(name.startswith("on") for _, attrs in elements.found for name in attrs)
    assert "<b>eve" not in page and "javascript:" not in page
    addresses = [attrs.get("href") or "" for tag, attrs in elements.found if tag == "a"]
    assert all(address.startswith(("#", "http://127.0.0.1:5000/")) for address in addresses)


def test_it_says_what_was_measured(elements: Elements) -> None:
    text = " ".join(" ".join(elements.text).split())
    for said in (
        "99 pictures judged",
        "Batch same",
        "Alarm:",
        "No alarm:",
        "not enough evidence",
        "0.800",
        "not better",
    ):
        assert said in text
    for said in ("accepted from a quality of 0.60 on", "fallback: the model brings no scored pictures", "100.0"):
        assert said in text
    curves = [attrs["points"] for tag, attrs in elements.found if tag == "polyline"]
    assert len(curves) == 3 and all("nan" not in points for points in curves if points)
    pictures = [attrs for tag, attrs in elements.found if tag == "img"]
    assert len(pictures) > 20 and all(attrs.get("alt") for attrs in pictures)
    levels = [int(tag[1]) for tag, _ in elements.found if tag in ("h1", "h2", "h3")]
    assert levels.count(1) == 1 and all(after - before <= 1 for before, after in pairwise(levels))


def test_without_batches_there_is_no_report(tmp_path: Path) -> None:
    settings = load_settings(project_root() / "params.yaml")
    with pytest.raises(NothingToReport):
        render(settings, tmp_path, batches=[])
    with pytest.raises(VerdictsUnreadable, match="does not exist"):
        render(settings, tmp_path, batches=[tmp_path / "nowhere"])


def test_a_figure_stands_beside_its_baseline_and_absent_ones_are_left_out() -> None:
    rows = figure_rows({"quality/srcc/q": 0.8, "quality/srcc/q/ss01": 0.7, "quality/srcc_subset_baseline/q": 0.9})
    assert [(row.value, row.baseline, row.better) for row in rows] == [(0.8, 0.9, False)]


def test_a_gate_without_an_interval_has_no_chart() -> None:
    rows = gate_rows([{"metric": "m", "kind": "floor", "verdict": "fail", "message": "", "low": None, "high": None}])
    assert rows[0].chart is None and rows[0].verdict == "failed"


@pytest.mark.parametrize(("kind", "limit"), [("superiority", 0.02), ("non_inferiority", -0.02)])
def test_the_limit_of_a_gate_is_drawn_where_it_is(kind: str, limit: float) -> None:
    found = {"difference": 0.0, "low": -0.04, "high": 0.04, "threshold": limit}
    chart = str(gate_rows([{"metric": "m", "kind": kind, "verdict": "fail", "message": ""} | found])[0].chart)
    drawn = re.search(r'class="bound" x1="([0-9.]+)"', chart)
    assert drawn is not None and float(drawn[1]) == pytest.approx(8 + (limit + 0.04) / 0.08 * (180 - 16), abs=0.1)


def test_decisions_are_left_out_where_nothing_is_known_of_them() -> None:
    assert view_decisions("b", {}, None) is None
    assert view_decisions("b", {"thresholds": {"accept_at": "high"}}, None) is None
    told = {"accept_at": 0.6, "reject_below": 0.3, "review_width": 0.5, "origin": "fixed", "why": "so"}
    seen = view_decisions("b", {"thresholds": told}, None)
    assert seen is not None and seen.bounds is not None and seen.bounds.as_record() == told and seen.chart is None


def test_thumbnails_stop_at_their_budget(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(100, size=(300, 400)))
    limits = ImageLimits(64, 64, 8, ("PNG",))
    thumbnails = Thumbnails(limits, 40_000)
    shown = [thumbnails.of(tmp_path, "a.png") for _ in range(12)]
    spent = sum(len(address) for address in shown if address)
    assert shown[0] and spent <= 41_000 and thumbnails.left_out == shown.count(None) > 0
    assert Thumbnails(limits, 40_000).of(tmp_path, "../a.png") is None
