"""Convolutional backbones by name: several stages of feature maps behind one interface.

`efficientnet_lite0`, `_lite1` and `_lite2` are built here with their batch norms folded into the convolutions (same
function, more than twice the speed on a CPU) and without the 1280-channel head, which tells about objects more than
about pictures; `timm:<name>` and `torchvision:<name>` come from those libraries. `first+second` looks at the picture
with both. Nothing here reads weights: see `packshot.training.pretrained`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from packshot.errors import PackshotError
from packshot.model.lite import LITE_MEAN, LITE_SCALES, LITE_STD, LITE_STEM, TOGETHER, lite_stages, padding

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class UnknownBackbone(PackshotError):
    """No backbone of that name, or one whose layers cannot be split into stages."""


class Backbone(nn.Module):
    """Stages applied one after the other.

    Input: float N x 3 x H x W in 0..1, RGB, sides at least 32. Output: the feature map after each stage.
    Batch norms stay in evaluation mode even while the backbone is trained, since batches are small and mixed.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, stages: Sequence[nn.Module], channels: Sequence[int], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(channels)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    @property
    def depth(self) -> int:
        """How many stages `freeze` can count."""
        return len(self.channels)

    @property
    def members(self) -> list[Backbone]:
        """The backbones that look at the picture each by itself: this one, or those that were joined."""
        return [self]

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps, N x channels[i] x h_i x w_i, one for each stage."""
        return self.lower(pixels, len(self.stages))

    def lower(self, pixels: torch.Tensor, count: int) -> list[torch.Tensor]:
        """Feature maps of the first `count` stages; of a member, as `upper`."""
        return _in_turn(list(self.stages)[:count], (pixels - self.mean) / self.std)

    def upper(self, values: torch.Tensor, count: int) -> list[torch.Tensor]:
        """Feature maps of the stages after the first `count`, from the last map that `lower` gives (count >= 1)."""
        return _in_turn(list(self.stages)[count:], values)

    def freeze(self, count: int) -> None:
        """Stop gradients in the first `count` stages, allow them in the others."""
        for place, stage in enumerate(self.stages):
            stage.requires_grad_(place >= count)

    def train(self, mode: bool = True) -> Backbone:
        """Training mode for everything but batch norm."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def _in_turn(stages: Sequence[nn.Module], x: torch.Tensor) -> list[torch.Tensor]:
    maps = []
    for stage in stages:
        x = stage(x)
        maps.append(x)
    return maps


def build_backbone(name: str) -> Backbone:
    """The backbone called `name`, with random weights. Raises UnknownBackbone."""
    if TOGETHER in name:
        return JoinedBackbone([build_backbone(part) for part in name.split(TOGETHER)])
    if name in LITE_SCALES:
        return _lite(name)
    library, _, model = name.partition(":")
    if library == "timm" and model:
        return _timm(model)
    if library == "torchvision" and model:
        return _torchvision(model)
    raise UnknownBackbone(
        f"unknown backbone {name!r}; expected one of {', '.join(LITE_SCALES)}, timm:<name> or torchvision:<name>, or "
        "several of them joined by + (model.backbone)"
    )


class FoldedConv(nn.Module):
    """Convolution with bias, padded as TensorFlow's SAME for even sides, then ReLU6 where `act` says so."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, act: bool) -> None:
        super().__init__()
        self.before, self.after = padding(kernel, stride)
        even = self.before == self.after
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, self.before if even else 0, groups=groups)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x inputs x H x W to N x outputs x ceil(H / stride) x ceil(W / stride), for even H and W."""
        if self.before != self.after:
            x = F.pad(x, (self.before, self.after, self.before, self.after))
        x = self.conv(x)
        return F.relu6(x, inplace=not torch.is_grad_enabled()) if self.act else x


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; with a shortcut where shapes allow (MobileNetV2)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers = [FoldedConv(inputs, inner, 1, 1, 1, True)] if expansion > 1 else []
        layers += [FoldedConv(inner, inner, kernel, stride, inner, True), FoldedConv(inner, outputs, 1, 1, 1, False)]
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x inputs x H x W to N x outputs x H/stride x W/stride."""
        y = self.layers(x)
        return cast(torch.Tensor, x + y if self.shortcut else y)


def _lite(name: str) -> Backbone:
    stages: list[nn.Module] = []
    rows = lite_stages(name)
    inputs = LITE_STEM
    for place, (kernel, stride, expansion, outputs, repeats) in enumerate(rows):
        blocks: list[nn.Module] = [FoldedConv(3, LITE_STEM, 3, 2, 1, True)] if place == 0 else []
        for again in range(repeats):
            blocks.append(
                InvertedResidual(
                    inputs if again == 0 else outputs, outputs, kernel, stride if again == 0 else 1, expansion
                )
            )
        inputs = outputs
        stages.append(nn.Sequential(*blocks))
    return Backbone(stages, [row[3] for row in rows], (LITE_MEAN,) * 3, (LITE_STD,) * 3)


class JoinedBackbone(Backbone):
    """Several backbones on the same picture: the maps of the first, then those of the next.

    `freeze` counts stages in each of them.
    """

    def __init__(self, parts: Sequence[Backbone]) -> None:
        super().__init__([], [count for part in parts for count in part.channels], (0.0,) * 3, (1.0,) * 3)
        self.parts = nn.ModuleList(parts)

    @property
    def depth(self) -> int:
        """How many stages `freeze` can count: those of the deepest part."""
        return max(cast(Backbone, part).depth for part in self.parts)

    @property
    def members(self) -> list[Backbone]:
        """The joined backbones."""
        return [cast(Backbone, part) for part in self.parts]

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps of all parts, one after the other."""
        return [values for part in self.parts for values in part(pixels)]

    def freeze(self, count: int) -> None:
        """Stop gradients in the first `count` stages of each part, allow them in the others."""
        for part in self.parts:
            cast(Backbone, part).freeze(count)


class _TimmStages(Backbone):
    def __init__(self, body: nn.Module, channels: Sequence[int], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__([], channels, mean, std)
        self.body = body

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        return list(self.body((pixels - self.mean) / self.std))

    def freeze(self, count: int) -> None:
        layers = list(self.body.children())
        share = count / max(len(self.channels), 1)
        for place, layer in enumerate(layers):
            layer.requires_grad_(place >= share * len(layers))


def _timm(name: str) -> Backbone:
    import timm

    try:
        body: Any = timm.create_model(name, pretrained=False, features_only=True)
    except Exception as error:
        raise UnknownBackbone(f"timm cannot build {name!r} with features: {error}") from error
    config = body.default_cfg if hasattr(body, "default_cfg") else {}
    return _TimmStages(
        body, body.feature_info.channels(), config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD)
    )


def _torchvision(name: str) -> Backbone:
    import torchvision

    try:
        model = torchvision.models.get_model(name, weights=None)
    except ValueError as error:
        raise UnknownBackbone(f"torchvision has no model {name!r}: {error}") from error
    layers = _layers(name, model)
    stages, channels = _split(layers)
    return Backbone(stages, channels, IMAGENET_MEAN, IMAGENET_STD)


def _layers(name: str, model: Any) -> list[nn.Module]:
    features = getattr(model, "features", None)
    if isinstance(features, nn.Sequential):
        return list(features)
    if hasattr(model, "layer4"):
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        return [stem, model.layer1, model.layer2, model.layer3, model.layer4]
    raise UnknownBackbone(f"torchvision's {name!r} has neither `features` nor `layer1..4` to take stages from")


def _split(layers: list[nn.Module]) -> tuple[list[nn.Module], list[int]]:
    """Consecutive layers of one resolution make a stage."""
    groups: list[list[nn.Module]] = []
    channels: list[int] = []
    side = 64
    with torch.inference_mode():
        x = torch.zeros(1, 3, side, side)
        for layer in layers:
            x = layer.eval()(x)
            if not groups or x.shape[2] < side:
                groups.append([])
                channels.append(0)
            groups[-1].append(layer)
            channels[-1], side = x.shape[1], x.shape[2]
    return [nn.Sequential(*group) for group in groups], channels
