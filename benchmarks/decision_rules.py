"""Which form of the decision costs least: bounds on the score, on its interval, or on the probability of being fit?

    python benchmarks/decision_rules.py --workspace WORKSPACE

Each rule is fitted on what the bundle of an evaluated workspace brings (`out_of_fold.parquet`) and decides on pictures
that took no part: those of the test split, and by five group folds those it was fitted on. Prints the cost per 100
pictures at several costs of a wrong decision, a review being 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from packshot.config import DecisionCosts, load_settings
from packshot.evaluation.layout import BUNDLE, REPORTS
from packshot.evaluation.metrics import Floats
from packshot.evaluation.thresholds import (
    ACCEPT,
    GRID,
    REJECT,
    REVIEW,
    Outcomes,
    Rated,
    Thresholds,
    cost,
    decided,
    read_rated,
    tuned,
)
from packshot.training.layout import OUT_OF_FOLD

PRICES = ((0.5, 5.0, 3.0), (0.5, 3.0, 3.0), (0.5, 10.0, 3.0), (0.6, 5.0, 3.0), (0.6, 20.0, 5.0), (0.4, 5.0, 1.5))
"""good_from, wrong_accept, wrong_reject."""
FOLDS = 5
Rule = Callable[[Rated, Rated, DecisionCosts], Outcomes]
"""Fitted on the first, it decides on the second."""


def as_given(known: Rated, fresh: Rated, costs: DecisionCosts) -> Outcomes:
    """By the values of params.yaml, which know nothing of costs."""
    return decided(fresh, Thresholds.from_settings(load_settings().scoring))


def by_score(known: Rated, fresh: Rated, costs: DecisionCosts) -> Outcomes:
    """Two bounds on the score; the interval is not looked at."""
    blind = replace(known, low=known.quality, high=known.quality)
    return decided(replace(fresh, low=fresh.quality, high=fresh.quality), tuned(blind, costs))


def by_score_and_width(known: Rated, fresh: Rated, costs: DecisionCosts) -> Outcomes:
    """The rule in use: two bounds on the score, and a person where the interval is wide."""
    return decided(fresh, tuned(known, costs))


def by_ends(known: Rated, fresh: Rated, costs: DecisionCosts) -> Outcomes:
    """Accepted where the lower end of the interval is high, sent back where its upper end is low."""
    fit = known.human >= costs.good_from
    accepting, rejecting = np.where(fit, 0.0, costs.wrong_accept), np.where(fit, costs.wrong_reject, 0.0)
    accept = GRID[np.argmin([(accepting - costs.review)[known.low >= at].sum() for at in GRID])]
    left = known.low < accept
    reject = GRID[np.argmin([(rejecting - costs.review)[left & (known.high < at)].sum() for at in GRID])]
    return np.select([fresh.low >= accept, fresh.high < reject], [ACCEPT, REJECT], REVIEW)


def by_probability(known: Rated, fresh: Rated, costs: DecisionCosts) -> Outcomes:
    """What is cheapest at the probability of being fit, by logistic regression on score and width."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=10.0, max_iter=2000))
    model.fit(_columns(known), known.human >= costs.good_from)
    likely = model.predict_proba(_columns(fresh))[:, 1]
    prices = np.column_stack([(1 - likely) * costs.wrong_accept, likely * costs.wrong_reject])
    cheap = prices.min(axis=1) <= costs.review
    return np.select([cheap & (prices[:, 0] <= prices[:, 1]), cheap], [ACCEPT, REJECT], REVIEW)


def _columns(known: Rated) -> Floats:
    width = known.high - known.low
    return np.column_stack([known.quality, width, known.quality * width, (known.quality - 0.5) / (width + 0.1)])


RULES: dict[str, Rule] = {
    "params.yaml": as_given,
    "score": by_score,
    "score and width": by_score_and_width,
    "ends of the interval": by_ends,
    "probability": by_probability,
}


def some(known: Rated, rows: npt.NDArray[np.intp]) -> Rated:
    """These rows."""
    groups = tuple(known.groups[row] for row in rows)
    return Rated(known.human[rows], known.quality[rows], known.low[rows], known.high[rows], groups)


def per_hundred(fresh: Rated, outcomes: Outcomes, costs: DecisionCosts) -> float:
    """Mean cost of these decisions, times 100."""
    return 100 * float(cost(fresh, outcomes, costs).mean())


def over_folds(rule: Rule, known: Rated, costs: DecisionCosts) -> float:
    """Cost per 100 where each fifth of the groups is decided by a rule fitted on the others."""
    outcomes = np.full(len(known.human), REVIEW)
    for learn, held in GroupKFold(FOLDS).split(known.quality, groups=known.groups):
        outcomes[held] = rule(some(known, learn), some(known, held), costs)
    return per_hundred(known, outcomes, costs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True, help="folder of an evaluated workspace")
    workspace = parser.parse_args().workspace
    known, test = read_rated(workspace / BUNDLE / OUT_OF_FOLD), read_rated(workspace / REPORTS / "per_image.parquet")
    if known is None or test is None:
        parser.error(f"{workspace} lacks {OUT_OF_FOLD} or held-out scores; train and evaluate it")
    table = Table(title=f"cost per 100: folds of {len(known.human)} pictures / {len(test.human)} of the test split")
    for name in ("fit from", "wrong accept", "wrong reject", *RULES):
        table.add_column(name, justify="right")
    for good_from, accept, reject in PRICES:
        costs = DecisionCosts(good_from=good_from, wrong_accept=accept, wrong_reject=reject, review=1.0, min_groups=10)
        cells = [
            f"{over_folds(rule, known, costs):.1f} / {per_hundred(test, rule(known, test, costs), costs):.1f}"
            for rule in RULES.values()
        ]
        table.add_row(f"{good_from:g}", f"{accept:g}", f"{reject:g}", *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
