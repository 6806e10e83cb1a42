"""A recipe with a teacher: what the student learns from, and what it must not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file
from small_workspace import make_settings, make_workspace

from packshot.bundle import Judge, read_network, read_record
from packshot.config import Settings
from packshot.training import layout
from packshot.training.closed_form import kernel_ridge, kernel_ridge_of_first
from packshot.training.crossval import fitted_without
from packshot.training.dataset import Dataset, FeaturesMissing, load_dataset, load_pairs
from packshot.training.features import TeacherMissing, build_features
from packshot.training.recorder import NullRecorder
from packshot.training.run import train
from packshot.training.teaching import lessons


def student_settings(human_share: float = 0.5) -> Settings:
    """A student that sees 32 pixels, whose teacher sees 64 and 48."""
    raw = make_settings().model_dump(mode="json")
    tiny = raw["training"]["recipes"]["tiny"] | {"epochs": 1}
    raw["training"]["recipes"] = {
        "seer": tiny | {"model": {"long_sides": [64, 48], "trunk_dim": 20}},
        "tiny": tiny | {"teacher": "seer", "human_share": human_share, "model": {"long_sides": [32]}},
    }
    return Settings.model_validate(raw)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A workspace with the features of a student and its teacher."""
    root = tmp_path_factory.mktemp("student")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(root / "home"))
        workspace = make_workspace(root / "workspace", 120)
        build_features(student_settings(), workspace)
        yield workspace


def data_of(workspace, settings: Settings) -> Dataset:
    return load_dataset(workspace, settings.profiles["own"], settings.training.chosen)


def test_the_teacher_sees_more_than_the_student(learned):
    data = data_of(learned, student_settings())
    assert data.teacher is not None and data.teacher.trunk_dim == 20
    assert data.teacher.stats.shape[1] > data.stats.shape[1] and len(data.teacher.stats) == len(data.stats)
    rows = np.array([5, 2])
    assert torch.equal(data.only(rows).teacher.stats, data.teacher.stats[[5, 2]])
    assert load_dataset(learned, student_settings().profiles["own"]).teacher is None


def test_scored_pictures_are_taught_by_both_and_the_others_by_the_teacher(learned):
    rows = np.arange(120)
    halves, people, alone = (lessons(data_of(learned, student_settings(share)), rows, 17) for share in (0.5, 1.0, 0.0))
    data = data_of(learned, student_settings())
    rated = data.with_quality(rows)
    count = len(rated)
    assert sorted(halves.rows) == list(rows) and list(halves.rows[:count]) == list(rated)
    assert torch.allclose(people.scores[:count], data.quality[rated])
    assert torch.allclose(halves.scores[:count], (people.scores[:count] + alone.scores[:count]) / 2, atol=1e-6)
    assert torch.equal(halves.scores[count:], people.scores[count:]) and halves.scores.isfinite().all()
    # sharp and blurred pictures alternate in fives, scores follow: the teacher knows it of those without a score
    blur = halves.rows[count:] % 5
    assert (
        halves.scores[count:][torch.from_numpy(blur == 0)].mean()
        > halves.scores[count:][torch.from_numpy(blur == 4)].mean()
    )


def test_of_a_scored_picture_the_teacher_says_what_it_would_without_its_group(learned):
    data = data_of(learned, student_settings(0.0))
    rows = np.arange(120)
    before = lessons(data, rows, 17)
    mine = np.flatnonzero((data.index["group"] == data.index["group"].iloc[before.rows[0]]).to_numpy())
    other = data.quality.clone()
    other[mine] = other[mine] + 0.02
    after = lessons(replace(data, quality=other), rows, 17)
    moved = (after.scores - before.scores).abs()
    own = torch.from_numpy(np.isin(before.rows, mine))
    # its own score reaches it through the mean of all alone
    assert moved[own].max() < 0.02 * 2 / len(data.with_quality(rows)) + 1e-6
    assert moved[~own].max() > moved[own].max()


def test_no_label_of_a_held_out_row_reaches_the_student_of_its_fold(learned):
    settings = student_settings()
    data, pairs = data_of(learned, settings), load_pairs(learned)
    labelled = data.with_quality(np.arange(120))
    held = np.isin(data.index["group"].iloc[labelled].to_numpy(str), [f"g{number}" for number in range(0, 60, 3)])
    other = data.quality.clone()
    other[labelled[held]] = 1 - other[labelled[held]]
    first = fitted_without(settings, data, pairs, labelled[~held], labelled[held]).state_dict()
    second = fitted_without(settings, replace(data, quality=other), pairs, labelled[~held], labelled[held]).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    plain = fitted_without(settings, replace(data, teacher=None), pairs, labelled[~held], labelled[held]).state_dict()
    assert not torch.equal(first["quality.bias"], plain["quality.bias"])


def test_a_student_is_trained_like_any_other(learned, tmp_path):
    settings = student_settings()
    bundle = train(settings, learned, NullRecorder())
    record = read_record(bundle)
    assert record.recipe == "tiny" and record.architecture.long_sides == (32,)
    known = data_of(learned, settings).of_splits("train", "validation")
    assert record.architecture.landmarks == min(len(known), settings.network.kernel_features)
    judgement = Judge.load(bundle, threads=1).judge([np.full((40, 40, 3), 90, np.uint8)])[0]
    assert 0 < judgement.quality < 1


def test_a_teacher_that_was_not_looked_through_is_an_error(learned, tmp_path, monkeypatch):
    settings = student_settings()
    target = learned / layout.TEACHER_VALUES
    kept = target.read_bytes()
    assert set(load_file(target)) == {"stats"}
    target.unlink()
    try:
        with pytest.raises(FeaturesMissing, match=r"teacher\.safetensors does not exist; run `packshot features`"):
            data_of(learned, settings)
    finally:
        target.write_bytes(kept)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"teacher": "nobody"}, r"recipes\.tiny\.teacher 'nobody' is none of \['seer'\]"),
        ({"teacher": "tiny"}, r"recipes\.tiny\.teacher 'tiny' is none of"),
        ({"teacher": "model:"}, r"recipes\.tiny\.teacher 'model:' is none of"),
        ({"teacher": None}, r"recipes\.tiny\.human_share is 0\.5 without a teacher; it must be 1"),
        ({"model": {"quality_heads": 3}}, r"recipes\.tiny has a teacher: its model\.quality_heads must be 1"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(change, said):
    raw = student_settings().model_dump(mode="json")
    raw["training"]["recipes"]["tiny"] |= change
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate(raw)


def test_a_bundle_of_the_same_eyes_teaches_the_same(learned, tmp_path, monkeypatch):
    seer = Settings.model_validate(student_settings().model_dump(mode="json")).with_recipe("seer")
    before = load_file(learned / layout.TEACHER_VALUES)["stats"]
    workspace = make_workspace(tmp_path / "workspace", 120)
    build_features(seer, workspace)
    assert not (workspace / layout.TEACHER_VALUES).exists()
    teacher = train(seer, workspace, NullRecorder())
    settings = student_settings().taught_by(str(teacher))
    with pytest.raises(TeacherMissing, match="the recipe tiny learns from model:"):
        build_features(settings, workspace)
    build_features(settings, workspace, read_network(teacher))
    assert np.array_equal(load_file(workspace / layout.TEACHER_VALUES)["stats"], before)
    assert data_of(workspace, settings).teacher.trunk_dim == 20


@pytest.mark.parametrize("most", [12, 25, 60])
def test_scored_pictures_are_landmarks_before_others_and_choose_the_kernel(most):
    random = np.random.default_rng(0)
    z = random.normal(0, 0.3, (60, 4))
    z[20:] += 5  # another kind of picture, of which the teacher alone says something
    y = np.where(np.arange(60) < 20, np.sin(3 * z[:, 0]), 7.0)[:, None]
    groups = np.arange(60)
    found = kernel_ridge_of_first(z, y, 20, most, 3, 0.0, groups)
    like = kernel_ridge(z[:20], y[:20], most, 3, 0.0, groups[:20])
    assert (found.gamma, found.ridge) == (like.gamma, like.ridge)
    of_first = [bool((found.landmarks == row).all(axis=1).any()) for row in z[:20]]
    assert len(found.landmarks) == most and sum(of_first) == min(most, 20)
    if most > 20:
        assert abs(float(found(z[20:]).mean()) - 7) < abs(float(like(z[20:]).mean()) - 7) / 2
