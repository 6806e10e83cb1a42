"""A shop's own scale: what few labels move, when they are refused, and that a scale which does not help is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from packshot.config import DecisionCosts, load_settings
from packshot.evaluation.shop_scale import (
    FEWEST,
    ShopLabels,
    ShopMap,
    TooFewLabels,
    accepted_faults,
    as_judged,
    conformal,
    fitted,
)
from packshot.evaluation.shop_trial import objections, prospects, tried
from packshot.evaluation.thresholds import Thresholds

COSTS: DecisionCosts = load_settings(Path(__file__).resolve().parents[2] / "params.yaml").scoring.costs
JUDGE = Thresholds(0.6, 0.4, 0.6)
COVERAGE = 0.9


def shop(count: int, seed: int, *, shift: float = -0.2, slope: float = 0.7, noise: float = 0.06) -> ShopLabels:
    """A shop whose scores are a line of the judge's, with normal errors; the judge expects errors of .1."""
    generator = np.random.default_rng(seed)
    quality = generator.uniform(0.2, 0.95, count)
    score = np.clip(0.6 + shift + slope * (quality - 0.6) + generator.normal(0, noise, count), 0, 1)
    return ShopLabels(quality, np.full(count, 0.165), score, np.full(count, np.nan))


def decisions_alone(labels: ShopLabels) -> ShopLabels:
    good = (labels.score >= COSTS.good_from).astype(np.float64)
    return ShopLabels(labels.quality, labels.half, np.full(len(labels), np.nan), good)


def shares_inside(found: ShopMap, labels: ShopLabels) -> float:
    low, high = found.interval(labels.quality)
    return float(((low <= labels.score) & (labels.score <= high)).mean())


@pytest.mark.parametrize("count", [40, 60, 100])
def test_scores_find_the_line_and_an_interval_that_holds_its_share(count: int) -> None:
    tests = shop(4000, 1)
    found = [fitted(shop(count, seed), COSTS, COVERAGE) for seed in range(2, 22)]
    inside = [shares_inside(one, tests) for one in found]
    assert 0.87 <= np.mean(inside) <= 0.94
    assert np.mean([one.slope for one in found]) == pytest.approx(0.7, abs=0.05)
    assert np.mean([one.half_width for one in found]) < 0.75 * 0.165, "the judge expects larger errors than the shop's"


def test_decisions_alone_move_the_line_to_where_the_shop_draws_it() -> None:
    found = fitted(decisions_alone(shop(80, 5, shift=0.1)), COSTS, COVERAGE)
    judged = np.linspace(0, 1, 200)
    line = float(np.interp(COSTS.good_from, found.quality(judged), judged))
    assert line == pytest.approx(0.6 - 0.2 / 0.7, abs=0.08), "the judge's score from which the shop accepts"


def test_a_shop_with_a_deliberate_dark_style_overrules_the_judge() -> None:
    generator = np.random.default_rng(3)
    quality = generator.uniform(0.1, 0.4, 60)
    fit = (quality > 0.18).astype(np.float64)
    labels = ShopLabels(quality, np.full(60, 0.165), np.full(60, np.nan), fit)
    found = fitted(labels, COSTS, COVERAGE)
    assert found.quality(np.array([0.35]))[0] >= found.thresholds(COSTS).accept_at > found.quality(np.array([0.12]))[0]


def test_scores_and_decisions_count_together() -> None:
    scored, decided = shop(30, 7), decisions_alone(shop(30, 8))
    both = ShopLabels(*(np.concatenate([getattr(one, name) for one in (scored, decided)]) for name in vars(scored)))
    errors = [abs(fitted(one, COSTS, COVERAGE).height + 0.2) for one in (scored, both)]
    assert errors[1] < 0.05 and len(both) == 60


def test_the_map_never_falls_even_where_labels_do() -> None:
    found = fitted(shop(60, 9, slope=-0.8), COSTS, COVERAGE)
    assert found.slope >= 0
    assert np.all(np.diff(found.quality(np.linspace(0, 1, 50))) >= 0)


def test_left_out_labels_are_what_fitting_without_them_gives() -> None:
    from packshot.evaluation.shop_scale import _posterior

    labels = shop(25, 11)
    centre = float(labels.quality.mean())
    middle, _ = _posterior(labels, centre, 0.1, COSTS.good_from).left_out()
    for row in range(0, 25, 6):
        without = labels.of(np.arange(25) != row)
        found = _posterior(without, centre, 0.1, COSTS.good_from)
        height, slope, _ = found.weights @ found.at
        assert middle[row] == pytest.approx(centre + height + slope * (labels.quality[row] - centre), abs=2e-3)


def test_ten_labels_and_labels_of_one_decision_are_too_few() -> None:
    with pytest.raises(TooFewLabels, match=f"10 labelled pictures .* {FEWEST} are needed"):
        fitted(shop(10, 1), COSTS, COVERAGE)
    alike = decisions_alone(shop(60, 1))
    with pytest.raises(TooFewLabels, match="60 pictures accepted, 0 rejected"):
        fitted(ShopLabels(alike.quality, alike.half, alike.score, np.ones(60)), COSTS, COVERAGE)


def test_a_scale_is_better_on_labels_it_did_not_see_and_passes() -> None:
    labels = shop(60, 12)
    trial = tried(labels, JUDGE, COSTS, COVERAGE)
    ours, judge = trial.with_labels, trial.without
    assert ours.interval_score is not None and judge.interval_score is not None
    assert ours.interval_score < judge.interval_score and ours.cost < judge.cost
    assert objections(trial, COVERAGE) == []


def test_labels_that_contradict_each_other_are_refused_with_figures() -> None:
    generator = np.random.default_rng(4)
    good = shop(60, 13, shift=-0.1, slope=1.0)
    coins = ShopLabels(good.quality, good.half, np.full(60, np.nan), generator.integers(0, 2, 60).astype(np.float64))
    reviewing = Thresholds(1.0, 0.0, 0.05)
    trial = tried(coins, reviewing, COSTS, COVERAGE)
    assert any("100 decisions cost" in one for one in objections(trial, COVERAGE))


def test_a_judge_that_suits_the_shop_already_is_left_alone() -> None:
    generator = np.random.default_rng(6)
    quality = generator.uniform(0.2, 0.95, 60)
    score = np.clip(quality + generator.normal(0, 0.1, 60), 0, 1)
    labels = ShopLabels(quality, np.full(60, 0.165), score, np.full(60, np.nan))
    found = fitted(labels, COSTS, COVERAGE)
    assert abs(found.height) < 0.04 and found.slope == pytest.approx(1, abs=0.15)


def test_more_labels_are_told_to_narrow_less_and_less() -> None:
    told = prospects(shop(80, 14), JUDGE, COSTS, COVERAGE, draws=6)
    seen, expected = [one for one in told if not one.expected], [one for one in told if one.expected]
    assert [one.labels for one in seen] == [20, 30, 40, 60] and [one.labels for one in expected] == [80, 120, 160]
    assert abs(expected[2].width - expected[1].width) <= abs(seen[-1].width - seen[0].width)


def test_the_bound_of_errors_is_an_order_statistic() -> None:
    assert conformal(np.arange(1.0, 20.0), 0.9) == pytest.approx(18.0)
    assert conformal(np.arange(1.0, 6.0), 0.9) == 5.0


def test_what_is_held_against_the_judge_is_what_it_said_itself() -> None:
    verdicts = pd.DataFrame({"path": ["a", "b"], "quality": [0.3, 0.6], "judged_quality": [0.5, None]})
    own = as_judged(verdicts)
    assert own["quality"].tolist() == [0.5, 0.6] and list(own.columns) == ["path", "quality"]
    assert as_judged(verdicts[["path", "quality"]])["quality"].tolist() == [0.3, 0.6], (
        "an older file has no such column"
    )


def test_a_fault_that_the_shop_accepts_is_its_style_and_few_labels_do_not_say_so() -> None:
    found = [("dark",)] * 6 + [("dark", "noise")] * 5 + [("cast",)] * 4 + [()] * 5
    good = np.array([1.0] * 6 + [1.0, 0.0, 0.0, 0.0, 1.0] + [1.0] * 9)
    assert accepted_faults(found, good, COSTS) == (), "three of eleven dark ones are refused, and four casts are few"
    good[7:10] = 1.0
    assert accepted_faults(found, good, COSTS) == ("dark", "noise")
