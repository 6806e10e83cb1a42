from __future__ import annotations

import numpy as np
import pytest

from packshot.evaluation.metrics import Floats, MetricError, srcc, weighted_mean, weighted_srcc
from packshot.evaluation.resampling import group_weights, over_rows, paired_bootstrap


def mean_of(values: Floats) -> object:
    return lambda weights: weighted_mean(values, weights)


def test_groups_are_drawn_whole_and_as_many_as_there_are() -> None:
    groups = ["a", "a", "b", "c", "c", "c"]
    weights = group_weights(groups, 200, seed=1)
    assert np.all(weights[:, 0] == weights[:, 1]) and np.all(weights[:, 3] == weights[:, 5])
    assert np.all(weights[:, [0, 2, 3]].sum(axis=1) == 3)


def test_grouped_rows_give_a_wider_interval_than_independent_ones() -> None:
    random = np.random.default_rng(0)
    shared = np.repeat(random.normal(0, 1, 30), 10)
    zero = np.zeros(300)
    grouped = paired_bootstrap(
        np.repeat(np.arange(30), 10).tolist(), mean_of(shared), mean_of(zero), resamples=500, confidence=0.95
    )
    alone = paired_bootstrap(list(range(300)), mean_of(shared), mean_of(zero), resamples=500, confidence=0.95)
    assert grouped.standard_error == pytest.approx(shared.std() / np.sqrt(30), rel=0.25)
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)
    assert (grouped.groups, alone.groups) == (30, 300)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    hits = 0
    for trial in range(120):
        random = np.random.default_rng(trial)
        hard = random.normal(0, 2, 80)
        ours, theirs = hard + random.normal(0.3, 1, 80), hard + random.normal(0, 1, 80)
        found = paired_bootstrap(
            list(range(80)), mean_of(ours), mean_of(theirs), resamples=300, confidence=0.9, seed=trial
        )
        hits += found.low <= 0.3 <= found.high
    assert 0.82 <= hits / 120 <= 0.97


def test_a_plain_function_of_rows_gives_what_the_weighted_form_gives() -> None:
    random = np.random.default_rng(3)
    y = random.uniform(0, 1, 50)
    x, worse = y + random.normal(0, 0.2, 50), y + random.normal(0, 0.5, 50)
    groups = (np.arange(50) // 2).tolist()
    fast = paired_bootstrap(
        groups,
        lambda w: weighted_srcc(x, y, w),
        lambda w: weighted_srcc(worse, y, w),
        resamples=50,
        confidence=0.9,
    )
    slow = paired_bootstrap(
        groups,
        over_rows(lambda rows: srcc(x[rows], y[rows])),
        over_rows(lambda rows: srcc(worse[rows], y[rows])),
        resamples=50,
        confidence=0.9,
    )
    assert (fast.difference, fast.low, fast.high) == pytest.approx((slow.difference, slow.low, slow.high))


def test_an_undefined_difference_is_an_error() -> None:
    with pytest.raises(MetricError, match="no rows"):
        paired_bootstrap([], mean_of(np.zeros(0)), mean_of(np.zeros(0)), resamples=10, confidence=0.9)
    flat = np.zeros(5)
    with pytest.raises(MetricError, match="undefined"):
        paired_bootstrap(
            list(range(5)),
            lambda w: weighted_srcc(flat, flat, w),
            lambda w: weighted_srcc(flat, flat, w),
            resamples=10,
            confidence=0.9,
        )
