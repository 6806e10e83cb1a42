"""What a shop's scale is worth on labels that it was not fitted to, and what more labels would bring. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from packshot.config import DecisionCosts
from packshot.evaluation.metrics import Floats
from packshot.evaluation.shop_scale import (
    ShopLabels,
    TooFewLabels,
    check_enough,
    fitted,
    fitted_to_part,
)
from packshot.evaluation.thresholds import Thresholds

FOLDS = 5
CHANCE = 1.645
"""Deviations of a share that chance explains: one-sided, 95 %."""
PARTS = (20, 30, 40, 60, 80)
"""Numbers of labels, as far as there are more, from which it is read what more would bring."""


@dataclass(frozen=True)
class Measured:
    """How a way of scoring does on labelled pictures.

    `scores` of them have a score: share inside the interval, mean width, mean interval score (width plus 2 / (1 -
    coverage) times what a score lies outside; Gneiting and Raftery, 2007). `cost`: of 100 decisions on all `labels`.
    None where nothing says.
    """

    labels: int
    scores: int
    coverage: float | None
    width: float | None
    interval_score: float | None
    cost: float


def measured(
    labels: ShopLabels,
    quality: Floats,
    low: Floats,
    high: Floats,
    bounds: Sequence[Thresholds],
    costs: DecisionCosts,
    coverage: float,
) -> Measured:
    """Figures of scores with intervals (N each) and the thresholds that decide on each picture."""
    chosen = labels.scored
    spent = 100 * decision_costs(labels, quality, high - low, bounds, costs)
    if not chosen.any():
        return Measured(len(labels), 0, None, None, None, float(spent.mean()))
    score, low, high = labels.score[chosen], low[chosen], high[chosen]
    outside = np.maximum(low - score, 0) + np.maximum(score - high, 0)
    total = high - low + 2 / (1 - coverage) * outside
    return Measured(
        len(labels),
        int(chosen.sum()),
        float((outside <= 0).mean()),
        float((high - low).mean()),
        float(total.mean()),
        float(spent.mean()),
    )


def decision_costs(
    labels: ShopLabels, quality: Floats, width: Floats, bounds: Sequence[Thresholds], costs: DecisionCosts
) -> Floats:
    """What each decision costs, N, where the shop's word is the truth."""
    accept, reject, widest = np.array([[one.accept_at, one.reject_below, one.review_width] for one in bounds]).T
    good = labels.good(costs.good_from) == 1
    narrow = width <= widest + 1e-9
    return np.select(
        [narrow & (quality >= accept), narrow & (quality < reject)],
        [np.where(good, 0.0, costs.wrong_accept), np.where(good, costs.wrong_reject, 0.0)],
        costs.review,
    )


@dataclass(frozen=True)
class Trial:
    """A scale beside the judge alone, on labels that it was not fitted to."""

    with_labels: Measured
    without: Measured

    def as_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


def tried(labels: ShopLabels, judge: Thresholds, costs: DecisionCosts, coverage: float, seed: int = 0) -> Trial:
    """Cross-validated in FOLDS parts: each is judged by the scale of the others. `judge` are the thresholds that decide
    without a scale. Raises TooFewLabels."""
    part = np.random.default_rng(seed).permutation(np.arange(len(labels)) % FOLDS)
    quality, low, high = (np.empty(len(labels)) for _ in range(3))
    bounds: list[Thresholds] = [judge] * len(labels)
    check_enough(labels)
    for each in range(FOLDS):
        held = part == each
        found = fitted_to_part(labels.of(~held), costs, coverage)
        quality[held] = found.quality(labels.quality[held])
        low[held], high[held] = found.interval(labels.quality[held])
        for row in np.flatnonzero(held):
            bounds[row] = found.thresholds(costs)
    ours = measured(labels, quality, low, high, bounds, costs, coverage)
    bare = np.clip(labels.quality - labels.half, 0, 1), np.clip(labels.quality + labels.half, 0, 1)
    alone = measured(labels, labels.quality, *bare, [judge] * len(labels), costs, coverage)
    return Trial(ours, alone)


def objections(trial: Trial, coverage: float) -> list[str]:
    """Why a scale must not decide: a sentence for each figure that is no better than without it, none where all are.

    The share inside the interval may fall short of `coverage` by CHANCE.
    """
    ours, judge, found = trial.with_labels, trial.without, []
    if ours.coverage is not None and ours.interval_score is not None and judge.interval_score is not None:
        least = coverage - CHANCE * float(np.sqrt(coverage * (1 - coverage) / ours.scores))
        if not ours.coverage >= least:
            found.append(f"its intervals hold {ours.coverage:.2f} of the shop's scores; {least:.2f} are needed")
        if not ours.interval_score < judge.interval_score:
            found.append(
                f"its interval score, {ours.interval_score:.3f}, is not below that without it, "
                f"{judge.interval_score:.3f}"
            )
    dearer = not ours.cost <= judge.cost
    if dearer or (ours.interval_score is None and ours.cost == judge.cost):
        found.append(f"100 decisions cost {ours.cost:.1f} with it, {judge.cost:.1f} without")
    return found


@dataclass(frozen=True)
class Prospect:
    """What `labels` labels give, measured on parts of those at hand, or expected of more (`expected`)."""

    labels: int
    width: float
    cost: float
    expected: bool


def prospects(
    labels: ShopLabels, judge: Thresholds, costs: DecisionCosts, coverage: float, draws: int = 20
) -> list[Prospect]:
    """How width and cost fall with the number of labels, and what half as many more, and twice as many, would bring.

    Parts are drawn at random, `draws` of each size, and judged on the labels outside them; the figures at more labels
    come from a line in 1 / N. Empty where there are too few labels to part.
    """
    sizes = [size for size in PARTS if size <= len(labels) * 3 // 4]
    found = [_prospect(labels, size, judge, costs, coverage, draws) for size in sizes]
    known = [one for one in found if one is not None]
    if len(known) < 2:
        return known
    inverse = 1 / np.array([one.labels for one in known])
    more = [len(labels), len(labels) * 3 // 2, 2 * len(labels)]
    width, cost = (np.polyfit(inverse, [getattr(one, name) for one in known], 1) for name in ("width", "cost"))
    return known + [
        Prospect(count, float(np.polyval(width, 1 / count)), float(np.polyval(cost, 1 / count)), True) for count in more
    ]


def _prospect(
    labels: ShopLabels, size: int, judge: Thresholds, costs: DecisionCosts, coverage: float, draws: int
) -> Prospect | None:
    widths, spent = [], []
    for seed in range(draws):
        order = np.random.default_rng([seed, size]).permutation(len(labels))
        try:
            found = fitted(labels.of(order[:size]), costs, coverage)
        except TooFewLabels:
            continue
        rest = labels.of(order[size:])
        low, high = found.interval(rest.quality)
        by_shop = [found.thresholds(costs)] * len(rest)
        spent.append(measured(rest, found.quality(rest.quality), low, high, by_shop, costs, coverage).cost)
        widths.append(float((high - low).mean()))
    return Prospect(size, float(np.mean(widths)), float(np.mean(spent)), False) if widths else None
