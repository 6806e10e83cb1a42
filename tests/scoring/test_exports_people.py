from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sample_verdicts import broken, verdict, write_verdicts

from packshot.config import ProfileSettings, Settings, load_settings
from packshot.exports import profile as module
from packshot.exports.events import EventsUnreadable, read_events
from packshot.exports.profile import write_profiles
from packshot.exports.segments import write_segments
from packshot.exports.source import NothingToExport, VerdictsMixed, open_verdicts

RULES = ProfileSettings(weights={"view": 1.0, "click": 3.0}, half_life_days=10, prior=2.0, top_styles=2)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(Path(__file__).resolve().parents[2] / "params.yaml")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))


def catalogue(folder: Path) -> list[Any]:
    rows = [
        verdict("a.jpg", sku="A", style="rustic", style_vector=[2.0, 0.0, 0.0], style_confidence=1.0),
        verdict("b1.jpg", sku="B", style="modern", style_vector=[0.0, 1.0, 0.0], style_confidence=1.0),
        verdict("b2.jpg", sku="B", style="modern", style_vector=[0.0, 0.0, 1.0], style_confidence=1.0),
        verdict("c.jpg", sku="C", style="modern", style_vector=[0.0, 0.0, 1.0], style_confidence=1.0),
        broken("bad.jpg", sku="D"),
    ]
    return open_verdicts([write_verdicts(folder, rows)])


def events(path: Path, *lines: str, columns: str = "user,event,path,sku,time") -> Path:
    path.write_text("\n".join([columns, *lines]) + "\n", encoding="utf-8")
    return path


def profiles(path: Path) -> dict[str, dict[str, Any]]:
    return {row["user"]: row for row in pq.read_table(path).to_pylist()}


def test_a_click_weighs_more_than_a_view_and_few_events_stay_near_the_mean(tmp_path: Path) -> None:
    seen = events(
        tmp_path / "e.csv",
        *["keen,click,a.jpg,,"] * 50,
        "clicks,click,a.jpg,,",
        "clicks,view,,B,",
        "views,view,a.jpg,,",
        "views,click,,B,",
        "lost,view,nowhere.jpg,,",
        "lost,view,bad.jpg,,",
    )
    report = write_profiles(RULES, catalogue(tmp_path / "v"), seen, tmp_path / "p.parquet")
    assert (report["users"], report["events"], report["unknown_items"]) == (4, 56, 2)
    found = profiles(tmp_path / "p.parquet")
    assert list(found) == sorted(found)
    for row in found.values():
        assert np.linalg.norm(row["style_vector"]) == pytest.approx(1, abs=1e-6)
    mean = np.array([1, 1, 2]) / 4
    assert np.allclose(found["lost"]["style_vector"], mean / np.linalg.norm(mean), atol=1e-6)
    assert found["lost"]["own_share"] == 0.0 and found["lost"]["events"] == 2
    assert [style["style"] for style in found["lost"]["top_styles"]] == ["modern", "rustic"]
    expected = 3 * np.array([1, 0, 0]) + np.array([0, 0.5, 0.5]) + 2 * mean
    assert np.allclose(found["clicks"]["style_vector"], expected / np.linalg.norm(expected), atol=1e-6)
    assert found["clicks"]["own_share"] == pytest.approx(4 / 6)
    assert found["clicks"]["style_vector"][0] > found["views"]["style_vector"][0]
    assert found["keen"]["style_vector"][0] > 0.99 and found["keen"]["top_styles"][0]["share"] > 0.95
    assert found["clicks"]["top_styles"][0] == {"style": "rustic", "share": pytest.approx((3 + 2 / 4) / 6)}


def test_broken_lines_cost_only_themselves_and_are_counted(tmp_path: Path) -> None:
    seen = events(
        tmp_path / "e.csv",
        'u,view,"a.jpg,,',
        'u,view,"a.jpg"x,,',
        "u,view,a.jpg",
        ",view,a.jpg,,",
        "u,view,,,",
        "u,view,a.jpg,,yesterday",
        "u,swipe,a.jpg,,",
        "",
        "u,view,a.jpg,,2026-03-01",
        "\0,\0",
    )
    found = read_events(seen, RULES)
    assert (found.broken_lines, found.other_kinds, found.counts["u"]) == (7, 1, 1)
    assert found.weights == {"u": {("path", "a.jpg"): 1.0}}
    with pytest.raises(EventsUnreadable, match="path or sku"):
        read_events(events(tmp_path / "f.csv", columns="user,event"), RULES)
    with pytest.raises(EventsUnreadable):
        read_events(tmp_path / "missing.csv", RULES)
    with pytest.raises(NothingToExport):
        none = events(tmp_path / "g.csv", "u,swipe,a.jpg,,")
        write_profiles(RULES, catalogue(tmp_path / "v"), none, tmp_path / "p.parquet")


def test_old_events_fade_by_half_each_half_life(tmp_path: Path) -> None:
    seen = events(
        tmp_path / "e.csv",
        "u,view,a.jpg,,2026-03-01T00:00:00Z",
        "u,view,c.jpg,,2026-03-21T01:00:00+01:00",
        "u,view,b1.jpg,,",
    )
    weights = read_events(seen, RULES).weights["u"]
    assert weights == {("path", "a.jpg"): pytest.approx(0.25), ("path", "c.jpg"): 1.0, ("path", "b1.jpg"): 1.0}


def test_users_in_several_passes_are_the_same_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = catalogue(tmp_path / "v")
    seen = events(tmp_path / "e.csv", *[f"u{i},view,{'abc'[i % 3]}.jpg,,".replace("b.", "b1.") for i in range(7)])
    write_profiles(RULES, files, seen, tmp_path / "one.parquet")
    monkeypatch.setattr(module, "USERS_TOGETHER", 2)
    write_profiles(RULES, files, seen, tmp_path / "many.parquet")
    assert profiles(tmp_path / "one.parquet") == profiles(tmp_path / "many.parquet")


def test_profiles_refuse_two_models(tmp_path: Path) -> None:
    folders = [write_verdicts(tmp_path / str(v), [verdict("a.jpg")], batch_id=str(v), version=v) for v in (1, 2)]
    with pytest.raises(VerdictsMixed):
        write_profiles(RULES, open_verdicts(folders), events(tmp_path / "e.csv"), tmp_path / "p.parquet")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_segments_hold_only_what_is_shown_and_brands_all_that_was_judged(tmp_path: Path, settings: Settings) -> None:
    rows = [
        verdict("a.jpg", quality=0.9, sku="A", category="Chair"),
        verdict("b.jpg", quality=0.7, sku="B", category="Chair"),
        verdict("b2.jpg", quality=0.95, sku="B", category="Chair"),
        verdict("c.jpg", "enhance", 0.4, sku="C", category="Chair", quality_after=0.5),
        verdict("d.jpg", "reject", 0.1, sku="D", category="Chair", style="modern"),
        verdict("e.jpg", "review", 0.5, sku="E", category="Chair", style_confidence=0.1),
        verdict("f.jpg", quality=0.9, sku="A", category="Chair", duplicate_of="a.jpg"),
        broken("g.jpg"),
    ]
    files = open_verdicts([write_verdicts(tmp_path / "v", rows)])
    brands = {"a.jpg": "Alba", "b.jpg": "Alba", "d.jpg": "Alba", "e.jpg": "Birk", "f.jpg": "Birk", "x.jpg": None}
    report = write_segments(settings, files, tmp_path / "out", brands)
    assert report["brands"] == 2
    high, middle = read_csv(tmp_path / "out" / "segments.csv")
    assert (high["band"], high["images"], high["example_skus"]) == ("high", "3", "B | A")
    assert (middle["band"], middle["images"], middle["mean_quality"]) == ("middle", "1", "0.50000")
    assert float(high["share"]) == 0.75
    found = {(row["brand"], row["style"]): row for row in read_csv(tmp_path / "out" / "brands.csv")}
    assert set(found) == {("Alba", "modern"), ("Alba", "rustic"), ("Birk", "unknown")}
    rustic = found["Alba", "rustic"]
    assert float(rustic["share"]) == pytest.approx(2 / 3, abs=1e-5) and float(rustic["catalogue_share"]) == 0.5
    assert float(rustic["against_catalogue"]) == pytest.approx(4 / 3, abs=1e-5)
    assert float(rustic["brand_shown"]) == pytest.approx(2 / 3, abs=1e-5)
    write_segments(settings, files, tmp_path / "out")
    assert not (tmp_path / "out" / "brands.csv").exists()
