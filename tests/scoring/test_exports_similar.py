from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_batch import BrightnessJudge, picture, save, scorer
from sample_verdicts import broken, verdict, write_verdicts

from packshot.config import Settings, load_settings
from packshot.exports import style_index
from packshot.exports.source import VerdictsMixed, open_verdicts
from packshot.exports.style_index import DecisionUnknown, IndexMissing, Wanted, open_index, update
from packshot.ops.exporting import NoSuchPicture, find_similar

COUNT, DIMENSIONS = 400, 16


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(Path(__file__).resolve().parents[2] / "params.yaml")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))


def vectors(seed: int, count: int = COUNT) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, DIMENSIONS))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def rows(found: np.ndarray, **more: Any) -> list[dict[str, Any]]:
    categories = ["Chair", "Lamp", "Sofa", "Table"]
    return [
        verdict(f"{i:03d}.jpg", style_vector=list(map(float, vector)), category=categories[i % 4], **more)
        for i, vector in enumerate(found)
    ]


def paths(index: Any, vector: np.ndarray, wanted: Wanted, but: int | None = None) -> list[str]:
    return [hit.path for hit in index.search(vector, wanted, but=but)]


@pytest.mark.parametrize("exact_up_to", [0, 5000], ids=["by the graph", "by comparing all"])
def test_the_nearest_are_those_of_exact_search_with_and_without_filters(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, exact_up_to: int
) -> None:
    monkeypatch.setattr(style_index, "EXACT_UP_TO", exact_up_to)
    rules, found = settings.exports.similar, vectors(1)
    made = rows(found)
    made[0] |= {"decision": "reject"}
    made[1] |= {"duplicate_of": "002.jpg", "sku": "S"}
    made[2] |= {"sku": "S"}
    files = open_verdicts([write_verdicts(tmp_path / "v", [*made, broken("bad.jpg")])])
    assert update(rules, files, tmp_path / "index").pictures == COUNT - 1
    index = open_index(tmp_path / "index", rules)
    usable = np.array([i > 1 for i in range(COUNT)])
    hits = 0
    for query in vectors(2, 20):
        order = [f"{i:03d}.jpg" for i in np.argsort(-found @ query) if usable[i]]
        hits += len(set(order[:10]) & set(paths(index, query, Wanted(10))))
        lamps = [name for name in order if int(name[:3]) % 4 == 1]
        assert paths(index, query, Wanted(3, ("Lamp",))) == lamps[:3]
    assert hits >= 0.97 * 200
    assert paths(index, found[0], Wanted(1, decisions=("reject",))) == ["000.jpg"]
    key = index.key_of("007.jpg")
    assert paths(index, index.vector_of(key), Wanted(1)) == ["007.jpg"]
    assert "007.jpg" not in paths(index, index.vector_of(key), Wanted(5), but=key)
    assert index.search(found[2], Wanted(1, ("Boat",))) == []
    with pytest.raises(DecisionUnknown):
        Wanted(decisions=("accepted",))


def test_a_batch_is_read_once_and_one_scored_again_takes_its_own_place(tmp_path: Path, settings: Settings) -> None:
    rules, folder = settings.exports.similar, tmp_path / "index"
    first = write_verdicts(tmp_path / "a", rows(vectors(1, 50)), batch_id="a")
    second = write_verdicts(tmp_path / "b", rows(vectors(2, 50)), batch_id="b")
    assert update(rules, open_verdicts([first]), folder).pictures == 50
    added = update(rules, open_verdicts([first, second]), folder)
    assert (added.batches_read, added.pictures, added.removed) == (1, 100, 0)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert not update(rules, open_verdicts([first, second]), folder).changed
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = vectors(3, 40)
    write_verdicts(tmp_path / "a", rows(again), batch_id="a")
    os.utime(tmp_path / "a" / "verdicts.parquet", ns=(1, 1))
    replaced = update(rules, open_verdicts([first, second]), folder)
    assert (replaced.pictures, replaced.removed) == (90, 50)
    index = open_index(folder, rules)
    for i, vector in enumerate(again):
        (hit,) = index.search(vector, Wanted(1))
        assert (hit.batch_id, hit.path) == ("a", f"{i:03d}.jpg") and hit.similarity > 0.999


def test_no_picture_is_out_of_reach_of_the_graph(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style_index, "EXACT_UP_TO", 0)
    found = vectors(1, 4000)
    made = rows(found)
    update(settings.exports.similar, open_verdicts([write_verdicts(tmp_path / "v", made)]), tmp_path / "index")
    index = open_index(tmp_path / "index", settings.exports.similar)
    assert [paths(index, vector, Wanted(1))[0] for vector in found] == [row["path"] for row in made]


def test_vectors_of_two_models_never_meet(tmp_path: Path, settings: Settings) -> None:
    rules, folder = settings.exports.similar, tmp_path / "index"
    update(rules, open_verdicts([write_verdicts(tmp_path / "a", rows(vectors(1, 9)), version=1)]), folder)
    with pytest.raises(VerdictsMixed, match=r"version 1.*version 2"):
        update(rules, open_verdicts([write_verdicts(tmp_path / "b", rows(vectors(1, 9)), version=2)]), folder)
    with pytest.raises(VerdictsMixed):
        open_index(folder, rules).search(np.ones(3, dtype=np.float32), Wanted())


def test_a_kill_between_old_and_new_loses_no_batch(tmp_path: Path, settings: Settings) -> None:
    rules, folder = settings.exports.similar, tmp_path / "index"
    update(rules, open_verdicts([write_verdicts(tmp_path / "a", rows(vectors(1, 9)), batch_id="a")]), folder)
    folder.rename(tmp_path / ".index.abcd1234-before")
    second = open_verdicts([write_verdicts(tmp_path / "b", rows(vectors(2, 9)), batch_id="b")])
    assert update(rules, second, folder).pictures == 18
    assert sorted(path.name for path in tmp_path.glob(".index*")) == []


def test_a_damaged_or_missing_index_is_named(tmp_path: Path, settings: Settings) -> None:
    rules, folder = settings.exports.similar, tmp_path / "index"
    with pytest.raises(IndexMissing, match="packshot index"):
        open_index(folder, rules)
    update(rules, open_verdicts([write_verdicts(tmp_path / "a", rows(vectors(1, 9)))]), folder)
    (folder / style_index.GRAPH).write_bytes(b"cut off")
    with pytest.raises(IndexMissing, match="anew"):
        open_index(folder, rules)


def test_a_customers_photograph_is_judged_by_the_model_of_the_index(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = BrightnessJudge()
    shades = {f"{level}.png": picture(level) for level in (30, 120, 220)}
    made = [verdict(p, style_vector=judge.judge([im])[0].style_vector.tolist()) for p, im in shades.items()]
    folder = write_verdicts(tmp_path / "v", made, version=None, digest="d" * 64)
    photo = save(tmp_path / "photo.png", picture(215, 4))
    monkeypatch.setattr("packshot.scoring.scorer.open_scorer", lambda *_: scorer(judge, None, "d" * 64))
    with pytest.raises(VerdictsMixed, match="--model"):
        find_similar(settings, str(photo), Wanted(2), verdicts=[folder])
    hits = find_similar(settings, str(photo), Wanted(2), verdicts=[folder], model="bundle")
    assert hits[0].path == "220.png" and hits[0].similarity > hits[1].similarity
    with pytest.raises(NoSuchPicture):
        find_similar(settings, "nowhere.png", Wanted(2), verdicts=[folder])
    monkeypatch.setattr("packshot.scoring.scorer.open_scorer", lambda *_: scorer(judge, None, "e" * 64))
    with pytest.raises(VerdictsMixed, match="two models"):
        find_similar(settings, str(photo), Wanted(2), verdicts=[folder], model="other")
