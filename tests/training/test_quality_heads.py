"""Several quality heads: all scored rows teach, and every row has a head that has seen nothing of its group."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_workspace import make_settings, make_workspace, picture

from packshot.bundle import Judge
from packshot.training.closed_form import GAMMAS, RIDGES, kernel_ridge, kernel_ridge_without
from packshot.training.features import build_features
from packshot.training.recorder import NullRecorder
from packshot.training.run import train

HEADS = 3


@pytest.mark.parametrize("most_landmarks", [40, 15])
def test_the_solution_of_a_fold_has_seen_nothing_of_it(most_landmarks):
    random = np.random.default_rng(0)
    z, y, fold = random.normal(size=(40, 4)), random.normal(size=(40, 1)), np.arange(40) % HEADS
    before = kernel_ridge_without(z, y, fold, HEADS, most_landmarks, 0.3, 0.1, seed=1)
    spoilt = np.where(fold[:, None] == 1, 9.0, y)
    after = kernel_ridge_without(z, spoilt, fold, HEADS, most_landmarks, 0.3, 0.1, seed=1)
    assert np.array_equal(before.weights[:, 1], after.weights[:, 1]) and before.bias[1] == after.bias[1]
    assert not np.allclose(before.weights[:, 0], after.weights[:, 0])


def test_a_fold_is_solved_as_if_the_others_were_all_there_is():
    random = np.random.default_rng(0)
    z, fold = random.normal(size=(60, 4)), np.arange(60) % HEADS
    y = np.sin(z[:, :1]) + 0.1 * random.normal(size=(60, 1))
    alone = kernel_ridge(z[fold != 2], y[fold != 2], 60, seed=1)
    found = kernel_ridge_without(z, y, fold, HEADS, 60, alone.gamma, alone.ridge, seed=1)
    assert np.allclose(found.weights[fold != 2, 2], alone.weights[:, 0])
    assert not found.weights[fold == 2, 2].any()


def test_the_smoothest_kernel_is_taken_where_the_data_cannot_tell():
    """Scores that are noise leave nothing to follow; those that are a fine wave do."""
    random = np.random.default_rng(0)
    z = random.normal(size=(300, 4)) / np.sqrt(8)
    noise, wave = random.normal(size=(300, 1)), np.sin(6 * z[:, :1])
    taken = {name: kernel_ridge(z, y, 300, seed=1) for name, y in (("noise", noise), ("wave", wave))}
    smoothest = (min(GAMMAS), max(RIDGES))
    assert (taken["noise"].gamma, taken["noise"].ridge) == smoothest
    assert taken["wave"].ridge == min(RIDGES)
    noisy = kernel_ridge(z, wave + 0.5 * noise, 300, seed=1)
    assert noisy.ridge > taken["wave"].ridge and noisy.ridge < max(RIDGES) * 2


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    root = tmp_path_factory.mktemp("heads")
    settings = make_settings()
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"quality_heads": HEADS})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(root / "home"))
        workspace = make_workspace(root / "workspace")
        build_features(settings, workspace)
        bundle = train(settings, workspace, NullRecorder())
        yield Judge.load(bundle, device="cpu", threads=1), pd.read_parquet(bundle / "folds.parquet"), workspace


def test_the_test_split_teaches_too_and_a_group_has_one_fold(judge):
    _, folds, workspace = judge
    manifest = pd.read_parquet(workspace / "data/splits/manifest.parquet")
    scored = manifest[manifest["quality_mos"].notna()]
    assert set(folds["image_id"]) == set(scored["image_id"]) and "test" in set(scored["split"])
    assert folds.groupby("group")["fold"].nunique().eq(1).all()
    assert set(folds["fold"]) == set(range(HEADS))


def test_a_scored_row_is_judged_by_the_head_that_has_not_seen_it(judge):
    loaded, folds, _ = judge
    row = folds.iloc[0]
    assert loaded.blind_heads([row["image_id"], "new", "new"], ["new", row["group"], "new"]) == [
        row["fold"],
        row["fold"],
        -1,
    ]
    assert not loaded.network.quality.weights[:, row["fold"]][_same(loaded, folds, row["fold"])].any()


def _same(loaded, folds, fold):
    return torch.from_numpy((folds["fold"] == fold).to_numpy(copy=True))


def test_the_score_is_the_mean_of_the_heads(judge):
    loaded, _, _ = judge
    image = picture(3, 1, 0.6)
    each = [loaded.judge([image], heads=[head])[0].quality for head in range(HEADS)]
    assert len(set(each)) == HEADS
    assert loaded.judge([image])[0].quality == pytest.approx(np.mean(each), abs=1e-6)
    assert loaded.judge([image], heads=[-1])[0].quality == loaded.judge([image])[0].quality
