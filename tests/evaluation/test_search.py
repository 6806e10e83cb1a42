"""The search never sees the test split, starts from the recipe as it is, and goes on where it stopped."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_workspace import make_settings, make_workspace

from packshot.config import SearchDimension, SearchSettings, Settings, SettingsError
from packshot.evaluation import search as module
from packshot.evaluation.search import apply, as_environment, score_of, search
from packshot.training.dataset import Dataset, load_dataset, load_pairs
from packshot.training.features import build_features

SPACE = {
    "recipe.learning_rate": SearchDimension(low=1e-4, high=1e-2, log=True),
    "loss.ranking": SearchDimension(choices=(0.0, 0.25)),
    "model.trunk_dim": SearchDimension(choices=(8, 16)),
}


@pytest.fixture
def settings() -> Settings:
    return make_settings().model_copy(update={"search": SearchSettings(trials=3, space=SPACE)})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("search")
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(root / "home"))
        torch.set_num_threads(1)
        made = make_workspace(root / "workspace")
        build_features(make_settings(), made)
        yield made
    torch.set_num_threads(before)


def found(settings: Settings, data: Dataset, pairs, journal, trials: int) -> tuple[list, tuple]:
    notes: list = []
    best = search(settings, data, pairs, settings.profiles["own"], journal, trials, lambda *told: notes.append(told))
    return notes, best


def test_the_first_trial_is_the_recipe_and_a_stopped_search_goes_on(settings, workspace, tmp_path):
    data, pairs = load_dataset(workspace, settings.profiles["own"]), load_pairs(workspace)
    journal = tmp_path / "search.journal"
    first, (_, _, as_it_is) = found(settings, data, pairs, journal, 1)
    assert first[0][1] == {
        "recipe.learning_rate": settings.training.chosen.learning_rate,
        "loss.ranking": settings.training.loss.ranking,
        "model.trunk_dim": settings.network.trunk_dim,
    }
    assert first[0][3] == as_it_is
    rest, (best, score, again) = found(settings, data, pairs, journal, 3)
    assert [note[0] for note in rest] == [1, 2] and again == as_it_is
    notes = [*first, *rest]
    assert score == max(note[3] for note in notes)
    assert best in [note[1] for note in notes if note[3] == score]
    assert rest[0][1] != first[0][1]
    none, _ = found(settings, data, pairs, journal, 3)
    assert none == []


def test_the_test_split_takes_no_part(settings, workspace, tmp_path):
    data, pairs = load_dataset(workspace, settings.profiles["own"]), load_pairs(workspace)
    held = torch.from_numpy(data.of_splits("test"))
    spoilt = {name: getattr(data, name).clone() for name in ("stats", "quality", "style")}
    spoilt["stats"][held] = 1e3
    spoilt["quality"][held] = 0.0
    spoilt["style"][held] = 0
    notes, _ = found(settings, data, pairs, tmp_path / "a.journal", 1)
    other, _ = found(settings, replace(data, **spoilt), pairs, tmp_path / "b.journal", 1)
    assert notes == other


def test_better_settings_are_told_from_worse(settings, workspace, tmp_path, monkeypatch):
    """With a figure that falls with the distance from a learning rate, the search comes near to it."""

    def figures(frame, profile):
        return {"style/accuracy_folds/own": 1 - abs(np.log10(frame.training.chosen.learning_rate) + 2.5)}

    monkeypatch.setattr(module, "cross_validated", lambda changed, *rest: changed)
    monkeypatch.setattr(module, "fold_figures", figures)
    data = load_dataset(workspace, settings.profiles["own"])
    notes, (best, score, as_it_is) = found(settings, data, None, tmp_path / "search.journal", 25)
    assert len(notes) == 25 and score > as_it_is
    assert np.log10(best["recipe.learning_rate"]) == pytest.approx(-2.5, abs=0.15)


def test_values_reach_the_settings_and_the_environment(settings, monkeypatch):
    values = {"recipe.learning_rate": 0.005, "loss.ranking": 0.0, "model.trunk_dim": 8}
    changed = apply(settings, values)
    assert changed.training.chosen.learning_rate == 0.005 and changed.training.loss.ranking == 0
    assert changed.network.trunk_dim == 8 and settings.network.trunk_dim == 16
    assert as_environment(settings, values) == [
        "PACKSHOT__TRAINING__RECIPES__TINY__LEARNING_RATE=0.005",
        "PACKSHOT__TRAINING__LOSS__RANKING=0.0",
        "PACKSHOT__TRAINING__RECIPES__TINY__MODEL__TRUNK_DIM=8",
    ]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"recipe.speed": 1}, "recipe.speed: there is no such setting"),
        ({"style.speed": 1}, "style.speed: there is no such setting"),
        ({"recipe.learning_rate": -1.0}, "greater than 0"),
    ],
)
def test_a_space_that_cannot_be_is_named(settings, values, told):
    with pytest.raises(SettingsError, match=told):
        apply(settings, values)


@pytest.mark.parametrize(
    "wrong", [{}, {"low": 1.0}, {"low": 2.0, "high": 1.0}, {"low": 0.0, "high": 1.0, "log": True}, {"choices": ()}]
)
def test_a_dimension_is_a_range_or_a_list(wrong):
    with pytest.raises(ValueError, match="give low and high"):
        SearchDimension(**wrong)


def test_the_score_weighs_sets_and_prefers_ranks_within_subsets(settings):
    profile = settings.profiles["own"]
    figures = {"quality/srcc_folds/own": 0.8, "style/accuracy_folds/own": 0.6}
    assert score_of(figures, profile) == pytest.approx(0.7)
    assert score_of(figures | {"quality/srcc_within_folds/own": 0.4}, profile) == pytest.approx(0.5)
    with pytest.raises(SettingsError, match="no scored and no styled set"):
        score_of({}, profile)
