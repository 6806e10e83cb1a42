"""What repairs are learned from: pictures that the enhancer has not seen, damaged the same way each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_network import small_architecture
from small_workspace import make_settings, make_workspace

from packshot.catalog.image import ImageLimits, decode
from packshot.config import Settings
from packshot.evaluation.metrics import psnr
from packshot.faults.detector import Detector
from packshot.faults.kinds import NAMES
from packshot.inference.repairs import names
from packshot.model.network import PackshotNet
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.training.gain import FEWEST_GROUPS, copies_of, gain_rows, learn_gain, tried
from packshot.training.pairs import pair_rows


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("gain"))


@pytest.fixture(scope="module")
def settings() -> Settings:
    return make_settings()


@pytest.fixture(scope="module")
def manifest(workspace: Path) -> pd.DataFrame:
    return pd.read_parquet(workspace / "data/splits/manifest.parquet")


@pytest.fixture(scope="module")
def network() -> PackshotNet:
    torch.manual_seed(0)
    return PackshotNet(small_architecture()).eval().requires_grad_(False)


def detector() -> Detector:
    faults = len(NAMES)
    weights = np.zeros((1, 2 * faults))
    return Detector(
        mean=np.zeros(SIGNAL_SIZE), scale=np.ones(SIGNAL_SIZE), landmarks=np.zeros((1, SIGNAL_SIZE)), weights=weights,
        bias=np.zeros(2 * faults), gamma=np.ones(1), lowest=np.ones(faults), highest=np.ones(faults) * 2,
        slope=np.ones(faults), offset=np.zeros(faults), clean=np.zeros((9, faults)), chroma=np.array([0]),
    )  # fmt: skip


def test_no_group_that_the_enhancer_learns_from_and_none_held_out_is_used(
    settings: Settings, manifest: pd.DataFrame
) -> None:
    recipe, profile = settings.training.chosen, settings.profiles["own"]
    rows = gain_rows(manifest, profile, recipe.model_copy(update={"gain_pictures": 99}), 17)
    pairs = pair_rows(manifest, profile, recipe, 17)
    assert len(rows) > 5 and set(rows["split"]) <= {"train", "validation"}
    assert not set(rows["group"]) & set(pairs.loc[pairs["split"] == "train", "group"])
    some = gain_rows(
        manifest.sample(frac=1, random_state=3), profile, recipe.model_copy(update={"gain_pictures": 3}), 17
    )
    assert list(some["image_id"]) == list(rows["image_id"])[:3]


def test_copies_are_drawn_by_the_picture_and_can_be_compared(workspace: Path, settings: Settings) -> None:
    limits = ImageLimits.from_settings(settings.validation)
    clean = decode(workspace / "data/raw/images/own/3.png", limits)
    first, again = (list(copies_of(clean, "a" * 64, 17)) for _ in range(2))
    assert 1 <= len(first) <= 3 and all(copy.shape == clean.shape for copy in first)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    others = [copy for number in range(8) for copy in copies_of(clean, f"{number}", 17)]
    assert min(psnr(clean, copy) for copy in others) < 30


def test_the_true_gain_of_every_way_is_kept(
    workspace: Path, settings: Settings, manifest: pd.DataFrame, network: PackshotNet
) -> None:
    limits = ImageLimits.from_settings(settings.validation)
    rows = manifest.head(3)

    def opener(path: str) -> np.ndarray:
        return decode(workspace / "data/raw/images" / path, limits)

    found = tried(network, detector(), rows, opener, 64, 1, 17)
    copies = len(np.unique(found.copy))
    assert len(found.gain) == copies * len(names()) and np.isfinite(found.gain).all()
    both = found.gain.reshape(copies, len(names()))[:, names().index("both")]
    assert both == pytest.approx(0, abs=0.05)  # an untrained enhancer changes nothing
    assert found.gain.min() < -3 and set(found.group) == set(rows["group"])


def test_too_few_groups_are_said(manifest: pd.DataFrame, network: PackshotNet) -> None:
    found = learn_gain(network, detector(), manifest.head(4), lambda path: np.zeros((8, 8, 3), np.uint8), 64, 1, 17)
    assert isinstance(found, str) and "2 groups" in found and str(FEWEST_GROUPS) in found
