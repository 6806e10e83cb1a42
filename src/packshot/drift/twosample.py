"""Two-sample tests whose null keeps the pictures of one sender together.

Pictures of one sender share a floor, a lamp and a camera, so a test that takes them for independent calls
every new batch different. Here whole groups change sides. The distance is the energy distance (Szekely and
Rizzo: Energy statistics, 2013), unbiased (U-statistic), so that its expectation without drift is 0 whatever
the sizes; the null is a permutation null, so a p-value is valid at any sample size:
p = (1 + number of relabellings at least as far apart) / (1 + number of relabellings).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
WHOLE = 10
"""Images from which on the mean over a group says what a batch by that sender alone would look like."""


@dataclass(frozen=True)
class Sides:
    """Observed and relabelled sides as weights.

    `batch` and `reference` are (1 + permutations) x units; every row sums to 1, row 0 is what was observed.
    """

    batch: Matrix
    reference: Matrix


@dataclass(frozen=True)
class ViewTest:
    """One view of the images: its energy distance, that distance in standard deviations of the null, and p."""

    distance: float
    z: float
    p_value: float


@dataclass(frozen=True)
class TwoSample:
    """The joint test: `statistic` is the largest z over the views, `p_value` allows for their number."""

    statistic: float
    p_value: float
    views: Mapping[str, ViewTest]


@dataclass(frozen=True)
class Effect:
    """One figure on both sides: means, standardised mean difference, p alone and Holm-corrected."""

    name: str
    reference: float
    batch: float
    effect: float
    p_value: float
    p_holm: float


def permuted_groups(n_batch: int, n_reference: int, permutations: int, rng: np.random.Generator) -> Sides:
    """Sides where groups are the units, the batch's first: which of them form the batch is drawn anew."""
    total = n_batch + n_reference
    order = rng.permuted(np.tile(np.arange(total), (permutations + 1, 1)), axis=1)
    order[0] = np.arange(total)
    batch = np.zeros((permutations + 1, total))
    np.put_along_axis(batch, order[:, :n_batch], 1.0 / n_batch, axis=1)
    reference = np.where(batch > 0, 0.0, 1.0 / n_reference)
    return Sides(batch, reference)


def reference_windows(n_batch: int, groups: NDArray[np.intp], permutations: int, rng: np.random.Generator) -> Sides:
    """Sides where images are the units: the batch's first, then the reference with `groups` (0, 1, ...).

    For a batch whose senders nobody knows: relabelled are windows of about as many images cut from the
    reference, whole groups at a time, each against the rest of it.
    """
    n_reference = len(groups)
    batch = np.zeros((permutations + 1, n_batch + n_reference))
    reference = np.zeros_like(batch)
    batch[0, :n_batch] = 1.0 / n_batch
    reference[0, n_batch:] = 1.0 / n_reference
    sizes = np.bincount(groups)
    for row in range(1, permutations + 1):
        inside = np.zeros(n_reference, dtype=bool)
        inside[np.isin(groups, _whole_groups(sizes, n_batch, rng))] = True
        batch[row, n_batch:] = inside / inside.sum()
        reference[row, n_batch:] = ~inside / (~inside).sum()
    return Sides(batch, reference)


def _whole_groups(sizes: NDArray[np.intp], wanted: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Groups in random order until they hold `wanted` images; never more than two thirds of all, at least one."""
    order = rng.permutation(len(sizes))
    held = np.cumsum(sizes[order])
    enough = int(np.searchsorted(held, wanted)) + 1
    fitting = int(np.searchsorted(held, sizes.sum() * 2 / 3, side="right"))
    return np.asarray(order[: max(1, min(enough, fitting, len(sizes) - 1))])


def novelty(to_reference: Matrix) -> NDArray[np.float64]:
    """Logarithm of the distance to the nearest image of the reference, for every row; inf marks what is left out."""
    return np.asarray(np.log(to_reference.min(axis=1) + 1e-9))


def novelty_test(
    of_batch: NDArray[np.float64], of_reference: NDArray[np.float64], sides: Sides, groups: NDArray[np.intp]
) -> ViewTest:
    """Is a batch of unknown senders further from the reference than the reference's own senders are from each other?

    `of_batch` and `of_reference` are `novelty` values, the latter with each image's own group left out. p is
    the larger of two: among windows of whole groups, and the share of single groups (of WHOLE images or more,
    else the largest) that are at least as novel; for a batch may be the work of one sender with a floor of his own.
    """
    windows = sides.batch[1:, len(of_batch) :] @ of_reference
    observed = float(of_batch.mean())
    among_windows = (1 + int((windows >= observed).sum())) / (1 + len(windows))
    sizes = np.bincount(groups)
    alone = (np.bincount(groups, weights=of_reference) / sizes)[sizes >= min(WHOLE, int(sizes.max()))]
    among_groups = float((alone >= observed).mean())
    spread = float(windows.std())
    z = (observed - float(windows.mean())) / spread if spread > 0 else 0.0
    return ViewTest(observed, z, max(among_windows, among_groups))


def smallest_of(views: Mapping[str, ViewTest]) -> TwoSample:
    """Several views as one test, by the smallest p times their number (Bonferroni)."""
    p_value = min(1.0, len(views) * min(view.p_value for view in views.values()))
    return TwoSample(max(view.z for view in views.values()), p_value, views)


def distances(values: Matrix) -> Matrix:
    """Euclidean distances between the rows of n x d `values`, as n x n."""
    squares = (values * values).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2.0 * values @ values.T, 0.0)))


def between_groups(matrix: Matrix, groups: NDArray[np.intp]) -> Matrix:
    """Mean distance between the images of every two groups, from the n x n distances between images."""
    membership = np.zeros((int(groups.max()) + 1, len(groups)))
    membership[groups, np.arange(len(groups))] = 1.0
    membership /= membership.sum(axis=1, keepdims=True)
    return np.asarray(membership @ matrix @ membership.T)


def energy(matrix: Matrix, sides: Sides) -> NDArray[np.float64]:
    """Unbiased energy distance for every row of `sides`, from the distances between units."""
    from_batch = sides.batch @ matrix
    from_reference = sides.reference @ matrix
    across = (from_batch * sides.reference).sum(axis=1)
    diagonal = np.diag(matrix)
    inside = _within(from_batch, sides.batch, diagonal) + _within(from_reference, sides.reference, diagonal)
    return np.asarray(2.0 * across - inside)


def _within(reached: Matrix, weights: Matrix, diagonal: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = weights * weights
    pairs = 1.0 - squared.sum(axis=1)
    return np.asarray(((reached * weights).sum(axis=1) - squared @ diagonal) / np.maximum(pairs, 1e-12))


def rank_p(statistics: NDArray[np.float64]) -> float:
    """p of row 0 among all rows: the share that is at least as large (ties count against drift)."""
    tolerance = 1e-12 * max(1.0, float(np.abs(statistics).max()))
    return float((statistics >= statistics[0] - tolerance).mean())


def joint_test(views: Mapping[str, Matrix], sides: Sides) -> TwoSample:
    """Energy test of every view (distances between units) and of all of them by the largest z (max-T)."""
    found: dict[str, ViewTest] = {}
    scores: list[NDArray[np.float64]] = []
    for name, matrix in views.items():
        values = energy(matrix, sides)
        spread = float(values.std())
        z = (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)
        scores.append(z)
        found[name] = ViewTest(float(values[0]), float(z[0]), rank_p(values))
    largest = np.max(scores, axis=0)
    return TwoSample(float(largest[0]), rank_p(largest), found)


def effects(names: Sequence[str], means: Matrix, spreads: NDArray[np.float64], sides: Sides) -> list[Effect]:
    """Mean differences of units x figures `means` in units of `spreads`, with Holm-corrected p (Holm, 1979)."""
    batch, reference = sides.batch @ means, sides.reference @ means
    scale = np.where(spreads > 0, spreads, 1.0)
    shifts = (batch - reference) / scale
    alone = [rank_p(np.abs(shifts[:, column])) for column in range(len(names))]
    corrected = holm(alone)
    return [
        Effect(name, float(reference[0, i]), float(batch[0, i]), float(shifts[0, i]), alone[i], corrected[i])
        for i, name in enumerate(names)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = running
    return corrected
