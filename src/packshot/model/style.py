"""The style space and the classifier on it, with text fused late."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class StyleSpace(nn.Module):
    """Gram vector to a unit vector in the style space; the reduction starts as the PCA of the training images."""

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, gram: int, style_dim: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(gram))
        self.register_buffer("scale", torch.ones(gram))
        self.reduction = nn.Linear(gram, style_dim, bias=False)

    def forward(self, gram: torch.Tensor) -> torch.Tensor:
        """N x gram to N x style_dim, unit length."""
        return F.normalize(self.reduction(self.standardise(gram)), dim=1, eps=1e-6)

    def standardise(self, gram: torch.Tensor) -> torch.Tensor:
        """Zero mean, unit deviation over the training images, clipped at five deviations."""
        return ((gram - self.centre) * self.scale).clamp(-5, 5)


class TextBranch(nn.Module):
    """Sentence embedding to text_dim; absent text is a zero vector with mask 0, and gives exactly zero.

    During training whole texts are dropped at random, so that the classifier does not lean on them.
    """

    def __init__(self, inputs: int, text_dim: int, drop: float = 0.3) -> None:
        super().__init__()
        self.projection = nn.Linear(inputs, text_dim)
        self.drop = drop

    def forward(self, text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """N x inputs and N x 1 (1 where there is text) to N x text_dim."""
        if self.training:
            mask = mask * (torch.rand_like(mask) >= self.drop)
        told: torch.Tensor = torch.tanh(self.projection(text)) * mask
        return told


class StyleClassifier(nn.Module):
    """Logits from style vector, scaled trunk and text: a linear map, plus a small MLP where asked for.

    `linear` and `svm` differ in the loss alone. The MLP is added to the linear map and starts at zero, so that
    all three begin at the same closed-form solution. The text columns start at zero too where there is no text to learn
    from: then text changes nothing.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, inputs: int, text_dim: int, classes: int, kind: str, hidden: int = 64) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.linear = nn.Linear(inputs, classes)
        self.text = nn.Linear(text_dim, classes, bias=False)
        nn.init.zeros_(self.text.weight)
        self.mlp: nn.Sequential | None = None
        if kind == "mlp":
            last = nn.Linear(hidden, classes)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.mlp = nn.Sequential(nn.Dropout(0.3), nn.Linear(inputs + text_dim, hidden), nn.GELU(), last)

    def forward(self, content: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """N x inputs and N x text_dim to N x classes."""
        scaled = (content - self.shift) * self.scale
        logits: torch.Tensor = self.linear(scaled) + self.text(text)
        if self.mlp is not None:
            logits = logits + self.mlp(torch.cat([scaled, text], dim=1))
        return logits
