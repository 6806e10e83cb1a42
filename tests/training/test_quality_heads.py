"""Several quality heads: all scored rows teach, and every row has a head that has seen nothing of its group."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_workspace import make_settings, make_workspace, picture

from packshot.bundle import Judge
from packshot.trained import read_trained
from packshot.training.closed_form import (
    GAMMAS,
    RIDGES,
    _left_out_errors,
    _tuning_rows,
    kernel_ridge,
    kernel_ridge_without,
    squared_distances,
)
from packshot.training.features import build_features
from packshot.training.layout import BUNDLE
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


def test_copies_of_a_picture_do_not_vouch_for_each_other():
    """What all copies of a picture share by chance helps to tell a copy from its like, and no other picture."""
    random = np.random.default_rng(0)
    picture_of = np.repeat(np.arange(60), 5)
    z = random.normal(size=(60, 4))[picture_of] / np.sqrt(8) + 0.02 * random.normal(size=(300, 4))
    y = random.normal(size=(60, 1))[picture_of]
    apart, together = kernel_ridge(z, y, 300, seed=1), kernel_ridge(z, y, 300, seed=1, groups=picture_of)
    assert (together.gamma, together.ridge) == (min(GAMMAS), max(RIDGES))
    assert apart.gamma == max(GAMMAS)


def test_the_error_on_a_group_is_that_of_a_machine_that_never_saw_it():
    random = np.random.default_rng(0)
    z, y, group = random.normal(size=(40, 4)), random.normal(size=(40, 2)), np.arange(40) % 7
    kernel = np.exp(-0.3 * squared_distances(z, z))
    found = _left_out_errors(*np.linalg.eigh(kernel), y, 0.1, group)
    for each in range(7):
        rest, left = group != each, group == each
        weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + 0.1 * np.eye(rest.sum()), y[rest])
        assert np.allclose(found[left], y[left] - kernel[np.ix_(left, rest)] @ weights)


@pytest.mark.parametrize(
    ("groups", "most"), [(np.arange(5000), 1200), (np.arange(4900) // 7, 1197), (np.zeros(5000), 5000)]
)
def test_width_and_ridge_are_chosen_on_whole_groups(groups, most):
    rows = _tuning_rows(groups, np.random.default_rng(0))
    assert len(rows) == most and np.array_equal(rows, np.flatnonzero(np.isin(groups, groups[rows])))


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
    loaded, folds, workspace = judge
    row = folds.iloc[0]
    assert loaded.blind_heads([row["image_id"], "new", "new"], ["new", row["group"], "new"]) == [
        row["fold"],
        row["fold"],
        -1,
    ]
    network = read_trained(workspace / BUNDLE)
    assert not network.quality.weights[:, row["fold"]][_same(network, folds, row["fold"])].any()


def _same(network, folds, fold):
    return torch.from_numpy((folds["fold"] == fold).to_numpy(copy=True))


def test_the_score_is_the_mean_of_the_heads(judge):
    loaded, _, _ = judge
    image = picture(3, 1, 0.6)
    each = [loaded.judge([image], heads=[head])[0].quality for head in range(HEADS)]
    assert len(set(each)) == HEADS
    assert loaded.judge([image])[0].quality == pytest.approx(np.mean(each), abs=1e-6)
    assert loaded.judge([image], heads=[-1])[0].quality == loaded.judge([image])[0].quality
