"""What a repair gains: the forest says what its trees say, and how sure one must be follows from copies left out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from packshot.inference import gain as module
from packshot.inference.gain import FILE, Forest, GainUnreadable, evidence_size, read_forest, write_forest
from packshot.training.gain import LEAF, SHARE, TREES, Trials, fitted


def trials(copies: int = 60, ways: int = 3) -> Trials:
    """Number 5 of the evidence tells the gain, the rest is noise."""
    random = np.random.default_rng(1)
    evidence = random.normal(size=(copies * ways, evidence_size())).astype(np.float32)
    copy = np.repeat(np.arange(copies), ways)
    gain = 3 * np.sign(evidence[:, 5]) * np.abs(evidence[:, 5]) ** 0.5
    return Trials(evidence, gain.astype(np.float64), copy, np.array([f"g{number // 2}" for number in copy]))


def outcomes(expected: list[float], true: list[float]) -> Forest:
    leaf = np.zeros((1, 1), dtype=np.float32)
    node = np.zeros((1, 1), dtype=np.int16)
    values = (np.array(each, dtype=np.float32) for each in (expected, true))
    return Forest(node - 1, leaf, node, node, leaf, *values)


def test_the_forest_says_what_the_trees_it_was_made_of_say() -> None:
    known = trials()
    forest = fitted(known, seed=3)
    model = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, max_features=SHARE, random_state=3)
    model.fit(known.evidence, np.clip(known.gain, -6, 8))
    assert forest.predict(known.evidence) == pytest.approx(model.predict(known.evidence), abs=1e-4)


def test_copies_are_told_by_forests_that_left_their_group_out() -> None:
    known = trials()
    forest = fitted(known, seed=3)
    assert len(forest.expected) == len(forest.true) == 60
    assert np.corrcoef(forest.expected, forest.true)[0, 1] > 0.5
    best = [known.gain[known.copy == number].max() for number in range(60)]
    assert (forest.true <= np.sort(best)[::-1].max() + 1e-6).all()
    shuffled = Trials(known.evidence, np.random.default_rng(0).permutation(known.gain), known.copy, known.group)
    assert abs(np.corrcoef(fitted(shuffled, 3).expected, fitted(shuffled, 3).true)[0, 1]) < 0.35


@pytest.mark.parametrize(
    ("max_harm", "least"),
    [(0.0, 3.0), (0.25, 1.0), (0.4, 0.5), (1.0, 0.0)],
)
def test_at_most_the_share_asked_for_is_harmed(max_harm: float, least: float) -> None:
    forest = outcomes([5, 4, 3, 2, 1, 0.5, -1], [2, 2, 0.0, -2, -0.3, -2, -2])
    assert forest.least(max_harm) == least


def test_where_the_surest_is_harmed_nothing_is_sure() -> None:
    assert outcomes([5, 4], [-2, 3]).least(0.1) == float("inf")
    assert outcomes([], []).least(0.1) == float("inf")


def test_the_same_forest_gives_the_same_bytes_and_comes_back(tmp_path: Path) -> None:
    forest = fitted(trials(20), seed=1)
    for name in ("a", "b"):
        write_forest(tmp_path / name, forest)
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()
    back = read_forest(tmp_path / "a")
    assert back is not None
    assert all(np.array_equal(getattr(back, name), value) for name, value in vars(forest).items())
    assert read_forest(tmp_path) is None


def test_a_damaged_file_and_one_for_other_repairs_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_forest(tmp_path, fitted(trials(20), seed=1))
    monkeypatch.setattr("packshot.inference.gain.names", lambda: ("tones",))
    with pytest.raises(GainUnreadable, match="for the repairs tones"):
        read_forest(tmp_path)
    (tmp_path / FILE).write_bytes(b"nonsense")
    with pytest.raises(GainUnreadable, match="train again"):
        read_forest(tmp_path)


@pytest.mark.parametrize("levels", [(0, 256), (7, 8), (100, 104)])
@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (200, 301)])
def test_counted_percentiles_are_those_of_numpy(shape: tuple[int, int], levels: tuple[int, int]) -> None:
    lab = np.random.default_rng(shape[0]).integers(*levels, (*shape, 3), dtype=np.uint8)
    assert module._lightness(lab) == pytest.approx(
        np.percentile(lab[..., 0].astype(float), module.PERCENTILES), abs=1e-9
    )


def test_a_change_is_told_by_what_it_did_to_light_colour_and_detail() -> None:
    before = np.random.default_rng(3).integers(40, 200, (64, 96, 3), dtype=np.uint8)
    after = cv2.add(before, np.full_like(before, 20))
    first, second = (cv2.cvtColor(each, cv2.COLOR_RGB2LAB).astype(np.float64) for each in (before, after))
    found = module._change(module.Before(before, module._lab(before), np.zeros(0, np.float32)), after)
    sides = [each.reshape(-1, 3) for each in (first, second)]
    assert found[:12] == pytest.approx(
        np.concatenate([s for side in sides for s in (side.mean(0), side.std(0))]), rel=1e-5
    )
    assert found[12:15] == pytest.approx((second - first).mean(axis=(0, 1)), abs=1e-3)
    assert found[-1] == pytest.approx(np.log(np.mean((second - first) ** 2) + 0.01), rel=1e-5)
