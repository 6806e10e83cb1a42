"""A shop's own scale: what the judge says, on the scale on which one shop scores and decides, from a few labels.

The map is a line that does not fall, pulled towards the identity until labels speak against it. Height and slope of the
line and the size of the errors around it have a posterior on a grid, in which scores and decisions count together and
any label can be left out exactly: its likelihood is divided out. Intervals are conformal on the errors of labels left
out. Pure: no files, no model, no training.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from packshot.config import DecisionCosts
from packshot.errors import PackshotError
from packshot.evaluation.metrics import Floats
from packshot.evaluation.thresholds import GRID, Thresholds, least_cost

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 20
"""Labels, below which no scale is fitted."""
FEWEST_OF_A_KIND = 3
"""Where nobody gave a score: pictures accepted, and pictures rejected, that say where the shop draws its line."""
FEWEST_WITH_FAULT = 5
"""Labelled pictures with a fault, below which it stays one."""
FEWEST_SCORES = 15
"""Left-out errors, below which the interval is what the posterior expects."""
HEIGHT, SLOPE, SIZE = 0.2, 0.4, 0.5
"""Deviations of the prior: of the line's height in the middle of the labels from the judge's, of its slope from 1, of
the logarithm of the size of the errors from the judge's own expectation."""
LAPSE = 0.01
"""Share of decisions that say nothing of the picture."""
POINTS = (25, 17, 11)
REACH = 4.5
"""Posterior deviations to either side that the second grid spans."""
SMALLEST_ERROR = 0.02


JUDGED = {"quality": "judged_quality", "quality_low": "judged_low", "quality_high": "judged_high"}
"""Columns of a verdict, and those that keep what the judge said before the scale."""


def as_judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Verdicts with the judge's own scores in place of those on a shop's scale, without the columns that keep them."""
    there = {name: kept for name, kept in JUDGED.items() if name in frame and kept in frame}
    own = {name: frame[kept].where(frame[kept].notna(), frame[name]) for name, kept in there.items()}
    return frame.assign(**own).drop(columns=list(there.values()))


class TooFewLabels(PackshotError):
    """The labels are too few, or too much alike, to fit a shop's scale."""

    exit_code = 4


@dataclass(frozen=True)
class ShopLabels:
    """N pictures that a shop labelled, and what the judge says of them.

    `quality` and `half` (half the interval) are the judge's, 0..1; `score` 0..1, NaN where the shop gave none; `fit` 1
    where it accepts and 0 where it rejects, NaN where it did not decide. A picture has at least one of the two; of
    both the score counts.
    """

    quality: Floats
    half: Floats
    score: Floats
    fit: Floats

    def __len__(self) -> int:
        return len(self.quality)

    def of(self, rows: NDArray[Any]) -> ShopLabels:
        """Those that are True, or of these numbers."""
        return ShopLabels(self.quality[rows], self.half[rows], self.score[rows], self.fit[rows])

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which have a score."""
        return np.isfinite(self.score)

    def good(self, good_from: float) -> Floats:
        """1 where the shop holds a picture fit for sale, else 0."""
        return np.where(self.scored, self.score >= good_from, self.fit).astype(np.float64)


@dataclass(frozen=True)
class ShopMap:
    """From the judge's score and interval to the shop's.

    A score x becomes centre + height + slope (x - centre), an interval `half_width` to either side, clipped to 0..1;
    `size` is the deviation of the shop's scores around that.
    """

    centre: float
    height: float
    slope: float
    size: float
    half_width: float

    def quality(self, judged: Floats) -> Floats:
        """N scores of the judge on the shop's scale, 0..1."""
        return np.clip(self.centre + self.height + self.slope * (judged - self.centre), 0, 1)

    def interval(self, judged: Floats) -> tuple[Floats, Floats]:
        """Low and high ends, N each, 0..1."""
        middle = self.centre + self.height + self.slope * (judged - self.centre)
        return np.clip(middle - self.half_width, 0, 1), np.clip(middle + self.half_width, 0, 1)

    def thresholds(self, costs: DecisionCosts) -> Thresholds:
        """Those of least cost where errors are normal, whatever scores the shop's pictures have."""
        errors = NormalDist(costs.good_from, self.size)
        fit = np.array([errors.cdf(score) for score in GRID.tolist()])
        return least_cost(GRID, np.full(len(GRID), 2 * self.half_width), fit, costs)


@dataclass(frozen=True)
class _Posterior:
    """Parameters of G points (height, slope, log size: G x 3), the likelihood of each label under each (G x N, log) and
    the whole posterior (G, log, up to a constant); `middle` G x N are the points' scores of the labelled pictures."""

    at: Floats
    middle: Floats
    each: Floats
    total: Floats

    @property
    def weights(self) -> Floats:
        return _shares(self.total[:, None])[:, 0]

    def left_out(self) -> tuple[Floats, Floats]:
        """Score and deviation that the other labels give each picture, N each."""
        without = _shares(self.total[:, None] - self.each)
        return (without * self.middle).sum(axis=0), np.exp(self.at[:, 2]) @ without


def fitted(labels: ShopLabels, costs: DecisionCosts, coverage: float) -> ShopMap:
    """The scale of a shop from at least FEWEST labels.

    With FEWEST_SCORES scores or more the interval holds the share `coverage` of the errors of scores left out (the
    jackknife of Barber et al., 2021); else it is the one that the posterior expects. Raises TooFewLabels.
    """
    check_enough(labels)
    return fitted_to_part(labels, costs, coverage)


def fitted_to_part(labels: ShopLabels, costs: DecisionCosts, coverage: float) -> ShopMap:
    """As `fitted`, of however many labels: for a part of labels that are enough together."""
    centre, unit = float(labels.quality.mean()), _unit(labels, coverage)
    found = _posterior(labels, centre, unit, costs.good_from)
    height, slope, log_size = found.weights @ found.at
    size = float(np.exp(log_size))
    half = size * deviations(coverage)
    if labels.scored.sum() >= FEWEST_SCORES:
        middle, _ = found.left_out()
        half = conformal(np.abs(labels.score - middle)[labels.scored], coverage)
    return ShopMap(centre, float(height), float(slope), size, half)


def accepted_faults(found: Sequence[Collection[str]], good: Floats, costs: DecisionCosts) -> tuple[str, ...]:
    """Faults that are no faults to this shop: of pictures with one it accepts so many that accepting costs less than a
    look. `found` are the faults told of each of N pictures, `good` 1 where the shop holds it fit for sale."""
    least = 1 - costs.review / costs.wrong_accept
    accepted = []
    for fault in sorted(set().union(*found)):
        fits = [fit for faults, fit in zip(found, good.tolist(), strict=True) if fault in faults]
        if len(fits) >= FEWEST_WITH_FAULT and (sum(fits) + 1) / (len(fits) + 2) >= least:
            accepted.append(fault)
    return tuple(accepted)


def check_enough(labels: ShopLabels) -> None:
    """Raise TooFewLabels, saying what is missing."""
    if len(labels) < FEWEST:
        raise TooFewLabels(
            f"not enough evidence: {len(labels)} labelled pictures that the champion judged, {FEWEST} are needed and "
            "40 to 100 worth it"
        )
    decided = labels.fit[~labels.scored]
    accepted, rejected, scored = int((decided == 1).sum()), int((decided == 0).sum()), int(labels.scored.sum())
    if scored < FEWEST and min(accepted, rejected) < FEWEST_OF_A_KIND:
        raise TooFewLabels(
            f"not enough evidence: {accepted} pictures accepted, {rejected} rejected, {scored} scored; "
            f"{FEWEST_OF_A_KIND} of each decision, or {FEWEST} scores, say where the shop draws its line. Label some "
            "near it, not the best alone"
        )


def conformal(errors: Floats, coverage: float) -> float:
    """The bound that a new error keeps to with probability `coverage`: the order statistic at coverage (N + 1),
    interpolated; the largest where there are too few to say."""
    ordered = np.sort(errors)
    return float(np.interp(coverage * (len(ordered) + 1) - 1, np.arange(len(ordered)), ordered))


def deviations(coverage: float) -> float:
    """Half the interval around its mean that holds this share of a normal distribution, in deviations."""
    return NormalDist().inv_cdf((1 + coverage) / 2)


def _unit(labels: ShopLabels, coverage: float) -> float:
    """The deviation that the judge expects of its errors, on the average picture."""
    return max(float(labels.half.mean()) / deviations(coverage), SMALLEST_ERROR)


def _posterior(labels: ShopLabels, centre: float, unit: float, good_from: float) -> _Posterior:
    prior = np.array([0.0, 1.0, np.log(unit)]), np.array([HEIGHT, SLOPE, SIZE])
    found = _on_grid(labels, centre, good_from, prior, prior[0] - 3 * prior[1], prior[0] + 3 * prior[1])
    for _ in range(2):
        mean = found.weights @ found.at
        deviation = np.sqrt(found.weights @ (found.at - mean) ** 2) + prior[1] / 50
        found = _on_grid(labels, centre, good_from, prior, mean - REACH * deviation, mean + REACH * deviation)
    return found


def _on_grid(
    labels: ShopLabels, centre: float, good_from: float, prior: tuple[Floats, Floats], low: Floats, high: Floats
) -> _Posterior:
    low = np.array([low[0], max(low[1], 0.0), low[2]])
    axes = [np.linspace(*ends) for ends in zip(low, np.maximum(high, low + 1e-6), POINTS, strict=True)]
    at = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    middle = centre + at[:, :1] + at[:, 1:2] * (labels.quality - centre)
    each = _likelihood(labels, middle, np.exp(at[:, 2:]), good_from)
    before = -0.5 * (((at - prior[0]) / prior[1]) ** 2).sum(axis=1)
    return _Posterior(at, middle, each, before + each.sum(axis=1))


def _likelihood(labels: ShopLabels, middle: Floats, size: Floats, good_from: float) -> Floats:
    """Log likelihood of each label, G x N: errors are normal, and a decision says on which side of the bound it is."""
    from scipy.special import ndtr

    of_score = -0.5 * ((np.nan_to_num(labels.score) - middle) / size) ** 2 - np.log(size)
    accepts = LAPSE / 2 + (1 - LAPSE) * ndtr((middle - good_from) / size)
    of_decision = np.log(np.where(labels.fit == 1, accepts, 1 - accepts))
    return np.where(labels.scored, of_score, of_decision)


def _shares(logarithms: Floats) -> Floats:
    """Columns (G x N) of logarithms to shares that add up to 1."""
    shares = np.exp(logarithms - logarithms.max(axis=0))
    return np.asarray(shares / shares.sum(axis=0), dtype=np.float64)
