"""Paired bootstrap over groups: how sure is the difference of two models on the same rows?

Pictures of one sender, or near-duplicates, are not independent, so whole groups are drawn with replacement; both
models are scored on the same draws, so what makes a picture hard cancels out (Efron & Tibshirani 1993, ch. 8;
Koehn 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from packshot.evaluation.metrics import Floats, MetricError, weighted_mean

Statistic = Callable[[Floats], Floats]
"""From row multiplicities (b × n) to one value for each of the b resamples."""

FEWEST_BEYOND = 50
"""Where a percentile lies that has fewer resamples than this beyond it is partly luck."""
MOST_UNDEFINED = 0.01
"""Largest share of resamples on which the figure may be undefined."""


def mean_of(values: Floats) -> Statistic:
    """The mean of n values, as a function of row multiplicities."""
    return lambda weights: weighted_mean(values, weights)


@dataclass(frozen=True)
class Interval:
    """A difference with its percentile interval."""

    difference: float
    low: float
    high: float
    standard_error: float
    groups: int
    rows: int


def group_weights(groups: Sequence[object], resamples: int, seed: int) -> Floats:
    """How often each row occurs in each resample (resamples × rows), drawing whole groups with replacement."""
    _, member = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    count = int(member.max()) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=resamples)
    return np.asarray(draws[:, member], dtype=np.float64)


def paired_bootstrap(
    groups: Sequence[object],
    challenger: Statistic,
    champion: Statistic,
    *,
    resamples: int,
    confidence: float,
    seed: int = 0,
) -> Interval:
    """Two-sided percentile interval of challenger minus champion at `confidence` (0..1), over groups.

    At a confidence of which `resamples` show fewer than FEWEST_BEYOND draws beyond either end, the ends are the further
    of the percentiles and of Student's t on the standard error of the resamples, corrected for the number of groups.
    Raises MetricError where there are no rows, or the figure is undefined on all rows or on more than
    MOST_UNDEFINED of the resamples.
    """
    if len(groups) == 0:
        raise MetricError("paired bootstrap: there are no rows")
    everything = np.ones((1, len(groups)))
    difference = float((challenger(everything) - champion(everything))[0])
    if not np.isfinite(difference):
        raise MetricError(f"paired bootstrap: the figure is undefined on the {len(groups)} rows themselves")
    weights = group_weights(groups, resamples, seed)
    drawn = challenger(weights) - champion(weights)
    kept = drawn[np.isfinite(drawn)]
    if len(kept) < (1 - MOST_UNDEFINED) * resamples:
        raise MetricError(
            f"paired bootstrap: the figure is undefined on {resamples - len(kept)} of {resamples} resamples"
        )
    tail = (1 - confidence) / 2
    low, high = (float(end) for end in np.quantile(kept, [tail, 1 - tail]))
    error, count = float(kept.std(ddof=1)), len(set(map(str, groups)))
    if tail * len(kept) < FEWEST_BEYOND:
        reach = _student_reach(error, count, tail)
        low, high = min(low, difference - reach), max(high, difference + reach)
    return Interval(difference, low, high, error, count, len(groups))


def _student_reach(error: float, groups: int, tail: float) -> float:
    """How far an interval with `tail` beyond either end reaches by the bootstrapped error of a mean over groups, whose
    variance is short of one group in their number."""
    if groups < 2:
        return 0.0
    from scipy import stats

    return error * float(np.sqrt(groups / (groups - 1)) * stats.t.ppf(1 - tail, groups - 1))


def difference_error(
    first_groups: Sequence[object], first: Statistic, second_groups: Sequence[object], second: Statistic, resamples: int
) -> tuple[float, float]:
    """A figure on one sample minus that on another, and its standard error: the groups of each are drawn by themselves.

    Raises MetricError as `paired_bootstrap` does.
    """
    if len(first_groups) == 0 or len(second_groups) == 0:
        raise MetricError("bootstrap of two samples: one has no rows")
    sides = ((first_groups, first, 0), (second_groups, second, 1))
    values = [float(figure(np.ones((1, len(groups))))[0]) for groups, figure, _ in sides]
    drawn = [figure(group_weights(groups, resamples, seed)) for groups, figure, seed in sides]
    kept = [draws[np.isfinite(draws)] for draws in drawn]
    if not np.isfinite(values).all() or min(len(draws) for draws in kept) < (1 - MOST_UNDEFINED) * resamples:
        raise MetricError("bootstrap of two samples: the figure is undefined on the rows or on too many resamples")
    return values[0] - values[1], float(np.hypot(*(draws.std(ddof=1) for draws in kept)))


def over_rows(figure: Callable[[NDArray[np.intp]], float]) -> Statistic:
    """Any figure of row indices as a Statistic: slower (one call a resample), for figures without a weighted form.

    A MetricError of the figure becomes NaN, which `paired_bootstrap` counts.
    """

    def statistic(weights: Floats) -> Floats:
        values = np.empty(len(weights))
        for i, row in enumerate(weights):
            try:
                values[i] = figure(np.repeat(np.arange(len(row)), row.astype(int)))
            except MetricError:
                values[i] = np.nan
        return values

    return statistic
