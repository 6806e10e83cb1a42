from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score

from packshot.evaluation import metrics as m

TENTHS = st.integers(0, 10).map(lambda value: value / 10)


@given(st.lists(st.tuples(TENTHS, TENTHS), min_size=3, max_size=40))
def test_correlations_agree_with_scipy_ties_included(pairs: list[tuple[float, float]]) -> None:
    x, y = (np.array(side) for side in zip(*pairs, strict=True))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        with pytest.raises(m.MetricError, match="undefined"):
            m.srcc(x, y)
        return
    assert m.srcc(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)
    assert m.plcc(x, y) == pytest.approx(pearsonr(x, y).statistic, abs=1e-9)


@pytest.mark.parametrize("predicted", [[1e-12, 2e-12, 3e-12], [0.5, 0.5, np.nextafter(0.5, 1)]])
def test_a_correlation_lost_to_rounding_is_an_error_and_never_nan(predicted: list[float]) -> None:
    with pytest.raises(m.MetricError, match="undefined"):
        m.plcc(predicted, [0.1, 0.2, 0.3])


@given(st.lists(st.tuples(TENTHS, TENTHS, st.integers(0, 3)), min_size=4, max_size=25))
def test_a_weight_is_a_repeated_row(rows: list[tuple[float, float, int]]) -> None:
    x, y, w = (np.array(side) for side in zip(*rows, strict=True))
    repeated = np.repeat(np.arange(len(w)), w)
    weighted = m.weighted_srcc(x, y, w[None, :].astype(float))[0]
    if len(repeated) < 2 or np.ptp(x[repeated]) == 0 or np.ptp(y[repeated]) == 0:
        assert np.isnan(weighted)
    else:
        assert weighted == pytest.approx(spearmanr(x[repeated], y[repeated]).statistic, abs=1e-9)


def test_style_figures_agree_with_sklearn() -> None:
    random = np.random.default_rng(0)
    actual, predicted = random.choice(["a", "b", "c"], 60), random.choice(["a", "b", "c"], 60)
    assert m.macro_f1(list(predicted), list(actual)) == pytest.approx(f1_score(actual, predicted, average="macro"))
    assert m.accuracy(list(predicted), list(actual)) == pytest.approx(float(np.mean(actual == predicted)))


def test_a_class_that_is_never_predicted_pulls_macro_f1_down() -> None:
    assert m.macro_f1(["a"] * 4, ["a", "a", "a", "b"]) == pytest.approx((6 / 7 + 0) / 2)


@pytest.mark.parametrize("figure", [m.srcc, m.plcc, m.ece])
@pytest.mark.parametrize(
    ("first", "second"),
    [([], []), ([0.1, np.nan, 0.3], [0, 1, 1]), ([0.1, 0.2, 0.3], [0, 1]), ([0.1, np.inf, 0.2], [0, 1, 1])],
    ids=["empty", "nan", "unequal", "infinite"],
)
def test_undefined_input_is_an_error_not_a_nan(figure: object, first: list[float], second: list[float]) -> None:
    with pytest.raises(m.MetricError):
        figure(first, second)  # type: ignore[operator]


@pytest.mark.parametrize(("predicted", "actual"), [([], []), (["a"], ["a", "b"]), ([None, "a"], ["a", "b"])])
def test_missing_labels_are_an_error(predicted: list[str], actual: list[str]) -> None:
    for figure in (m.accuracy, m.macro_f1):
        with pytest.raises(m.MetricError):
            figure(predicted, actual)


def test_calibration_error_of_known_cases() -> None:
    assert m.ece([0.75] * 4, [1, 1, 1, 0]) == pytest.approx(0)
    assert m.ece([1.0] * 4, [0, 0, 0, 0]) == pytest.approx(1)
    with pytest.raises(m.MetricError, match=r"0\.\.1"):
        m.ece([1.5], [1])


def test_coverage_counts_the_ends_and_refuses_intervals_upside_down() -> None:
    assert m.coverage([0.1, 0.5], [0.3, 0.7], [0.3, 0.8]) == 0.5
    with pytest.raises(m.MetricError, match="low end above"):
        m.coverage([0.4], [0.3], [0.35])


def test_psnr_and_ssim_of_known_cases() -> None:
    random = np.random.default_rng(0)
    image = cv2.GaussianBlur(random.integers(0, 255, (64, 64, 3), np.uint8), (0, 0), 3)
    brighter = (image + 5).astype(np.uint8)
    assert m.psnr(image, brighter) == pytest.approx(20 * np.log10(255 / 5))
    assert m.psnr(image, image) == m.PSNR_CAP_DB
    assert m.ssim(image, image) == pytest.approx(1)
    noisy = np.clip(image + random.normal(0, 25, image.shape), 0, 255).astype(np.uint8)
    assert m.ssim(image, noisy) < 0.5 < m.ssim(image, brighter)
    with pytest.raises(m.MetricError, match="shape"):
        m.psnr(image, image[:10])


def test_the_subset_baseline_uses_training_means_only() -> None:
    scores = m.subset_baseline(["a", "a", "b"], [0.2, 0.4, 0.9], ["a", "b", "new"])
    assert scores == pytest.approx([0.3, 0.9, 0.5])
    assert m.majority_accuracy(["x", "x", "y"], ["x", "y", "y", "y"]) == 0.25
