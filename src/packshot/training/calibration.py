"""After the fit: temperature of the style confidence, and a conformal interval that adapts to the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F  # noqa: N812

from packshot.bundle import Calibration
from packshot.model.architecture import KINDS
from packshot.model.network import PackshotNet
from packshot.training.closed_form import Matrix

FEWEST_ROWS = 40
SMALLEST_ERROR = 0.005
GROUP_SLACK = 0.03
"""A kind of image may be covered this much less often than all images together."""
INVERSE_REGULARISATION = 0.01
ROUNDS = 400
GROWTH = 1.02
NEVER = -1e4
TEMPERATURES = torch.logspace(-1.3, 1.3, 105)


def temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The divisor of the logits (N x C) with the least negative log-likelihood of `labels` (Guo et al., 2017).

    1 where there are too few rows to say.
    """
    if len(labels) < FEWEST_ROWS:
        return 1.0
    losses = torch.stack([F.cross_entropy(logits / value, labels) for value in TEMPERATURES])
    return float(TEMPERATURES[int(losses.argmin())])


@dataclass(frozen=True)
class Residuals:
    """Out-of-fold errors of the overall score, row by row.

    `scaled` N x trunk_dim (scaled trunk vectors), `error` N (human minus predicted), `kind` N (which part of its set
    an image is from; None where that is not known), `fold` N (the group fold it was predicted in).
    """

    scaled: Matrix
    error: Matrix
    kind: Sequence[str | None]
    fold: npt.NDArray[np.int64]

    def of(self, chosen: npt.NDArray[np.bool_]) -> Residuals:
        """The rows that are True."""
        kind = [name for name, wanted in zip(self.kind, chosen, strict=True) if wanted]
        return Residuals(self.scaled[chosen], self.error[chosen], kind, self.fold[chosen])


def interval(network: PackshotNet, found: Residuals, coverage: float) -> tuple[float, int]:
    """Fit the network's expected error in place; return the conformal scale and the rows behind it.

    Errors differ by kind of image, and the kind is not known when an image is judged; so a logistic regression says
    of which kinds it may be, and the expected error is the mean of theirs. The errors of the kinds are such that each
    kind is covered nearly as often as all together, on kinds predicted out of fold; the scale is the split-conformal
    quantile of |error| / expected error (Lei et al., 2018). Where no kinds are known, small, middling and large errors
    stand for them.
    """
    if len(found.error) < FEWEST_ROWS:
        return 0.0, 0
    fitted = _fitted(found, coverage)
    count = len(fitted.error)
    network.kind_of_image.zero_()
    network.kind_of_image[:, -1] = NEVER
    network.kind_of_image[:count] = torch.from_numpy(np.column_stack([fitted.weights, fitted.bias])).to(
        network.kind_of_image
    )
    network.kind_error.zero_()
    network.kind_error[:count] = torch.from_numpy(fitted.error).to(network.kind_error)
    return fitted.scale, len(found.error)


def half_widths_out_of_fold(found: Residuals, coverage: float) -> Matrix | None:
    """Half the interval of each row (N), fitted on the folds it is not in.

    None where there are too few rows, or fewer than three folds, to say: each interval needs folds of its own.
    """
    if len(np.unique(found.fold)) < 3:
        return None
    half = np.empty(len(found.error))
    for each in np.unique(found.fold):
        held = found.fold == each
        if (~held).sum() < FEWEST_ROWS:
            return None
        fitted = _fitted(found.of(~held), coverage)
        half[held] = fitted.scale * (_shares(found.scaled[held], fitted.weights, fitted.bias) @ fitted.error)
    return half


def coverage_of(found: Residuals, half: Matrix) -> dict[str, float]:
    """Share of the scores that intervals of these half widths (N) hold: of `all`, and of each kind."""
    inside = np.abs(found.error) <= half
    names = pd.Series(list(found.kind), dtype=object)
    by_kind = {str(name): float(inside[names == name].mean()) for name in sorted(names.dropna().unique())}
    return {"all": float(inside.mean()), **by_kind}


@dataclass(frozen=True)
class _Interval:
    """Of which kinds an image may be (weights K x D, bias K), the error of each kind (K), and the conformal scale."""

    weights: Matrix
    bias: Matrix
    error: Matrix
    scale: float


def _fitted(found: Residuals, coverage: float) -> _Interval:
    size = np.abs(found.error)
    kind, count = _kinds(found.kind, size)
    shares = np.empty((len(size), count))
    for each in np.unique(found.fold):
        held = found.fold == each
        others = held if held.all() else ~held
        shares[held] = _shares(found.scaled[held], *_kind_classifier(found.scaled[others], kind[others], count))
    error = _kind_errors(shares, size, kind, coverage)
    weights, bias = _kind_classifier(found.scaled, kind, count)
    return _Interval(weights, bias, error, _conformal(size / (shares @ error), coverage))


def _kinds(names: Sequence[str | None], size: Matrix) -> tuple[npt.NDArray[np.int64], int]:
    """A code for each row; kinds too rare to measure share one."""
    known = pd.Series(list(names), dtype=object).fillna("")
    counts = known.value_counts()
    frequent = sorted(counts[counts >= FEWEST_ROWS].index[: KINDS - 1].tolist())
    if len(frequent) < 2:
        return np.asarray(np.digitize(size, np.quantile(size, [1 / 3, 2 / 3])), dtype=np.int64), 3
    codes = known.map({name: place for place, name in enumerate(frequent)})
    rest = codes.isna().to_numpy()
    return codes.fillna(len(frequent)).to_numpy(dtype=np.int64), len(frequent) + int(rest.any())


def _kind_classifier(scaled: Matrix, kind: npt.NDArray[np.int64], count: int) -> tuple[Matrix, Matrix]:
    """Weights count x D and biases count; a kind that does not occur is never predicted."""
    present = np.unique(kind)
    weights, bias = np.zeros((count, scaled.shape[1])), np.full(count, NEVER)
    if len(present) == 1:
        bias[present] = 0.0
        return weights, bias
    model = LogisticRegression(C=INVERSE_REGULARISATION, class_weight="balanced", max_iter=2000).fit(scaled, kind)
    if len(present) == 2:
        weights[present], bias[present] = [-model.coef_[0] / 2, model.coef_[0] / 2], [0.0, model.intercept_[0]]
    else:
        weights[present], bias[present] = model.coef_, model.intercept_
    return weights, bias


def _shares(scaled: Matrix, weights: Matrix, bias: Matrix) -> Matrix:
    logits = scaled @ weights.T + bias
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True), dtype=np.float64)


def _kind_errors(shares: Matrix, size: Matrix, kind: npt.NDArray[np.int64], coverage: float) -> Matrix:
    """The error of each kind: its own quantile first, then more for the kinds that are covered too seldom."""
    count = shares.shape[1]
    error = np.array(
        [np.quantile(size[kind == each], coverage) if (kind == each).any() else 0.0 for each in range(count)]
    )
    error = np.maximum(error, SMALLEST_ERROR)
    tested = [each for each in range(count) if (kind == each).sum() >= FEWEST_ROWS]
    for _ in range(ROUNDS):
        error *= _conformal(size / (shares @ error), coverage)
        inside = size <= shares @ error
        short = [each for each in tested if inside[kind == each].mean() < coverage - GROUP_SLACK]
        if not short:
            break
        error[short] *= GROWTH
    return np.asarray(error, dtype=np.float64)


def _conformal(ratios: Matrix, coverage: float) -> float:
    level = min(1.0, float(np.ceil((len(ratios) + 1) * coverage)) / len(ratios))
    return float(np.quantile(ratios, level, method="higher"))


def calibration(
    network: PackshotNet, residuals: Residuals, logits: torch.Tensor, labels: torch.Tensor, coverage: float
) -> Calibration:
    """Both calibrations from out-of-fold predictions."""
    scale, rows = interval(network, residuals, coverage)
    return Calibration(
        temperature=temperature(logits, labels), interval_scale=scale, interval_coverage=coverage, interval_rows=rows
    )
