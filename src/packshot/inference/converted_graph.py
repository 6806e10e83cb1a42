"""Backbones of other libraries as OpenVINO graphs, converted by torch; those of `lite_graph` are made without it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from openvino.frontend.pytorch import ConversionExtension
from torch import nn

from packshot.model.backbone import Backbone
from packshot.model.statistics import gram_vector

EXAMPLE = (96, 64)
"""Height and width of the picture that conversion follows through the network; the graph takes any other."""


class _Described(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.backbone(pixels.permute(0, 3, 1, 2).float().div(255.0))
        # pixels x channels, as OpenVINO keeps maps: the other way it would copy them into another layout first
        rows = [values.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)[..., None] for values in maps]
        return _stage_statistics(maps), gram_vector(rows)


def feature_graph(backbone: Backbone) -> Any:
    """Backbone, stage statistics and Gram vector.

    Takes one view, uint8 1 x H x W x 3 RGB, of any size; gives 1 x S and 1 x G, float32.
    """
    example = torch.zeros(1, *EXAMPLE, 3, dtype=torch.uint8)
    return converted(_Described(backbone), (example,), [ov.PartialShape([1, -1, -1, 3])])


def _stage_statistics(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """As `packshot.model.statistics.stage_statistics`, without flattening: OpenVINO would first copy every map into
    another layout. Deviations are taken from the mean, since a difference of squares loses the small ones."""
    parts = []
    for values in maps:
        mean = values.mean(dim=(2, 3), keepdim=True)
        away = values - mean
        parts += [mean.flatten(1), ((away * away).mean(dim=(2, 3)) + 1e-10).sqrt()]
    return torch.cat(parts, dim=1)


def converted(module: nn.Module, example: tuple[torch.Tensor, ...], shapes: list[Any]) -> Any:
    """The graph of a module of tensors, for inputs of these shapes (-1: any size)."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing says of every Python number that it becomes a constant
        return ov.convert_model(
            module.eval(),
            example_input=example if len(example) > 1 else example[0],
            input=shapes,
            extension=[ConversionExtension("aten::triu_indices", _upper_triangle)],
        )


def _upper_triangle(context: Any) -> list[Any]:
    """`torch.triu_indices` of a square: OpenVINO has no rule for it."""
    zero, one = (ops.constant(value, dtype=np.int64) for value in (0, 1))
    places = ops.range(zero, ops.convert(context.get_input(0), "i64"), one, "i64")
    upper = ops.less_equal(ops.unsqueeze(places, one), ops.unsqueeze(places, zero))
    return cast(list[Any], ops.non_zero(upper, "i64").outputs())
