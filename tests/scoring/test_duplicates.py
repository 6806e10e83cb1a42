"""Copies within a batch and across batches, whatever the order of runs, and at a cost that does not grow with pairs."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sample_batch import save, scorer

from packshot.config import RuleBound, Settings, load_settings
from packshot.home import project_root
from packshot.scoring.batch import score
from packshot.scoring.duplicates import Candidate, Copy, DuplicatesUnusable, Owner, known_pictures, shows_the_same
from packshot.scoring.rules import Picture
from packshot.scoring.rules.copies import perceptual_hash, thumbnail

SETTINGS = load_settings(project_root() / "params.yaml")


def scene(seed: int, side: int = 256) -> np.ndarray:
    """Coloured blobs that no other seed has."""
    random = np.random.default_rng(seed)
    blobs = cv2.resize(
        random.uniform(0, 255, (6, 6, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(blobs, 0, 255).astype(np.uint8)


def candidate(path: str, image: np.ndarray, image_id: str | None = None) -> Candidate:
    shown = Picture(image)
    return Candidate(path, image_id or path, perceptual_hash(shown), thumbnail(shown))


def entered(index: Path | None, batch: str, pictures: list[Candidate], folder: str | None = None) -> list[Copy | None]:
    with known_pictures(index, Owner(batch, folder or f"/in/{batch}")) as known:
        return [known.enter(picture, 6) for picture in pictures]


def changed(image: np.ndarray) -> dict[str, np.ndarray]:
    code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return {
        "coded again": cv2.imdecode(code, cv2.IMREAD_COLOR),
        "smaller": cv2.resize(image, (90, 90), interpolation=cv2.INTER_AREA),
        "darker": (image * 0.8).astype(np.uint8),
        "softer": cv2.GaussianBlur(image, (0, 0), 2),
    }


def test_the_first_row_is_the_original_and_later_ones_its_copies(tmp_path: Path) -> None:
    copies = [candidate(name, image) for name, image in changed(scene(1)).items()]
    rows = [candidate("a", scene(1)), candidate("b", scene(2)), *copies, candidate("c", scene(1), "a")]
    found = entered(tmp_path / "known.db", "one", rows)
    assert found[:2] == [None, None]
    assert all(copy is not None and copy.original == "a" and copy.distance is not None for copy in found[2:-1])
    assert found[-1] == Copy("a", None)


def test_every_hash_within_seven_bits_is_found_and_none_beyond() -> None:
    random = np.random.default_rng(5)
    image = candidate("a", scene(1))
    for distance in range(9):
        for _ in range(20):
            flipped = sum(1 << int(bit) for bit in random.choice(64, distance, replace=False))
            near = Candidate("b", "b", f"{int(image.hash, 16) ^ flipped:016x}", image.thumbnail)
            with known_pictures(None, Owner("one", "/in")) as known:
                assert known.enter(image, 7) is None
                assert known.enter(near, 7) == (Copy("a", distance) if distance <= 7 else None)


def test_another_product_of_the_same_shape_and_an_empty_page_are_no_copies(tmp_path: Path) -> None:
    page = np.full((200, 200, 3), 255, np.uint8)
    red, green = page.copy(), page.copy()
    cv2.circle(red, (100, 100), 80, (200, 40, 40), -1)
    cv2.circle(green, (100, 100), 80, (90, 110, 20), -1)
    assert candidate("red", red).hash == candidate("green", green).hash
    dusty = [
        np.clip(page - np.random.default_rng(n).integers(0, 3, page.shape), 0, 255).astype(np.uint8) for n in (1, 2)
    ]
    rows = [candidate(str(n), image) for n, image in enumerate([red, green, page, *dusty, np.zeros_like(page)])]
    assert entered(tmp_path / "known.db", "one", rows) == [None] * 6
    assert not shows_the_same(rows[0].thumbnail, rows[1].thumbnail)


def test_the_catalogue_grows_batch_by_batch_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    index = tmp_path / "known.db"
    first = [candidate("a", scene(1)), candidate("b", scene(2))]
    second = [candidate("x", scene(3)), candidate("y", changed(scene(2))["smaller"]), candidate("z", scene(1), "a")]
    assert entered(index, "one", first) == [None, None]
    found = entered(index, "two", second)
    assert found[0] is None and found[1].original == "one:b" and found[2] == Copy("one:a", None)
    assert entered(index, "two", second) == found
    assert entered(index, "one", first) == [None, None], "what came later makes no copy of what was there before"
    assert entered(index, "another name", first, folder="/in/one") == [None, None]
    assert entered(index, "two", second, folder="/moved") == found


def test_a_picture_replaced_in_place_is_no_copy_of_its_former_self(tmp_path: Path) -> None:
    index = tmp_path / "known.db"
    entered(index, "one", [candidate("a", scene(1))])
    better = candidate("a", changed(scene(1))["softer"], "better")
    assert entered(index, "new name", [better], folder="/in/one") == [None]
    assert entered(index, "three", [candidate("a", scene(1))])[0].original == "one:a"


def test_a_run_that_is_broken_off_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    index = tmp_path / "known.db"
    with pytest.raises(KeyboardInterrupt), known_pictures(index, Owner("one", "/in")) as known:
        known.enter(candidate("a", scene(1)), 6)
        raise KeyboardInterrupt
    assert entered(index, "two", [candidate("b", scene(1))]) == [None]


def test_an_index_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "known.db").write_bytes(b"not a database" * 100)
    with pytest.raises(DuplicatesUnusable, match=r"known\.db"), known_pictures(tmp_path / "known.db", Owner("a", "/b")):
        pass


def test_many_copies_of_one_picture_are_compared_with_one_original(tmp_path: Path) -> None:
    image = candidate("0", scene(1))
    rows = [Candidate(str(n), str(n), image.hash, image.thumbnail) for n in range(300)]
    with known_pictures(tmp_path / "known.db", Owner("one", "/in")) as known:
        asked: list[str] = []
        known._connection.set_trace_callback(asked.append)
        copies = [known.enter(row, 6) for row in rows]
    assert copies[1:] == [Copy("0", 0)] * 299
    assert sum("SELECT thumbnail" in one for one in asked) == 299


def shop(**effects: str) -> Settings:
    bounds = {"exact_duplicate": 0, "near_duplicate": 7}
    profile = {name: RuleBound(threshold=bounds[name], effect=effect) for name, effect in effects.items()}  # type: ignore[arg-type]
    scoring = SETTINGS.scoring.model_copy(
        update={"profile": "shop", "profiles": {"shop": profile}, "shard_size": 2, "accept_at": 0.2, "min_gain": 0.0}
    )
    return SETTINGS.model_copy(update={"scoring": scoring})


def rows_of(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "verdicts.parquet").set_index("path")


def test_verdicts_name_the_original_and_follow_the_profile(tmp_path: Path) -> None:
    one, two, index = tmp_path / "one", tmp_path / "two", tmp_path / "known.db"
    for name, seed in (("a", 1), ("b", 2), ("c", 3), ("d", 4)):
        save(one / f"{name}.png", scene(seed))
    shutil.copy(one / "a.png", one / "e.png")
    save(one / "f.jpg", scene(2), quality=60)
    settings = shop(exact_duplicate="reject", near_duplicate="review")
    score(settings, one, tmp_path / "first", scorer=scorer(), known=index, batch_id="one")
    rows = rows_of(tmp_path / "first")
    assert rows.duplicate_of.dropna().to_dict() == {"e.png": "a.png", "f.jpg": "b.png"}
    assert rows.decision.to_dict() == dict.fromkeys(["a.png", "b.png", "c.png", "d.png"], "accept") | {
        "e.png": "reject",
        "f.jpg": "review",
    }
    assert list(rows.loc["e.png", "reasons"])[:1] == ["exact_duplicate: 1 is above 0"]
    assert [one["rule"] for one in rows.loc["f.jpg", "findings"]] == ["near_duplicate"]
    assert "thumbnail" not in rows and rows.perceptual_hash.str.len().eq(16).all()

    save(two / "g.png", scene(5))
    shutil.copy(one / "c.png", two / "h.png")
    score(settings, two, tmp_path / "second", scorer=scorer(), known=index, batch_id="two")
    assert rows_of(tmp_path / "second").duplicate_of.dropna().to_dict() == {"h.png": "one:c.png"}
    score(settings, one, tmp_path / "again", scorer=scorer(version=4, digest="e" * 64), known=index, batch_id="one")
    again = rows_of(tmp_path / "again")
    assert again.duplicate_of.dropna().to_dict() == rows.duplicate_of.dropna().to_dict()
    score(settings, one, tmp_path / "alone", scorer=scorer())
    assert rows_of(tmp_path / "alone").duplicate_of.dropna().to_dict() == rows.duplicate_of.dropna().to_dict()


def test_a_copy_that_is_sent_back_keeps_no_enhanced_image(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png", scene(1) // 3)
    shutil.copy(tmp_path / "in/a.png", tmp_path / "in/b.png")
    settings = shop(exact_duplicate="reject")
    scoring = settings.scoring.model_copy(update={"accept_at": 0.9, "reject_below": 0.0, "max_enhanced_shift": 1.0})
    rules = settings.model_copy(update={"scoring": scoring})
    score(rules, tmp_path / "in", tmp_path / "out", scorer=scorer())
    rows = rows_of(tmp_path / "out")
    assert rows.decision.to_dict() == {"a.png": "enhance", "b.png": "reject"}
    assert [path.name for path in (tmp_path / "out/enhanced").iterdir()] == ["a.png"]
    assert pd.isna(rows.loc["b.png", "enhanced_path"])
