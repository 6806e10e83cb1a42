"""One network for all tasks: backbone, statistics, two trunks, and the heads on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from packshot.model.architecture import ATTRIBUTES, CLIP, EMBEDDING_DIM, ENHANCER_DIM, KINDS, Architecture, gram_size
from packshot.model.backbone import Backbone, build_backbone
from packshot.model.enhancer import Codes, Enhancer
from packshot.model.losses import gradient_norm
from packshot.model.preprocess import Image, to_tensor, views
from packshot.model.quality import KernelHead, soft_unit
from packshot.model.signal import signal_statistics
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.model.statistics import statistics_of_views
from packshot.model.style import StyleClassifier, StyleSpace, TextBranch
from packshot.model.text import TEXT_SIZES

SIGNAL_AXES = 64
"""So many of a trunk's axes, and half of them at most, are of the signal; they come first."""


@dataclass(frozen=True)
class Features:
    """What is seen in images: `stats` N x S, of the backbone's maps and then SIGNAL_SIZE of the pixels themselves;
    `gram` N x G; float32."""

    stats: torch.Tensor
    gram: torch.Tensor


@dataclass(frozen=True)
class Perception:
    """Heads of N images: `quality` N (0..1), `attributes` N x 3 (0..1), `logits` N x styles, `style` N x style_dim."""

    quality: torch.Tensor
    attributes: torch.Tensor
    logits: torch.Tensor
    style: torch.Tensor


class Trunk(nn.Module):
    """Standardised statistics to a vector for several heads; starts as a principal component analysis."""

    mean: torch.Tensor
    scale: torch.Tensor
    spread: torch.Tensor
    unit: torch.Tensor

    def __init__(self, stats: int, trunk_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(stats))
        self.register_buffer("scale", torch.ones(stats))
        self.register_buffer("spread", torch.ones(trunk_dim))
        # apart from the weights, so that a learning step is small against them
        self.register_buffer("unit", torch.ones(()))
        self.linear = nn.Linear(stats, trunk_dim, bias=False)

    def standardise(self, stats: torch.Tensor) -> torch.Tensor:
        """Zero mean, unit deviation over the training images, clipped."""
        return ((stats - self.mean) * self.scale).clamp(-CLIP, CLIP)

    def forward(self, stats: torch.Tensor) -> torch.Tensor:
        """N x S to N x trunk_dim, in units in which a typical pair of images is at distance 1."""
        return self.project(self.standardise(stats))

    def project(self, standard: torch.Tensor) -> torch.Tensor:
        """Standardised statistics, N x S, to N x trunk_dim."""
        z: torch.Tensor = self.linear(standard) / self.unit
        return z

    def scaled(self, z: torch.Tensor) -> torch.Tensor:
        """Each coordinate at about unit deviation, for heads that are not distance-based."""
        return (z * self.spread).clamp(-CLIP, CLIP)


class PackshotNet(nn.Module):
    """Backbone + trunks + heads + enhancer. Random until fitted; the enhancer starts as the identity.

    `trunk` has the axes on which pictures differ and is what overall quality and style see; `damage` has those on which
    degraded copies differ too, and is what the attributes and the enhancer see.
    """

    embedding: torch.Tensor
    kind_of_image: torch.Tensor
    kind_error: torch.Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.backbone: Backbone = build_backbone(a.backbone)
        stats = 2 * sum(self.backbone.channels) * len(a.long_sides) + SIGNAL_SIZE
        gram = gram_size(self.backbone.channels)
        self.trunk = Trunk(stats, a.trunk_dim)
        self.damage = Trunk(stats, a.trunk_dim)
        self.quality = KernelHead(a.trunk_dim, a.landmarks, a.quality_heads)
        self.attributes = KernelHead(a.trunk_dim, a.attribute_landmarks, len(ATTRIBUTES))
        self.style_space = StyleSpace(gram, a.style_dim)
        self.text = TextBranch(TEXT_SIZES[a.text_encoder], a.text_dim)
        self.classifier = StyleClassifier(
            a.style_dim + a.trunk_dim, a.text_dim, max(len(a.styles), 1), a.style_classifier
        )
        self.enhancer = Enhancer(
            min(ENHANCER_DIM, a.trunk_dim), a.residual_width, a.residual_blocks, a.curve_points, a.lut_size, a.lut_count
        )
        self.register_buffer("embedding", torch.zeros(stats, min(EMBEDDING_DIM, a.trunk_dim)))
        self.register_buffer("kind_of_image", torch.zeros(KINDS, a.trunk_dim + 1))
        self.register_buffer("kind_error", torch.zeros(KINDS))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.quality.bias.device

    def features(self, image: Image) -> Features:
        """One image (uint8, H x W x 3, RGB, any size) through preprocessing, backbone and signal statistics; N is 1."""
        return self.features_of_views(
            [to_tensor(view, self.device) for view in views(image, self.architecture.long_sides)]
        )

    def features_of_views(self, pixels: Sequence[torch.Tensor]) -> Features:
        """Views as float N x 3 x h x w in 0..1, one for each of `long_sides`. Style and signal are read from the
        first."""
        found = self.backbone_features(pixels)
        return Features(torch.cat([found.stats, signal_statistics(pixels[0])], dim=1), found.gram)

    def backbone_features(self, pixels: Sequence[torch.Tensor]) -> Features:
        """As `features_of_views`, without the signal statistics."""
        return Features(*statistics_of_views(self.backbone, pixels))

    def overall(self, z: torch.Tensor, heads: torch.Tensor | None = None) -> torch.Tensor:
        """Trunk vectors N x trunk_dim to overall quality, N, 0..1: the mean of all heads, or of the head that `heads`
        (N, int64) names where that is not negative."""
        each = self.quality(z)
        mean = each.mean(dim=1)
        if heads is None:
            return soft_unit(mean)
        return soft_unit(torch.where(heads < 0, mean, each.gather(1, heads.clamp_min(0)[:, None])[:, 0]))

    def steepness(self, stats: torch.Tensor) -> torch.Tensor:
        """Mean length of the gradient of `overall` with respect to the standardised statistics, at `stats` N x S."""
        return gradient_norm(lambda at: self.overall(self.trunk.project(at)), self.trunk.standardise(stats))

    def aspects(self, stats: torch.Tensor) -> torch.Tensor:
        """Statistics N x S to sharpness, colour balance and detail, N x 3, 0..1."""
        return soft_unit(self.attributes(self.damage(stats)))

    def style(
        self, z: torch.Tensor, gram: torch.Tensor, text: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Style vectors N x style_dim and logits N x styles; `text` N x text size with `mask` N x 1."""
        vector = self.style_space(gram)
        content = torch.cat([vector, z], dim=1)
        if text is None or mask is None:
            told = torch.zeros(len(z), self.architecture.text_dim, device=z.device)
        else:
            told = self.text(text, mask)
        return vector, self.classifier(content, told)

    def perceive(
        self,
        features: Features,
        text: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        heads: torch.Tensor | None = None,
    ) -> Perception:
        """All heads but the enhancer; `heads` as in `overall`."""
        z = self.trunk(features.stats)
        vector, logits = self.style(z, features.gram, text, mask)
        return Perception(self.overall(z, heads), self.aspects(features.stats), logits, vector)

    def enhancer_codes(self, stats: torch.Tensor) -> Codes:
        """Coefficients of curves, tables and modulation for images with these statistics, N x S."""
        return self.enhancer.codes(self.damage.scaled(self.damage(stats))[:, :ENHANCER_DIM])

    def embed(self, stats: torch.Tensor) -> torch.Tensor:
        """N x S to N x (at most 64): principal components of the training images, fixed after fitting."""
        return self.trunk.standardise(stats) @ self.embedding

    def expected_error(self, z: torch.Tensor) -> torch.Tensor:
        """Size of the error of `overall` to expect at each trunk vector: that of the kinds of image it may be of; N."""
        kinds = torch.softmax(self.trunk.scaled(z) @ self.kind_of_image[:, :-1].T + self.kind_of_image[:, -1], dim=1)
        return kinds @ self.kind_error
