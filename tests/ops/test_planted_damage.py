"""The rehearsal with planted damage: what it writes, that it is done once, and what the report shows of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_network import save_small_bundle, small_architecture

from packshot.catalog.image import ImageLimits
from packshot.config import load_settings
from packshot.degrade.everyday import EVERYDAY
from packshot.ops.drills import NothingToDamage, planted_damage
from packshot.serving.damage import EACH, view_damage
from packshot.serving.thumbnails import Thumbnails


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    return save_small_bundle(tmp_path / "bundle", small_architecture())


def good_pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(60, 200, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_every_damage_of_every_picture_has_an_outcome_and_is_tried_once(bundle: Path, tmp_path: Path) -> None:
    settings, folder = load_settings(), good_pictures(tmp_path / "good", 5)
    first = planted_damage(settings, folder, count=2, model=str(bundle))
    figures = {each["damage"]: each for each in first.record["figures"]}
    assert list(figures) == ["clean", *EVERYDAY, "damaged", "of tone and noise", "all"]
    assert [figures[name]["pictures"] for name in ("clean", "dark", "damaged", "all")] == [2, 2, 12, 14]
    decided = [figures["all"][name] for name in ("accept", "enhance", "review", "reject")]
    assert sum(decided) == pytest.approx(1)
    again = planted_damage(settings, folder, count=2, model=str(bundle))
    assert (first.done, again.done) == (True, False) and again.record == first.record
    assert planted_damage(settings, folder, count=3, model=str(bundle)).done


def test_the_report_shows_pictures_of_each_damage(bundle: Path, tmp_path: Path) -> None:
    settings, folder = load_settings(), good_pictures(tmp_path / "good", 2)
    record = planted_damage(settings, folder, model=str(bundle)).record
    view = view_damage(Path(record["folder"]), Thumbnails(ImageLimits.from_settings(settings.validation), 10**6))
    assert view is not None and view.pictures == 2
    assert [example.damage for example in view.examples] == [name for name in EVERYDAY for _ in range(EACH)]
    assert all(example.clean and example.before for example in view.examples)


def test_a_damaged_record_is_left_out_of_the_report(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "rescue.json").write_text(json.dumps({"rows": [{}], "figures": []}))
    assert view_damage(tmp_path, Thumbnails(ImageLimits.from_settings(load_settings().validation), 10**6)) is None


def test_a_folder_without_pictures_is_an_error_that_says_what_to_do(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingToDamage, match="packshot drill damage DIR"):
        planted_damage(load_settings(), tmp_path / "nowhere", model=str(bundle))
