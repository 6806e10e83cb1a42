"""Where training starts: principal components, kernel ridge and ridge classification, all in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Matrix = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
GAMMAS = (0.15, 0.3, 0.6, 1.2)
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
STIFFER_RIDGES = (*RIDGES, 10.0, 30.0)
"""Tried where a steep score is held against it."""
CLASS_RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
TUNING_ROWS = 1200
"""Width and ridge of the kernel are chosen on at most this many rows: the cost is cubic."""


def principal_components(values: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """The first `count` principal axes of centred `values` (N x S), as count x S with orthonormal rows.

    Fewer rows than `count` give zero rows for the rest. Randomised SVD (Halko et al., 2011), seeded; signs are
    fixed so that the largest entry of each axis is positive.
    """
    rank = min(count, *values.shape)
    axes = values.new_zeros(count, values.shape[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, _, right = torch.svd_lowrank(values, q=min(rank + 8, *values.shape), niter=3)
    kept = right[:, :rank].T
    top = kept.gather(1, kept.abs().argmax(dim=1, keepdim=True))
    axes[:rank] = kept * top.sign()
    return axes


def squared_distances(first: Matrix, second: Matrix) -> Matrix:
    """N x D and M x D to N x M."""
    squared: Matrix = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
    return np.maximum(squared, 0)


@dataclass(frozen=True)
class KernelRidge:
    """f(z) = bias + sum_j weights_j exp(-gamma ||z - landmarks_j||^2): landmarks M x D, weights M x K, bias K.

    `ridge` is what it was solved with.
    """

    landmarks: Matrix
    weights: Matrix
    gamma: float
    ridge: float
    bias: Matrix

    def __call__(self, z: Matrix) -> Matrix:
        """N x D to N x K."""
        across = np.exp(-self.gamma * squared_distances(z, self.landmarks))
        return np.asarray(across @ self.weights + self.bias, dtype=np.float64)


def kernel_ridge(
    z: Matrix, y: Matrix, most_landmarks: int, seed: int, steepness: float = 0.0, groups: Indices | None = None
) -> KernelRidge:
    """Kernel ridge regression of y (N x K) on z (N x D); width and ridge by leave-one-out error in closed form, see
    `_best_kernel`.

    With `groups` (N) all rows of a group are left out together: copies of one picture would vouch for each other.
    `steepness` is the weight of the mean length of the gradient in that choice, among kernels that are flatter still:
    error and length each count as a share of what they are without it.
    With more than `most_landmarks` rows a seeded subset serves as landmarks (Nystroem, Williams and Seeger, 2001).
    """
    generator = np.random.default_rng(seed)
    if groups is None:
        groups = np.arange(len(y))
    some = _tuning_rows(groups, generator)
    gamma, ridge = _best_kernel(z[some], y[some], groups[some], steepness)
    chosen = np.sort(generator.permutation(len(y))[:most_landmarks])
    weights, bias = _solved(z, y, chosen, gamma, ridge)
    return KernelRidge(z[chosen], weights, gamma, ridge, bias)


def kernel_ridge_of_first(
    z: Matrix, y: Matrix, first: int, most_landmarks: int, seed: int, steepness: float, groups: Indices
) -> KernelRidge:
    """As `kernel_ridge`, on all rows; but the `first` ones alone choose width and ridge, and are landmarks before any
    other row is."""
    generator = np.random.default_rng(seed)
    found = kernel_ridge(z[:first], y[:first], most_landmarks, seed, steepness, groups[:first])
    order = np.concatenate([generator.permutation(first), first + generator.permutation(len(y) - first)])
    chosen = np.sort(order[:most_landmarks])
    weights, bias = _solved(z, y, chosen, found.gamma, found.ridge)
    return KernelRidge(z[chosen], weights, found.gamma, found.ridge, bias)


def kernel_ridge_without(
    z: Matrix, y: Matrix, fold: Indices, folds: int, most_landmarks: int, gamma: float, ridge: float, seed: int
) -> KernelRidge:
    """One solution for each fold, on the rows of the other folds; y is N x 1, `fold` N in 0..folds-1.

    Solution k is column k of the weights; its rows are zero at the landmarks of fold k, so it has seen nothing of them.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(y))[:most_landmarks])
    weights, bias = np.zeros((len(chosen), folds)), np.zeros(folds)
    for each in range(folds):
        rows = np.flatnonzero(fold != each)
        mine = np.isin(chosen, rows)
        found, middle = _solved(z[rows], y[rows], np.searchsorted(rows, chosen[mine]), gamma, ridge)
        weights[mine, each], bias[each] = found[:, 0], middle[0]
    return KernelRidge(z[chosen], weights, gamma, ridge, bias)


def left_out(found: KernelRidge, y: Matrix, groups: Indices) -> Matrix:
    """What solutions without the group (N) of each row say of it, N x K, with the width and ridge of `found`, whose
    landmarks are the rows that y (N x K) is of."""
    values, vectors = np.linalg.eigh(np.exp(-found.gamma * squared_distances(found.landmarks, found.landmarks)))
    _, group = np.unique(groups, return_inverse=True)
    return y - _left_out_errors(values, vectors, y - y.mean(axis=0), found.ridge, group)


def _solved(z: Matrix, y: Matrix, chosen: Indices, gamma: float, ridge: float) -> tuple[Matrix, Matrix]:
    """Weights (M x K) at the landmarks z[chosen] and bias (K)."""
    bias = y.mean(axis=0)
    if len(chosen) == len(y):
        kernel = np.exp(-gamma * squared_distances(z, z))
        return np.asarray(np.linalg.solve(kernel + ridge * np.eye(len(y)), y - bias), dtype=np.float64), bias
    landmarks = z[chosen]
    across = np.exp(-gamma * squared_distances(z, landmarks))
    within = np.exp(-gamma * squared_distances(landmarks, landmarks))
    jitter = 1e-8 * np.eye(len(chosen))
    weights = np.linalg.solve(across.T @ across + ridge * within + jitter, across.T @ (y - bias))
    return np.asarray(weights, dtype=np.float64), bias


def _tuning_rows(groups: Indices, generator: np.random.Generator) -> Indices:
    """Rows of whole groups drawn at random, sorted: at most TUNING_ROWS, or one group if that has more."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = generator.permutation(len(sizes))
    drawn = order[: max(1, np.searchsorted(np.cumsum(sizes[order]), TUNING_ROWS, side="right"))]
    return np.flatnonzero(np.isin(group, drawn))


def _best_kernel(z: Matrix, y: Matrix, groups: Indices, steepness: float) -> tuple[float, float]:
    """Width and ridge of the smoothest kernel within a standard error of the least error on groups left out.

    That is the rule of Breiman et al. (1984); the smoothest is the one of fewest effective degrees of freedom.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    distances = squared_distances(z, z)
    target = y - y.mean(axis=0)
    errors: dict[tuple[float, float], Matrix] = {}
    freedom: dict[tuple[float, float], float] = {}
    slopes: dict[tuple[float, float], float] = {}
    for gamma in GAMMAS:
        kernel = np.exp(-gamma * distances)
        values, vectors = np.linalg.eigh(kernel)
        values = np.maximum(values, 0)
        for ridge in STIFFER_RIDGES if steepness else RIDGES:
            left_out = _left_out_errors(values, vectors, target, ridge, group)
            errors[gamma, ridge] = np.bincount(group, np.mean(left_out**2, axis=1)) / sizes
            freedom[gamma, ridge] = float((values / (values + ridge)).sum())
            if steepness:
                dual = vectors @ ((vectors.T @ target) / (values + ridge)[:, None])
                slopes[gamma, ridge] = _mean_slope(z, kernel, dual, gamma)
    mean = {each: float(found.mean()) for each, found in errors.items()}
    best = min(mean, key=lambda each: mean[each])
    bound = mean[best] + float(errors[best].std()) / len(sizes) ** 0.5
    smooth = min((each for each in mean if mean[each] <= bound), key=lambda each: freedom[each])
    if not steepness:
        return smooth
    flatter = [each for each in mean if slopes[each] <= slopes[smooth]]
    length = max(slopes[smooth], 1e-12)
    return min(flatter, key=lambda each: mean[each] / mean[smooth] + steepness * slopes[each] / length)


def _mean_slope(z: Matrix, kernel: Matrix, dual: Matrix, gamma: float) -> float:
    """Mean length of the gradient at z (N x D) of the mean of the outputs of a kernel machine on z."""
    weights = dual.mean(axis=1)
    gradient = 2 * gamma * (kernel @ (weights[:, None] * z) - (kernel @ weights)[:, None] * z)
    return float(np.linalg.norm(gradient, axis=1).mean())


def _left_out_errors(
    values: Matrix, vectors: Matrix, target: Matrix, ridge: float, group: Indices | None = None
) -> Matrix:
    """Leave-one-out residuals of kernel ridge from one eigendecomposition: a_i / [(K + ridge I)^-1]_ii.

    With `group` (N, 0 to the number of groups - 1) each row's residual is that without all rows of its group: the
    block of the group in (K + ridge I)^-1 is inverted instead of a number.
    """
    inverse = 1 / (np.maximum(values, 0) + ridge)
    dual = vectors @ (inverse[:, None] * (vectors.T @ target))
    if group is None or len(np.unique(group)) == len(group):
        diagonal = (vectors**2) @ inverse
        return dual / diagonal[:, None]
    weighted = vectors * inverse
    left_out = np.empty_like(dual)
    for each in range(int(group.max()) + 1):
        rows = np.flatnonzero(group == each)
        left_out[rows] = np.linalg.solve(weighted[rows] @ vectors[rows].T, dual[rows])
    return left_out


def ridge_classifier(x: Matrix, labels: Sequence[int], classes: int) -> tuple[Matrix, Matrix]:
    """One-against-rest ridge regression on standardised x (N x D): weights classes x D and biases.

    The ridge is chosen by leave-one-out error. Targets are 1 and 0, so that scores are near probabilities.
    """
    targets = np.eye(classes)[np.asarray(labels)]
    mean = targets.mean(axis=0)
    return ridge_regression(x, targets - mean), mean


def ridge_regression(x: Matrix, y: Matrix) -> Matrix:
    """Weights, K x D, of the ridge regression without intercept of y (N x K) on x (N x D).

    The ridge is chosen by leave-one-out error.
    """
    values, vectors = np.linalg.eigh(x @ x.T)
    errors = {ridge: float(np.mean(_left_out_errors(values, vectors, y, ridge) ** 2)) for ridge in CLASS_RIDGES}
    ridge = min(errors, key=lambda each: errors[each])
    dual = vectors @ ((vectors.T @ y) / (np.maximum(values, 0) + ridge)[:, None])
    weights: Matrix = (x.T @ dual).T
    return weights
