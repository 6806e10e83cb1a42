"""Figures of merit. Each takes plain arrays, and raises MetricError rather than return NaN.

The `weighted_*` forms take a matrix of row multiplicities, one row for each resample, and give one value for each:
what a bootstrap needs, without a Python loop. Their undefined values (a resample in which everything is equal) are
NaN, for the resampling to count and refuse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from packshot.errors import PackshotError

Floats = NDArray[np.float64]
PSNR_CAP_DB = 100.0
"""PSNR of two equal images, whose mean squared error is 0."""
ECE_BINS = 10


class MetricError(PackshotError):
    """A figure is undefined on this input: empty, NaN, constant, or of unequal lengths."""

    exit_code = 65


def srcc(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Spearman's rank correlation, -1..1, ties at their mean rank. Needs 3 finite pairs, neither side constant."""
    x, y = _pairs(predicted, actual, "SRCC")
    return _defined(weighted_srcc(x, y, np.ones((1, len(x))))[0], x, y, "SRCC")


def plcc(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Pearson's linear correlation, -1..1, plain: no logistic curve is fitted first (VQEG's practice would do so).

    The scores are trained to lie on the human scale, so a curve would hide a wrong scale.
    """
    x, y = _pairs(predicted, actual, "PLCC")
    return _defined(weighted_plcc(x, y, np.ones((1, len(x))))[0], x, y, "PLCC")


def weighted_plcc(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Pearson's correlation of n pairs under each of b weight rows; `weights` is b × n. Undefined: NaN."""
    total = weights.sum(axis=1)
    return _correlation(np.broadcast_to(x, weights.shape), np.broadcast_to(y, weights.shape), weights, total)


def weighted_srcc(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Spearman's correlation of n pairs under each of b rows of multiplicities (b × n). Undefined: NaN.

    A row with weight w counts as w equal rows, so ranks are those of the resample, with ties at their mean.
    """
    return _correlation(_ranks(x, weights), _ranks(y, weights), weights, weights.sum(axis=1))


def accuracy(predicted: Sequence[object], actual: Sequence[object]) -> float:
    """Share of equal labels, 0..1."""
    p, a = _labels(predicted, actual, "accuracy")
    return float(np.mean(p == a))


def macro_f1(predicted: Sequence[object], actual: Sequence[object]) -> float:
    """Mean over the classes that occur in `actual` of 2TP / (2TP + FP + FN), 0..1."""
    p, a = _labels(predicted, actual, "macro-F1")
    return float(weighted_macro_f1(p, a, np.ones((1, len(a))))[0])


def weighted_accuracy(predicted: NDArray[np.str_], actual: NDArray[np.str_], weights: Floats) -> Floats:
    """Accuracy under each row of multiplicities (b × n)."""
    return weighted_mean((predicted == actual).astype(float), weights)


def weighted_macro_f1(predicted: NDArray[np.str_], actual: NDArray[np.str_], weights: Floats) -> Floats:
    """Macro-F1 under each row of multiplicities (b × n), over the classes of that resample."""
    scores, present = [], []
    for label in np.unique(actual):
        true = weights @ ((predicted == label) & (actual == label))
        of_class, as_class = weights @ (actual == label), weights @ (predicted == label)
        scores.append(2 * true / np.maximum(of_class + as_class, 1))
        present.append(of_class > 0)
    kept = np.array(present)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.array(scores) * kept).sum(axis=0) / kept.sum(axis=0))


def weighted_lowest_recall(predicted: NDArray[np.str_], actual: NDArray[np.str_], weights: Floats) -> Floats:
    """Share of its rows that are told right, of the class where it is lowest, under each row of multiplicities (b × n),
    over the classes of that resample."""
    of_class = [
        weighted_mean((predicted == label).astype(float)[actual == label], weights[:, actual == label])
        for label in np.unique(actual)
    ]
    return np.asarray(np.nanmin(of_class, axis=0))


def lowest_recall(predicted: Sequence[object], actual: Sequence[object]) -> float:
    """Share of its rows that are told right, of the class where it is lowest, 0..1."""
    p, a = _labels(predicted, actual, "lowest recall")
    return float(weighted_lowest_recall(p, a, np.ones((1, len(a))))[0])


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Mean of n values under each row of multiplicities (b × n). Undefined (no weight): NaN."""
    with np.errstate(invalid="ignore"):
        return np.asarray((weights @ values) / weights.sum(axis=1))


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = ECE_BINS) -> float:
    """Expected calibration error, 0..1: mean distance of confidence and accuracy over equal-width bins (Guo 2017)."""
    c, ok = _pairs(confidence, correct, "ECE", least=1)
    if c.min() < 0 or c.max() > 1:
        raise MetricError(f"ECE: confidences must lie in 0..1, found {c.min():g}..{c.max():g}")
    which = np.minimum((c * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    gap = np.abs(np.bincount(which, ok, bins) - np.bincount(which, c, bins))
    return float(gap[count > 0].sum() / len(c))


def coverage(low: ArrayLike, high: ArrayLike, actual: ArrayLike) -> float:
    """Share of values inside their interval, ends included, 0..1. An interval upside down is an error."""
    bottom, value = _pairs(low, actual, "coverage", least=1)
    top, _ = _pairs(high, actual, "coverage", least=1)
    if np.any(bottom > top):
        raise MetricError(f"coverage: {int(np.sum(bottom > top))} interval(s) have a low end above their high end")
    return float(np.mean((bottom <= value) & (value <= top)))


def psnr(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 images of one shape, at most PSNR_CAP_DB."""
    _same_shape(reference, image, "PSNR")
    mse = float(np.mean((reference.astype(np.float64) - image.astype(np.float64)) ** 2))
    return PSNR_CAP_DB if mse == 0 else min(PSNR_CAP_DB, float(10 * np.log10(255.0**2 / mse)))


def ssim(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Structural similarity of the luma of two RGB uint8 images, -1..1 (Wang 2004: Gaussian window 11, sigma 1.5)."""
    import cv2

    _same_shape(reference, image, "SSIM")
    x, y = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float64) for i in (reference, image))
    if min(x.shape) < 11:
        raise MetricError(f"SSIM: needs at least 11 pixels a side, found {x.shape[1]} × {x.shape[0]}")

    def blur(values: Floats) -> Floats:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5])

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    similarity = ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(similarity.mean())


def subset_baseline(train_subset: Sequence[object], train_score: ArrayLike, subset: Sequence[object]) -> Floats:
    """Scores of a predictor that knows only which subset an image is from: the mean of that subset in training.

    A subset that training does not have gets the mean of all. What a model adds is what it has above this.
    """
    scores = np.asarray(train_score, dtype=np.float64)
    if scores.size == 0 or not np.all(np.isfinite(scores)):
        raise MetricError(f"subset baseline: needs finite training scores, found {scores.size} of which some are NaN")
    names = np.array([str(name) for name in train_subset])
    means = {name: float(scores[names == name].mean()) for name in np.unique(names)}
    return np.array([means.get(str(name), float(scores.mean())) for name in subset])


def majority_accuracy(train_labels: Sequence[object], actual: Sequence[object]) -> float:
    """Accuracy of answering the commonest training label each time, 0..1."""
    if len(train_labels) == 0:
        raise MetricError("majority baseline: there are no training labels")
    labels, counts = np.unique(np.array([str(label) for label in train_labels]), return_counts=True)
    return accuracy([labels[counts.argmax()]] * len(actual), actual)


def _ranks(values: Floats, weights: Floats) -> Floats:
    order = np.argsort(values, kind="stable")
    distinct, tied = np.unique(values[order], return_inverse=True)
    mass = np.zeros((weights.shape[0], len(distinct)))
    starts = np.flatnonzero(np.r_[True, tied[1:] != tied[:-1]])
    mass[:] = np.add.reduceat(weights[:, order], starts, axis=1)
    mean_rank = np.cumsum(mass, axis=1) - mass / 2
    ranks = np.empty_like(weights, dtype=np.float64)
    ranks[:, order] = mean_rank[:, tied]
    return ranks


def _correlation(x: Floats, y: Floats, weights: Floats, total: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        dx = x - ((weights * x).sum(axis=1) / total)[:, None]
        dy = y - ((weights * y).sum(axis=1) / total)[:, None]
        xx, yy = (weights * dx * dx).sum(axis=1), (weights * dy * dy).sum(axis=1)
        # Rounding leaves a constant side with a variance of about 1e-32, not with 0.
        usable = (xx > 1e-18 * total) & (yy > 1e-18 * total)
        value = (weights * dx * dy).sum(axis=1) / np.sqrt(xx * yy)
    return np.where(usable, np.clip(value, -1.0, 1.0), np.nan)


def _defined(value: float, x: Floats, y: Floats, name: str) -> float:
    if not np.isfinite(value):
        spread = min(np.ptp(x), np.ptp(y))
        raise MetricError(f"{name}: undefined, {len(x)} values lie within {spread:.1g} of each other")
    return float(value)


def _pairs(first: ArrayLike, second: ArrayLike, name: str, least: int = 3) -> tuple[Floats, Floats]:
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise MetricError(f"{name}: needs two equally long lists, found shapes {x.shape} and {y.shape}")
    if len(x) < least:
        raise MetricError(f"{name}: needs at least {least} rows, found {len(x)}")
    bad = int(np.sum(~(np.isfinite(x) & np.isfinite(y))))
    if bad:
        raise MetricError(f"{name}: {bad} of {len(x)} rows are NaN or infinite")
    if least > 1 and (np.ptp(x) == 0 or np.ptp(y) == 0):
        raise MetricError(f"{name}: undefined, all {len(x)} values are {x[0] if np.ptp(x) == 0 else y[0]:g}")
    return x, y


def _labels(
    predicted: Sequence[object], actual: Sequence[object], name: str
) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    if len(predicted) != len(actual) or len(actual) == 0:
        raise MetricError(f"{name}: needs two equally long lists of labels, found {len(predicted)} and {len(actual)}")
    missing = sum(not isinstance(label, str) or not label for label in (*predicted, *actual))
    if missing:
        raise MetricError(f"{name}: {missing} label(s) are missing or not text")
    return np.array([str(label) for label in predicted]), np.array([str(label) for label in actual])


def _same_shape(reference: NDArray[np.uint8], image: NDArray[np.uint8], name: str) -> None:
    if reference.shape != image.shape or reference.size == 0:
        raise MetricError(f"{name}: needs two images of one shape, found {reference.shape} and {image.shape}")
    if reference.dtype != np.uint8 or image.dtype != np.uint8:
        raise MetricError(f"{name}: needs uint8 images, found {reference.dtype} and {image.dtype}")
