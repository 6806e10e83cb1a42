"""Does the champion do on newly labelled pictures what held-out evaluation promised?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from packshot.config import DriftSettings
from packshot.evaluation.metrics import MetricError, weighted_accuracy, weighted_srcc
from packshot.evaluation.resampling import Statistic, difference_error, mean_of

Finding = Literal["worse than promised", "not shown worse", "not enough labels"]
NEEDED = ("group", "quality_mos", "quality", "quality_low", "quality_high", "style", "style_pred")
"""Columns of both samples; `group` is drawn whole."""


@dataclass(frozen=True)
class Compared:
    """One figure. `worse_by` is how far it falls behind the promise, whichever way is good; `at_least` its lower
    confidence bound: above 0 the promise is broken."""

    figure: str
    images: int
    groups: int
    found: float | None
    promised: float | None
    worse_by: float | None
    at_least: float | None
    finding: Finding


def _quality(column: str) -> Callable[[pd.DataFrame], Statistic]:
    def of(rows: pd.DataFrame) -> Statistic:
        return mean_of(rows[column].to_numpy(dtype=float))

    return of


def _srcc(rows: pd.DataFrame) -> Statistic:
    predicted, actual = rows["quality"].to_numpy(dtype=float), rows["quality_mos"].to_numpy(dtype=float)
    return lambda weights: weighted_srcc(predicted, actual, weights)


def _accuracy(rows: pd.DataFrame) -> Statistic:
    predicted, actual = rows["style_pred"].to_numpy(dtype=str), rows["style"].to_numpy(dtype=str)
    return lambda weights: weighted_accuracy(predicted, actual, weights)


FIGURES: dict[str, tuple[str, int, Callable[[pd.DataFrame], Statistic]]] = {
    "quality/srcc": ("quality_mos", 1, _srcc),
    "quality/mean_absolute_error": ("quality_mos", -1, _quality("error")),
    "quality/coverage": ("quality_mos", 1, _quality("covered")),
    "style/accuracy": ("style", 1, _accuracy),
}
"""Name to the label it needs, the way that is good, and the figure."""


def compare_with_promise(
    labelled: pd.DataFrame, held_out: pd.DataFrame, rules: DriftSettings, look: int, resamples: int
) -> list[Compared]:
    """Every figure on the newly labelled rows beside the same on the held-out ones; columns as in NEEDED.

    Of one champion all `look`s (1, 2, ...) and figures together call a kept promise broken with probability at most 1
    - `drift.label_confidence`: look k may spend 1 / (k (k + 1)) of it (the shares of all looks sum to 1).
    """
    spent = (1 - rules.label_confidence) / (len(FIGURES) * look * (look + 1))
    ours, theirs = _with_errors(labelled), _with_errors(held_out)
    return [
        _compared(name, ours[ours[label].notna()], theirs[theirs[label].notna()], rules, spent, resamples)
        for name, (label, _, _) in FIGURES.items()
    ]


def _with_errors(rows: pd.DataFrame) -> pd.DataFrame:
    score = rows["quality_mos"].astype(float)
    return rows.assign(
        error=(rows["quality"] - score).abs(),
        covered=((rows["quality_low"] <= score) & (score <= rows["quality_high"])).astype(float),
    )


def _compared(
    name: str, ours: pd.DataFrame, theirs: pd.DataFrame, rules: DriftSettings, spent: float, resamples: int
) -> Compared:
    groups = int(ours["group"].nunique())
    few = len(ours) < rules.min_labels or groups < rules.min_label_groups
    unknown = Compared(name, len(ours), groups, None, None, None, None, "not enough labels")
    if few or theirs.empty:
        return unknown
    _, sign, figure = FIGURES[name]
    found, promised = figure(ours), figure(theirs)
    try:
        difference, error = difference_error(list(ours["group"]), found, list(theirs["group"]), promised, resamples)
    except MetricError:
        return unknown
    worse_by = -sign * difference
    # Student's t: with few senders a bootstrap underestimates how much they differ.
    at_least = worse_by - float(stats.t.ppf(1 - spent, groups - 1)) * error
    value, promise = (float(each(np.ones((1, len(rows))))[0]) for each, rows in ((found, ours), (promised, theirs)))
    finding: Finding = "worse than promised" if at_least > 0 else "not shown worse"
    return Compared(name, len(ours), groups, value, promise, worse_by, at_least, finding)
