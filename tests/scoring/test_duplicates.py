"""Copies within a batch and across batches: the same picture of the same SKU, displaced only by one that is shown."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sample_batch import save, scorer

from packshot.catalog.same_picture import look_of
from packshot.config import RuleBound, Settings, load_settings
from packshot.exports.copies import copies_in
from packshot.exports.pictures import shown_pictures
from packshot.exports.source import open_verdicts
from packshot.home import project_root
from packshot.scoring.batch import score
from packshot.scoring.duplicates import (
    Candidate,
    DuplicatesUnusable,
    Forgotten,
    Known,
    Standing,
    Worth,
    forget,
    known_pictures,
)

SETTINGS = load_settings(project_root() / "params.yaml")


def scene(seed: int, side: int = 256) -> np.ndarray:
    """Coloured blobs and strokes that no other seed has."""
    random = np.random.default_rng(seed)
    blobs = cv2.resize(
        random.uniform(0, 255, (6, 6, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    image = np.ascontiguousarray(np.clip(blobs, 0, 255).astype(np.uint8))
    for _ in range(6):
        (x, y), (w, h) = random.integers(0, side - 40, 2).tolist(), random.integers(10, 40, 2).tolist()
        cv2.rectangle(image, (x, y), (x + w, y + h), random.integers(0, 255, 3).tolist(), -1)
    return image


def candidate(
    path: str,
    image: np.ndarray,
    sku: str | None = "S",
    *,
    content: str | None = None,
    shown: bool = True,
    quality: float = 0.5,
) -> Candidate:
    worth = Worth(image.shape[0] * image.shape[1], mended=False, damage=0, quality=quality)
    return Candidate(path, content or path, sku, look_of(image), shown, worth)


def entered(index: Path | None, batch: str, pictures: list[Candidate], *, record: bool = True) -> dict[str, Standing]:
    with known_pictures(Known(index, record), batch) as known:
        for picture in pictures:
            known.enter(picture, 1.0)
        found = {picture.path: known.standing(picture.path) for picture in pictures}
        for picture in pictures:
            known.settle(picture.path, found[picture.path], picture.shown)
    return found


def smaller(image: np.ndarray, side: int = 90) -> np.ndarray:
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def test_of_one_sku_the_largest_is_kept_whatever_the_order_of_names() -> None:
    found = entered(None, "one", [candidate("a_thumb", smaller(scene(1))), candidate("b_zoom", scene(1))])
    assert found["b_zoom"] == Standing()
    assert found["a_thumb"].copy_of == "b_zoom" and found["a_thumb"].difference is not None


def test_of_one_size_the_better_one_is_kept() -> None:
    coded = cv2.imdecode(cv2.imencode(".jpg", scene(1), [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    found = entered(None, "one", [candidate("a", coded, quality=0.4), candidate("b", scene(1), quality=0.6)])
    assert found["a"].copy_of == "b" and found["b"].copy_of is None


def test_of_an_original_and_a_light_crop_of_it_the_original_is_kept() -> None:
    whole = scene(1)
    crop = np.ascontiguousarray(whole[4:, 5:-4])
    found = entered(None, "one", [candidate("a_crop", crop, quality=0.51), candidate("b_whole", whole, quality=0.5)])
    assert found["b_whole"] == Standing() and found["a_crop"].copy_of == "b_whole"
    found = entered(None, "one", [candidate("a_crop", crop, quality=0.56), candidate("b_whole", whole, quality=0.5)])
    assert found["b_whole"].copy_of == "a_crop"


def test_a_small_copy_that_scores_high_does_not_decide_between_the_large_ones() -> None:
    coded = cv2.imdecode(cv2.imencode(".jpg", scene(1), [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    thumb = candidate("a_thumb", smaller(scene(1)), quality=0.9)
    found = entered(None, "one", [thumb, candidate("b", coded, quality=0.4), candidate("c", scene(1), quality=0.5)])
    assert (found["a_thumb"].copy_of, found["b"].copy_of, found["c"].copy_of) == ("c", "c", None)


def test_another_sku_or_none_is_a_finding_that_displaces_nothing() -> None:
    rows = [
        candidate("a", scene(1), "A"),
        candidate("b", smaller(scene(1)), "B"),
        candidate("c", scene(2), None),
        candidate("d", smaller(scene(2)), None),
    ]
    found = entered(None, "one", rows)
    assert all(standing.copy_of is None for standing in found.values())
    assert (found["b"].same_as, found["d"].same_as) == ("a", "c")


def test_what_is_not_shown_displaces_nothing() -> None:
    found = entered(None, "one", [candidate("a", scene(1), shown=False), candidate("b", smaller(scene(1)))])
    assert found["b"] == Standing() and found["a"].copy_of == "b"


def test_a_repaired_picture_takes_the_place_of_the_rejected_one_of_an_earlier_batch(tmp_path: Path) -> None:
    index = tmp_path / "known.db"
    entered(index, "one", [candidate("a", scene(1), shown=False)])
    assert entered(index, "two", [candidate("a", scene(1), content="repaired")])["a"] == Standing()


def test_the_same_file_for_the_same_sku_is_delivered_again_and_no_copy(tmp_path: Path) -> None:
    index = tmp_path / "known.db"
    rows = [candidate(name, scene(number)) for number, name in enumerate("abcd")]
    entered(index, "one", rows)
    again = [replace(row, path=f"other/{row.path}") for row in rows] + [candidate("new", scene(9))]
    assert set(entered(index, "two", again).values()) == {Standing()}
    without = [replace(row, sku=None) for row in again]
    assert set(entered(None, "three", without).values()) == {Standing()}


def test_a_better_picture_says_which_of_earlier_batches_it_displaces(tmp_path: Path) -> None:
    index = tmp_path / "known.db"
    entered(index, "one", [candidate("a", smaller(scene(1)))])
    assert entered(index, "two", [candidate("b", scene(1))])["b"] == Standing(displaces=("one:a",))
    assert entered(index, "three", [candidate("c", smaller(scene(1), 80))])["c"].copy_of == "two:b"


def test_variants_of_one_product_are_no_copies() -> None:
    image = scene(1)
    label = image.copy()
    cv2.putText(label, "500", (90, 140), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 3)
    recoloured = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    recoloured[..., 0] = (recoloured[..., 0].astype(int) + 60) % 180
    dark = (image * 0.7).astype(np.uint8)
    rows = {
        "label": label,
        "colour": cv2.cvtColor(recoloured, cv2.COLOR_HSV2RGB),
        "dark": dark,
        "view": np.ascontiguousarray(image[:, ::-1]),
    }
    found = entered(None, "one", [candidate("a", image), *(candidate(name, each) for name, each in rows.items())])
    assert set(found.values()) == {Standing()}


def test_empty_pages_are_no_copies_of_one_another() -> None:
    page = np.full((200, 200, 3), 255, np.uint8)
    dusty = [
        np.clip(page - np.random.default_rng(n).integers(0, 3, page.shape), 0, 255).astype(np.uint8) for n in (1, 2)
    ]
    found = entered(None, "one", [candidate(str(n), image) for n, image in enumerate([page, *dusty, page // 255])])
    assert set(found.values()) == {Standing()}


def test_a_trial_is_told_what_is_known_and_leaves_nothing(tmp_path: Path) -> None:
    index = tmp_path / "known.db"
    entered(index, "one", [candidate("a", scene(1))])
    before = index.read_bytes()
    assert entered(index, "trial", [candidate("b", smaller(scene(1)))], record=False)["b"].copy_of == "one:a"
    assert index.read_bytes() == before
    entered(tmp_path / "none.db", "trial", [candidate("b", scene(1))], record=False)
    assert not (tmp_path / "none.db").exists()


def test_a_batch_that_is_forgotten_makes_no_copies(tmp_path: Path) -> None:
    index = tmp_path / "known.db"
    entered(index, "one", [candidate("a", scene(1)), candidate("b", scene(2))])
    entered(index, "two", [candidate("c", smaller(scene(1)))])
    assert forget(index, "one") == Forgotten(2, 1)
    assert forget(index, "one") == Forgotten(0, 0)
    assert entered(index, "three", [candidate("d", smaller(scene(2)))])["d"] == Standing()
    assert forget(tmp_path / "none.db", "one") == Forgotten(0, 0)


def test_a_run_that_is_broken_off_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    index = tmp_path / "known.db"
    with pytest.raises(KeyboardInterrupt), known_pictures(Known(index, record=True), "one") as known:
        known.enter(candidate("a", scene(1)), 1.0)
        raise KeyboardInterrupt
    assert entered(index, "two", [candidate("b", smaller(scene(1)))])["b"] == Standing()


def test_an_index_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "known.db").write_bytes(b"not a database" * 100)
    with (
        pytest.raises(DuplicatesUnusable, match=r"known\.db"),
        known_pictures(Known(tmp_path / "known.db", record=True), "a"),
    ):
        pass


def test_many_copies_of_one_picture_are_compared_with_one(tmp_path: Path) -> None:
    first = candidate("0", scene(1))
    with known_pictures(Known(tmp_path / "known.db", record=True), "one") as known:
        asked: list[str] = []
        known._connection.set_trace_callback(asked.append)
        for number in range(100):
            known.enter(replace(first, path=str(number), content=str(number)), 1.0)
        assert [known.standing(str(number)).copy_of for number in (0, 50, 99)] == [None, "0", "0"]
    assert sum("SELECT hashes, thumbnail" in one for one in asked) <= 2 * 99


def shop(**effects: str) -> Settings:
    bounds = {"exact_duplicate": 0, "near_duplicate": 1}
    profile = {name: RuleBound(threshold=bounds[name], effect=effect) for name, effect in effects.items()}  # type: ignore[arg-type]
    scoring = SETTINGS.scoring.model_copy(
        update={"profile": "shop", "profiles": {"shop": profile}, "shard_size": 2, "accept_at": 0.2, "min_gain": 0.0}
    )
    return SETTINGS.model_copy(update={"scoring": scoring})


def rows_of(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "verdicts.parquet").set_index("path")


def with_skus(folder: Path, skus: dict[str, str]) -> Path:
    table = folder.with_suffix(".csv")
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "sku"), *skus.items()])
    return table


def test_verdicts_name_the_picture_in_its_place_and_follow_the_profile(tmp_path: Path) -> None:
    one, two, index = tmp_path / "one", tmp_path / "two", Known(tmp_path / "known.db", record=True)
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        save(one / f"{name}.png", scene(seed))
    shutil.copy(one / "a.png", one / "e.png")
    save(one / "f.jpg", scene(2, 200), quality=60)
    shutil.copy(one / "c.png", one / "g.png")
    skus = {"a.png": "A", "e.png": "A", "b.png": "B", "f.jpg": "B", "c.png": "C", "g.png": "D"}
    small = cv2.resize(scene(2), (200, 200), interpolation=cv2.INTER_AREA)
    save(one / "f.jpg", small, quality=80)
    settings = shop(exact_duplicate="reject", near_duplicate="review")
    table = with_skus(one, skus)
    score(settings, one, tmp_path / "first", scorer=scorer(), known=index, batch_id="one", catalog=table)
    rows = rows_of(tmp_path / "first")
    assert rows.duplicate_of.dropna().to_dict() == {"e.png": "a.png", "f.jpg": "b.png"}
    assert rows.same_as.dropna().to_dict() == {"g.png": "c.png"}
    assert rows.decision.to_dict() == dict.fromkeys(["a.png", "b.png", "c.png", "g.png"], "accept") | {
        "e.png": "reject",
        "f.jpg": "review",
    }
    assert list(rows.loc["e.png", "reasons"])[:1] == ["exact_duplicate: 1 is above 0"]
    assert [one["rule"] for one in rows.loc["f.jpg", "findings"]] == ["near_duplicate"]
    assert [(one["rule"], one["effect"]) for one in rows.loc["g.png", "findings"]] == [("exact_duplicate", "note")]
    assert not {"thumbnail", "hashes"} & set(rows) and rows.perceptual_hash.str.len().eq(16).all()

    elsewhere = shutil.copytree(one, two)
    again = {"batch_id": "again", "known": index, "catalog": with_skus(elsewhere, skus)}
    score(settings, elsewhere, tmp_path / "second", scorer=scorer(), **again)
    second = rows_of(tmp_path / "second")
    assert second.duplicate_of.dropna().to_dict() == rows.duplicate_of.dropna().to_dict()
    assert second.decision.to_dict() == rows.decision.to_dict()


def test_a_batch_that_was_a_trial_is_recorded_when_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png", scene(1))
    index = tmp_path / "known.db"
    run = {"scorer": scorer(), "batch_id": "one"}
    score(shop(near_duplicate="note"), tmp_path / "in", tmp_path / "out", known=Known(index), **run)
    assert not index.exists()
    score(shop(near_duplicate="note"), tmp_path / "in", tmp_path / "out", known=Known(index, record=True), **run)
    assert entered(index, "two", [candidate("b", smaller(scene(1)), None)])["b"].same_as == "one:a.png"


def test_a_copy_that_is_sent_back_keeps_no_enhanced_image(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png", scene(1) // 3)
    shutil.copy(tmp_path / "in/a.png", tmp_path / "in/b.png")
    settings = shop(exact_duplicate="reject")
    scoring = settings.scoring.model_copy(update={"accept_at": 0.9, "reject_below": 0.0, "max_enhanced_shift": 1.0})
    rules = settings.model_copy(update={"scoring": scoring})
    table = with_skus(tmp_path / "in", {"a.png": "A", "b.png": "A"})
    score(rules, tmp_path / "in", tmp_path / "out", scorer=scorer(), catalog=table)
    rows = rows_of(tmp_path / "out")
    assert rows.decision.to_dict() == {"a.png": "enhance", "b.png": "reject"}
    assert [path.name for path in (tmp_path / "out/enhanced").iterdir()] == ["a.png"]
    assert pd.isna(rows.loc["b.png", "enhanced_path"])


def scored(root: Path, batch: str, pictures: dict[str, tuple[np.ndarray, str]], index: Path) -> Path:
    for name, (image, _) in pictures.items():
        save(root / batch / name, image)
    table = with_skus(root / batch, {name: sku for name, (_, sku) in pictures.items()})
    known = Known(index, record=True)
    out = root / f"out-{batch}"
    score(shop(near_duplicate="note"), root / batch, out, scorer=scorer(), batch_id=batch, catalog=table, known=known)
    return out


def names(folders: list[Path]) -> list[tuple[str, str]]:
    return [(each.batch_id, each.path) for each in shown_pictures(open_verdicts(folders))]


def test_an_export_leaves_out_a_copy_only_where_another_of_its_sku_is_in_it(tmp_path: Path) -> None:
    index = tmp_path / "known.db"
    first = scored(tmp_path, "one", {"a.png": (scene(1), "A"), "small.png": (smaller(scene(1)), "A")}, index)
    second = scored(tmp_path, "two", {"b.png": (smaller(scene(1), 80), "A")}, index)
    assert rows_of(second).loc["b.png", "duplicate_of"] == "one:a.png"
    assert names([first, second]) == [("one", "a.png")]
    assert names([second]) == [("two", "b.png")], "with the better one not exported, it stays"


def test_an_export_of_two_batches_shows_the_better_picture_of_the_later_one(tmp_path: Path, capsys) -> None:
    index = tmp_path / "known.db"
    first = scored(tmp_path, "one", {"a.png": (smaller(scene(1)), "A"), "z.png": (smaller(scene(1), 70), "A")}, index)
    second = scored(tmp_path, "two", {"b.png": (scene(1), "A")}, index)
    assert list(rows_of(second).loc["b.png", "displaces"]) == ["one:a.png"]
    capsys.readouterr()
    assert names([first, second]) == [("two", "b.png")]
    assert "2 copy(ies) left out" in capsys.readouterr().err
    assert names([first]) == [("one", "a.png")]
    assert copies_in(open_verdicts([first, second])).instead[("one", "z.png")] == "two:b.png"


@pytest.mark.parametrize("crop", [0, 3, 7])
def test_every_look_within_seven_bits_is_found_the_nearest_first(crop: int) -> None:
    """Seven bits over four bands leave one band with at most one: its neighbours are asked for."""
    random = np.random.default_rng(crop)
    look = look_of(scene(1))
    bits = [int.from_bytes(random.bytes(8), "big") for _ in look.bits]
    asked = replace(look, hashes="".join(f"{each:016x}" for each in bits))
    expected = {}
    with known_pictures(Known(None, False), "b") as known:
        for count in [7, 3, 8, 5, 0, 20]:
            moved = bits[crop]
            for place in random.permutation(64)[:count]:
                moved ^= 1 << int(place)
            others = [moved, *(int.from_bytes(random.bytes(8), "big") for _ in bits[1:])]
            other = replace(look, hashes="".join(f"{each:016x}" for each in others))
            known.enter(replace(candidate(f"{count}.png", scene(1), None), look=other), 0.0)
            expected[known._last_look] = count
        found = [expected[row] for row in known._near(asked)]
    assert found == [0, 3, 5, 7]
