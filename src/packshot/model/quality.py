"""Quality heads: kernel machines for the overall score and for the attributes."""

from __future__ import annotations

import torch
from torch import nn

from packshot.model.architecture import SOFT_EDGE


def soft_unit(score: torch.Tensor) -> torch.Tensor:
    """Strictly rising map of any real onto (0, 1): the identity between 0.05 and 0.95, exponential beyond.

    Ranks, hence SRCC, are untouched.
    """
    low = SOFT_EDGE * torch.exp((torch.clamp(score, max=SOFT_EDGE) - SOFT_EDGE) / SOFT_EDGE)
    high = 1 - SOFT_EDGE * torch.exp((1 - SOFT_EDGE - torch.clamp(score, min=1 - SOFT_EDGE)) / SOFT_EDGE)
    return torch.where(score < SOFT_EDGE, low, torch.where(score > 1 - SOFT_EDGE, high, score))


class KernelHead(nn.Module):
    """f(z) = bias + sum_j a_j exp(-exp(log_gamma) ||z - landmark_j||^2), one a and bias an output, all trainable.

    With the training rows as landmarks and a = (K + lambda I)^-1 (y - bias) this is kernel ridge regression;
    from there gradients move landmarks, weights and width, and through z the trunk.
    """

    def __init__(self, inputs: int, landmarks: int, outputs: int) -> None:
        super().__init__()
        self.landmarks = nn.Parameter(torch.zeros(landmarks, inputs))
        self.weights = nn.Parameter(torch.zeros(landmarks, outputs))
        self.log_gamma = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.full((outputs,), 0.5))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """N x inputs to N x outputs, unbounded; see `soft_unit`."""
        squared = (z**2).sum(1)[:, None] + (self.landmarks**2).sum(1)[None] - 2 * z @ self.landmarks.T
        return torch.exp(-self.log_gamma.exp() * squared.clamp_min(0)) @ self.weights + self.bias
