"""Faults planted in whole pictures, and a detector learned from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_network import save_small_bundle, small_architecture
from small_workspace import make_settings, make_workspace, picture

from packshot.bundle import Judge
from packshot.faults.detector import COLOURLESS, write_detector
from packshot.faults.kinds import NAMES
from packshot.model.signal import signal_statistics
from packshot.training.dataset import load_dataset
from packshot.training.faults import STRONGEST_CHROMA, Learned, learn_faults, load_planted, with_clean
from packshot.training.features import build_features
from packshot.training.planting import HARMLESS_WAYS, WAYS, lot_of, plant

IMAGE = picture(1, 0, 0.0)


def test_a_lot_gives_the_same_copy_and_lots_differ() -> None:
    first, again, other = (plant(IMAGE, lot_of("a", copy, 17)) for copy in (0, 0, 1))
    assert np.array_equal(first.image, again.image) and np.array_equal(first.strengths, again.strengths)
    assert not np.array_equal(first.image, other.image)
    assert lot_of("a", 0, 17) != lot_of("b", 0, 17)


def test_every_fault_is_planted_alone_and_beside_others() -> None:
    copies = [plant(IMAGE, lot_of("a", copy, 17)) for copy in range(200)]
    there = np.array([one.strengths > 0 for one in copies])
    assert there.any(axis=0).all()
    assert set(there.sum(axis=1).tolist()) == {0, 1, 2, 3}
    exposure = there[:, [NAMES.index(name) for name in ("dark", "light", "flat")]]
    assert exposure.sum(axis=1).max() == 1
    assert all(one.image.dtype == np.uint8 and min(one.image.shape[:2]) >= 40 for one in copies)


@pytest.mark.parametrize(("fault", "way"), [(fault, way) for fault in NAMES for way in WAYS[fault]])
def test_stronger_is_further_from_the_picture(fault: str, way: object) -> None:
    from packshot.training.planting import _changed, _image, _plane

    plane, shifts, strengths = _plane(IMAGE), [], []
    for value in (way.mild, way.strong):
        after = _plane(_image(_changed(plane, way.name, value, np.random.default_rng(1))))
        shifts.append(float(np.abs(after - plane).mean()))
        strengths.append(way.strength(plane, after, value))
    assert shifts[1] > shifts[0] > 0
    assert strengths[1] < strengths[0] if fault == "compression" else strengths[1] > strengths[0]
    assert min(strengths) > 0


def test_what_is_harmless_has_no_fault() -> None:
    copies = [plant(IMAGE, lot_of("h", copy, 17)) for copy in range(60)]
    unhurt = [one for one in copies if not one.strengths.any()]
    assert 3 <= len(unhurt) <= 20
    assert len(HARMLESS_WAYS) > 3


def test_the_place_of_the_strongest_chroma() -> None:
    colourful = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    grey = np.repeat(colourful[..., :1], 3, axis=2)
    views = torch.stack([torch.from_numpy(image).permute(2, 0, 1) / 255 for image in (colourful, grey)])
    told = signal_statistics(views)[:, STRONGEST_CHROMA].numpy()
    red, green, blue = np.moveaxis(colourful.astype(float) / 255, 2, 0)
    squares = (red - green) ** 2 + ((red + green) / 2 - blue) ** 2
    assert told[0] == pytest.approx(np.mean(squares**2) ** 0.25, rel=1e-3)
    assert told[1] <= COLOURLESS


def test_a_judge_names_the_faults_that_its_bundle_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    settings = make_settings()
    recipe = settings.training.chosen.model_copy(update={"fault_pictures": 60, "fault_copies": 8})
    training = settings.training.model_copy(update={"recipes": {"tiny": recipe}})
    settings = settings.model_copy(update={"training": training})
    workspace = make_workspace(tmp_path / "workspace")
    build_features(settings, workspace)
    data = load_dataset(workspace, settings.profiles["own"])
    known = data.of_splits("train", "validation")
    lessons = with_clean(load_planted(workspace), data, known, ["own"])
    assert lessons.clean.sum() == len(known)
    held_out = set(data.index["group"].iloc[data.of_splits("test")])
    assert not held_out & set(lessons.group.tolist())
    learned = learn_faults(lessons, seed=17)
    assert isinstance(learned, Learned)
    bundle = save_small_bundle(tmp_path / "bundle", small_architecture())
    assert Judge.load(bundle, "cpu", 1).judge([IMAGE])[0].faults is None
    write_detector(bundle, learned.detector)
    noisy = np.clip(IMAGE + np.random.default_rng(0).normal(0, 40, IMAGE.shape), 0, 255).astype(np.uint8)
    clean, spoilt = (
        {one.fault: one for one in judged.faults} for judged in Judge.load(bundle, "cpu", 1).judge([IMAGE, noisy])
    )
    assert tuple(spoilt) == NAMES
    assert spoilt["noise"].probability > 0.5 > clean["noise"].probability
    assert spoilt["noise"].strength > 15
