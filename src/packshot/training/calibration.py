"""After the fit: temperature of the style confidence, and a conformal interval that adapts to the image."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from packshot.bundle import Calibration
from packshot.model.network import PackshotNet
from packshot.training.closed_form import Matrix, ridge_regression

SPREAD_RIDGE = 300.0
SMALLEST_ERROR = 0.005
FEWEST_ROWS = 40
FOLDS = 5
TEMPERATURES = torch.logspace(-1.3, 1.3, 105)


def temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The divisor of the logits (N x C) with the least negative log-likelihood of `labels` (Guo et al., 2017).

    1 where there are too few rows to say.
    """
    if len(labels) < FEWEST_ROWS:
        return 1.0
    losses = torch.stack([F.cross_entropy(logits / value, labels) for value in TEMPERATURES])
    return float(TEMPERATURES[int(losses.argmin())])


def interval(network: PackshotNet, scaled: Matrix, residuals: Matrix, coverage: float) -> tuple[float, int]:
    """Fit the network's expected error in place; return the conformal scale and the rows behind it.

    `scaled` (N x trunk_dim) are scaled trunk vectors, `residuals` (N) out-of-fold errors of the overall score. The
    expected error is a ridge regression of log |residual|; the scale is the split-conformal quantile of
    |residual| / expected error (Lei et al., 2018), with the expected error itself out of fold.
    """
    if len(residuals) < FEWEST_ROWS:
        return 0.0, 0
    size = np.maximum(np.abs(residuals), SMALLEST_ERROR)
    log_size = np.log(size)
    fold = np.arange(len(size)) % FOLDS
    expected = np.empty_like(size)
    for each in range(FOLDS):
        weights = ridge_regression(scaled[fold != each], log_size[fold != each], SPREAD_RIDGE)
        expected[fold == each] = _expected(scaled[fold == each], weights)
    weights = ridge_regression(scaled, log_size, SPREAD_RIDGE)
    network.uncertainty.copy_(torch.from_numpy(weights).to(network.uncertainty))
    ratios = np.abs(residuals) / expected
    level = min(1.0, np.ceil((len(ratios) + 1) * coverage) / len(ratios))
    return float(np.quantile(ratios, level, method="higher")), len(ratios)


def _expected(scaled: Matrix, weights: Matrix) -> Matrix:
    logs: Matrix = np.clip(scaled @ weights[:-1] + weights[-1], -6, 0)
    expected: Matrix = np.exp(logs)
    return expected


def calibration(
    network: PackshotNet,
    scaled: Matrix,
    residuals: Matrix,
    logits: torch.Tensor,
    labels: torch.Tensor,
    coverage: float,
) -> Calibration:
    """Both calibrations from out-of-fold predictions."""
    scale, rows = interval(network, scaled, residuals, coverage)
    return Calibration(
        temperature=temperature(logits, labels), interval_scale=scale, interval_coverage=coverage, interval_rows=rows
    )
