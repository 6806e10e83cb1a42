"""The parts of a network that take the time, as OpenVINO graphs made of its weights: no torch is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from packshot.closure import code_digest
from packshot.inference.weights import Source, Weights, part
from packshot.model.architecture import UNSHUFFLE, gram_stages
from packshot.model.lite import LITE_MEAN, LITE_SCALES, LITE_STD, TOGETHER, lite_stages, padding

Node = Any


def is_lite(backbone: str) -> bool:
    """Whether a backbone, or each of those that are joined, is one that can be made here."""
    return all(name in LITE_SCALES for name in backbone.split(TOGETHER))


def lite_feature_graph(source: Source) -> Any:
    """Backbone, stage statistics and Gram vector of a network whose backbone `is_lite`.

    Takes one view, uint8 1 x H x W x 3 RGB, of any size; gives 1 x S and 1 x G, float32.
    """
    pixels = ops.parameter([1, -1, -1, 3], np.uint8, name="pixels")
    values = ops.transpose(ops.convert(pixels, "f32"), _ints(0, 3, 1, 2))
    # (x / 255 - mean) / std, in whole numbers
    entered = ops.divide(ops.subtract(values, _number(255 * LITE_MEAN)), _number(255 * LITE_STD))
    maps: list[Node] = []
    channels: list[int] = []
    names = source.architecture.backbone.split(TOGETHER)
    below = part(source.weights, "backbone")
    for place, name in enumerate(names):
        maps += _stages(name, part(below, f"parts.{place}") if len(names) > 1 else below, entered)
        channels += [row[3] for row in lite_stages(name)]
    gram = ops.concat([_gram(maps[place], channels[place]) for place in gram_stages(channels)], 1)
    return ov.Model([ops.result(_statistics(maps)), ops.result(gram)], [pixels], "features")


def repair_graph(source: Source) -> Any:
    """The enhancer's residual network: uint8 1 x H x W x 3 RGB (even sides) and a modulation, 1 x blocks x 2 x width,
    to what is to be added to pixels of 0..1, 1 x H x W x 3 float32."""
    a, weights = source.architecture, part(source.weights, "enhancer")
    pixels = ops.parameter([1, -1, -1, 3], np.uint8, name="pixels")
    told = ops.parameter([1, a.residual_blocks, 2, a.residual_width], np.float32, name="modulation")
    values = ops.divide(ops.transpose(ops.convert(pixels, "f32"), _ints(0, 3, 1, 2)), _number(255))
    packed = ops.space_to_depth(values, "depth_first", UNSHUFFLE)
    x = _conv(part(weights, "enter"), ops.subtract(packed, _number(0.5)), pads=(1, 1))
    for place in range(a.residual_blocks):
        block = part(weights, f"body.{place}")
        gain, shift = (_modulation(told, place, which, a.residual_width) for which in (0, 1))
        inner = _conv(part(block, "first"), x, pads=(1, 1))
        inner = ops.relu(ops.add(ops.multiply(inner, ops.add(gain, _number(1))), shift))
        x = ops.add(x, _conv(part(block, "second"), inner, pads=(1, 1)))
    change = ops.depth_to_space(_conv(part(weights, "leave"), x, pads=(1, 1)), "depth_first", UNSHUFFLE)
    return ov.Model([ops.result(ops.transpose(change, _ints(0, 2, 3, 1)))], [pixels, told], "repair")


def source_digest() -> str:
    """sha256 hex over the code that the graphs are made of: another code may make another graph of the same weights."""
    return code_digest(__name__)


def _stages(name: str, weights: Weights, x: Node) -> Iterator[Node]:
    for place, (kernel, stride, expansion, _, repeats) in enumerate(lite_stages(name)):
        below = part(weights, f"stages.{place}")
        if place == 0:
            x = _folded(part(below, "0"), x, 3, 2, True)
        for again in range(repeats):
            block = part(below, str(again + (place == 0)))
            x = _inverted_residual(part(block, "layers"), x, kernel, stride if again == 0 else 1, expansion)
        yield x


def _inverted_residual(weights: Weights, x: Node, kernel: int, stride: int, expansion: int) -> Node:
    layers = [(1, 1, True)] if expansion > 1 else []
    layers += [(kernel, stride, True), (1, 1, False)]
    y = x
    for place, (size, step, act) in enumerate(layers):
        y = _folded(part(weights, str(place)), y, size, step, act)
    same = stride == 1 and y.get_output_partial_shape(0)[1] == x.get_output_partial_shape(0)[1]
    return ops.add(x, y) if same else y


def _folded(weights: Weights, x: Node, kernel: int, stride: int, act: bool) -> Node:
    y = _conv(part(weights, "conv"), x, stride, padding(kernel, stride))
    return ops.clamp(y, 0.0, 6.0) if act else y


def _conv(weights: Weights, x: Node, stride: int = 1, pads: tuple[int, int] = (0, 0)) -> Node:
    kernel, bias = weights["weight"], ops.constant(weights["bias"].reshape(1, -1, 1, 1))
    where = ([stride] * 2, [pads[0]] * 2, [pads[1]] * 2, [1, 1])
    depthwise = kernel.shape[1] == 1 and kernel.shape[0] > 1
    if depthwise:
        y = ops.group_convolution(x, ops.constant(kernel[:, :, None]), *where)
    else:
        y = ops.convolution(x, ops.constant(kernel), *where)
    return ops.add(y, bias)


def _statistics(maps: Sequence[Node]) -> Node:
    """Deviations are taken from the mean, since a difference of squares loses the small ones."""
    space, parts = _ints(2, 3), []
    for values in maps:
        mean = ops.reduce_mean(values, space, keep_dims=True)
        away = ops.subtract(values, mean)
        variance = ops.reduce_mean(ops.multiply(away, away), space, keep_dims=True)
        parts += [mean, ops.sqrt(ops.add(variance, _number(1e-10)))]
    return ops.squeeze(ops.concat(parts, 1), _ints(2, 3))


def _gram(values: Node, channels: int) -> Node:
    # pixels x channels, as OpenVINO keeps maps: the other way it would copy them into another layout first
    rows = ops.reshape(ops.transpose(values, _ints(0, 2, 3, 1)), _ints(-1, channels), False)
    count = ops.convert(ops.gather(ops.shape_of(rows, "i64"), _ints(0), _ints(0)), "f32")
    gram = ops.divide(ops.matmul(rows, rows, True, False), count)
    first, second = np.triu_indices(channels)
    upper = ops.gather(
        ops.reshape(gram, _ints(1, -1), False), ops.constant(first * channels + second), ops.constant(np.int64(1))
    )
    rooted = ops.multiply(ops.sign(upper), ops.sqrt(ops.add(ops.abs(upper), _number(1e-12))))
    length = ops.sqrt(ops.reduce_sum(ops.multiply(rooted, rooted), _ints(1), keep_dims=True))
    return ops.divide(rooted, ops.maximum(length, _number(1e-12)))


def _modulation(told: Node, block: int, which: int, width: int) -> Node:
    row = ops.gather(ops.reshape(told, _ints(-1, width), False), _ints(2 * block + which), _ints(0))
    return ops.reshape(row, _ints(1, -1, 1, 1), False)


def _number(value: float) -> Node:
    return ops.constant(np.float32(value))


def _ints(*values: int) -> Node:
    return ops.constant(np.array(values, dtype=np.int64))
