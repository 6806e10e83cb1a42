"""The multi-task loss: each task on the rows that carry its label, each term over its first value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

TASKS = ("quality", "attributes", "ranking", "style", "enhance", "gradient_norm")
Terms = dict[str, torch.Tensor]
HUBER_DELTA = 0.1
RANKING_MARGIN = 0.3
"""A pair must be apart by this share of the difference of its labels."""
LABEL_SMOOTHING = 0.05
SSIM_WEIGHT = 0.1
SMALLEST_INITIAL = 0.01
"""A task that starts almost solved must not outweigh the rest."""


def quality_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor | None:
    """Huber loss over the rows whose target (N, 0..1) is not NaN; None where there is none."""
    known = target.isfinite()
    if not known.any():
        return None
    return F.huber_loss(predicted[known], target[known], delta=HUBER_DELTA) / HUBER_DELTA


def attribute_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor | None:
    """Mean squared error over the known entries of N x 3; None where there is none."""
    known = target.isfinite()
    return F.mse_loss(predicted[known], target[known]) if known.any() else None


def ranking_loss(predicted: torch.Tensor, target: torch.Tensor, source: torch.Tensor) -> torch.Tensor | None:
    """Hinge over all pairs of one source whose targets differ: scales differ between sources, orders do not.

    N predictions, N targets (NaN: unknown), N integer source codes. None where no pair can be made.
    """
    apart = target[:, None] - target[None]
    usable = (source[:, None] == source[None]) & (apart > 0.02)
    if not usable.any():
        return None
    lead = predicted[:, None] - predicted[None]
    return F.relu(RANKING_MARGIN * apart - lead)[usable].mean()


def style_loss(
    logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, kind: Literal["linear", "svm", "mlp"]
) -> torch.Tensor | None:
    """Cross-entropy with label smoothing, or the multi-class hinge for `svm`; target -1 is unknown.

    `weights` (classes) even out their frequencies.
    """
    known = target >= 0
    if not known.any():
        return None
    if kind == "svm":
        return F.multi_margin_loss(logits[known], target[known], weight=weights)
    return F.cross_entropy(logits[known], target[known], weight=weights, label_smoothing=LABEL_SMOOTHING)


def enhance_loss(enhanced: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Charbonnier distance plus a share of 1 - SSIM (Wang et al., 2004), over N x 3 x H x W in 0..1.

    The distance is the root of each patch's mean square, as PSNR counts each picture by itself.
    """
    root = ((enhanced - clean) ** 2).mean(dim=(1, 2, 3)).add(1e-6).sqrt()
    return root.mean() + SSIM_WEIGHT * (1 - ssim(enhanced, clean))


def ssim(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean structural similarity over 7 x 7 windows, range 1, of N x 3 x H x W."""
    size, c1, c2 = 7, 0.01**2, 0.03**2
    mean_1, mean_2 = F.avg_pool2d(first, size, 1), F.avg_pool2d(second, size, 1)
    var_1 = F.avg_pool2d(first**2, size, 1) - mean_1**2
    var_2 = F.avg_pool2d(second**2, size, 1) - mean_2**2
    both = F.avg_pool2d(first * second, size, 1) - mean_1 * mean_2
    top = (2 * mean_1 * mean_2 + c1) * (2 * both + c2)
    return (top / ((mean_1**2 + mean_2**2 + c1) * (var_1 + var_2 + c2))).mean()


def gradient_norm(score: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Mean length of the gradient of `score` (N x D to N) at `inputs` (N x D): how far a small change can move it.

    A scalar; it can itself be differentiated, unless gradients are switched off around the call.
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        at = inputs.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(score(at).sum(), at, create_graph=differentiable)
    length: torch.Tensor = gradient.norm(dim=1).mean()
    return length


class MultiTaskLoss(nn.Module):
    """L = sum of weight_t * L_t / L_t(initial) over the tasks present.

    With `uncertainty` weighting each normalised term becomes exp(-s_t) * term + s_t with learned s_t
    (Kendall et al., 2018).
    """

    initial: torch.Tensor

    def __init__(self, weights: Mapping[str, float], weighting: Literal["fixed", "uncertainty"]) -> None:
        super().__init__()
        self.weights = {task: float(weights[task]) for task in TASKS}
        self.weighting = weighting
        self.log_variance = nn.Parameter(torch.zeros(len(TASKS)), requires_grad=weighting == "uncertainty")
        self.register_buffer("initial", torch.full((len(TASKS),), torch.nan))

    def start(self, terms: Mapping[str, torch.Tensor]) -> None:
        """Fix the initial values; a task that is absent at first counts from 1."""
        for place, task in enumerate(TASKS):
            if task in terms:
                self.initial[place] = terms[task].detach().clamp_min(SMALLEST_INITIAL)

    def forward(self, terms: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The weighted sum, a scalar."""
        total = self.initial.new_zeros(())
        for place, task in enumerate(TASKS):
            if task not in terms or not self.weights[task]:
                continue
            term = terms[task] / torch.nan_to_num(self.initial[place], nan=1.0)
            if self.weighting == "uncertainty":
                term = torch.exp(-self.log_variance[place]) * term + self.log_variance[place]
            total = total + self.weights[task] * term
        return total
