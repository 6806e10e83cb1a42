"""Pictures that look alike: as a comparison of all pairs would find them, of one model, not of the same product."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from desk_application import Application
from sample_verdicts import broken, verdict, write_verdicts

from packshot.config import load_settings
from packshot.service.alike import Alike
from packshot.service.grid import Grid
from packshot.service.review import Review, Said

COUNT = 60


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    drawn = np.random.default_rng(0)
    rows = [
        verdict(f"{n:02d}.jpg", style_vector=drawn.normal(size=3).tolist(), sku=f"S-{n // 2}" if n % 3 else None)
        for n in range(COUNT)
    ]
    rows[7] = broken("broken.jpg")
    rows[8] |= {"style_vector": [0.0, 0.0, 0.0]}
    rows[9] |= {"duplicate_of": "10.jpg"}
    other = [verdict("other.jpg", style_vector=[1.0, 0.0])]
    return [
        write_verdicts(tmp_path / "one", rows[:35], batch_id="one"),
        write_verdicts(tmp_path / "two", rows[35:], batch_id="two"),
        write_verdicts(tmp_path / "three", other, batch_id="three", version=4),
    ]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def vectors_of(folders: list[Path]) -> dict[str, dict[str, Any]]:
    import pyarrow.parquet as pq

    tables = [pq.read_table(folder / "verdicts.parquet", columns=["path", "sku", "style_vector"]) for folder in folders]
    return {row["path"]: row for table in tables for row in table.to_pylist()}


def test_the_nearest_are_those_of_all_pairs(folders: list[Path]) -> None:
    review, known = Review(load_settings(), folders), vectors_of(folders)
    alike = Alike(Grid(review))
    items = {item.path: item for item in review.now().items}
    for path in ("00.jpg", "10.jpg", "40.jpg", "59.jpg"):
        mine = np.array(known[path]["style_vector"])
        expected = {
            other: cosine(mine, np.array(row["style_vector"]))
            for other, row in known.items()
            if other not in (path, "broken.jpg", "other.jpg", "08.jpg", "09.jpg")
            and (row["sku"] is None or row["sku"] != known[path]["sku"])
        }
        best = sorted(expected, key=lambda other: -expected[other])[:5]
        found = alike.nearest(items[path], 5)
        assert [item.path for item, _ in found] == best
        assert [cosine for _, cosine in found] == pytest.approx([expected[other] for other in best], abs=1e-5)


def test_what_has_no_style_is_like_nothing_and_models_are_not_mixed(folders: list[Path]) -> None:
    review = Review(load_settings(), folders)
    alike, items = Alike(Grid(review)), {item.path: item for item in review.now().items}
    assert alike.nearest(items["broken.jpg"], 5) == [] and alike.nearest(items["other.jpg"], 5) == []
    assert alike.nearest(items["08.jpg"], 5) == []


def test_what_people_decided_on_the_nearest_is_told(folders: list[Path]) -> None:
    application = Application.over(*folders)
    review, ann = application.app.state.service.review, application.person("ann")
    items = {item.path: item.id for item in review.now().items}
    first = ann.get(f"/v1/queue/{items['00.jpg']}/alike").json()[0]
    assert (first["decision"], first["outcome"]) == ("accept", None)
    review.decide(first["id"], Said(outcome="reject", token="decided-now"), "ann")
    assert ann.get(f"/v1/queue/{items['00.jpg']}/alike").json()[0]["outcome"] == "reject"
