"""The axes of a trunk, in closed form: principal components of what pictures show, apart for backbone and signal."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from packshot.model.network import SIGNAL_AXES, Trunk
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.training.closed_form import principal_components

FLOOR = 1e-4


@dataclass(frozen=True)
class Shape:
    """How far apart pictures lie in a trunk: by the signal, over what they lie apart by the backbone; and how far each
    of the two is flattened, between 0, as far apart as pictures lie, and 1, all axes at one deviation."""

    signal: float
    flattened: float
    signal_flattened: float


QUALITY = Shape(signal=0.35, flattened=0.3, signal_flattened=0.3)
"""Flattened, since what people rate also shows along axes on which pictures differ little."""
DAMAGE = Shape(signal=1.0, flattened=0.0, signal_flattened=0.5)


@torch.no_grad()
def fit_trunk(trunk: Trunk, stats: torch.Tensor, typical: torch.Tensor, shape: Shape, seed: int) -> None:
    """Axes of `stats`, of the signal and then of the backbone; `typical` rows set the unit."""
    trunk.mean.copy_(stats.mean(dim=0))
    deviation = stats.std(dim=0, unbiased=False)
    trunk.scale.copy_(torch.where(deviation > FLOOR, 1 / (deviation + FLOOR), 0.0))
    standard = trunk.standardise(stats)
    of_signal = min(SIGNAL_AXES, trunk.linear.out_features // 2)
    axes = torch.zeros_like(trunk.linear.weight)
    backbone, signal = standard[:, :-SIGNAL_SIZE], standard[:, -SIGNAL_SIZE:]
    axes[:of_signal, -SIGNAL_SIZE:] = shape.signal * _axes(signal, of_signal, shape.signal_flattened, seed)
    axes[of_signal:, :-SIGNAL_SIZE] = _axes(backbone, len(axes) - of_signal, shape.flattened, seed)
    z = trunk.standardise(typical) @ axes.T
    # the mean squared distance of two rows is twice the total variance
    unit = (2 * z.var(dim=0, unbiased=False).sum()).clamp_min(FLOOR).sqrt()
    trunk.linear.weight.copy_(axes)
    trunk.unit.copy_(unit)
    deviation = (standard @ (axes / unit).T).std(dim=0, unbiased=False)
    trunk.spread.copy_(torch.where(deviation > FLOOR, 1 / deviation.clamp_min(FLOOR), 0.0))


def _axes(standard: torch.Tensor, count: int, flattened: float, seed: int) -> torch.Tensor:
    """Principal axes of `standard` (N x S), count x S, each shortened by its deviation to the power `flattened`, all
    together scaled to a total variance of 1."""
    axes = principal_components(standard - standard.mean(dim=0), count, seed)
    axes = axes / (standard @ axes.T).std(dim=0, unbiased=False).clamp_min(FLOOR)[:, None] ** flattened
    return axes / (standard @ axes.T).var(dim=0, unbiased=False).sum().clamp_min(FLOOR).sqrt()
