"""Where something is laid over a picture: a network of 70,000 weights that `packshot.training.overlay_network` makes.

It looks at one page of SIDE x SIDE pixels and gives a map of a quarter of that. The weights come with the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from packshot.inference.looking import Requests
from packshot.inference.weights import Weights, part, read_weights

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Node = Any

WEIGHTS = Path(__file__).parent / "overlay_spotter.safetensors"
SIDE = 320
"""Side of the page, in pixels."""
STRIDE = 4
"""Pixels of the page to one of the map."""
SPOT = 24
"""Places of the map, the surest, that the picture is judged by: about a word in a corner."""
DILATIONS = {"fine": (1, 1, 1), "coarse": (1, 1, 2, 4, 2, 1)}
"""Of the blocks at a quarter and at an eighth of the page; the first of each halves."""
DECIDED = 0.0
"""Logit of a place from which on something lies there."""


@dataclass(frozen=True)
class Spotted:
    """What was seen: the probability that something is laid over the picture, 0..1, and where, as shares of width and
    height (left, top, right, bottom)."""

    probability: float
    box: tuple[float, float, float, float]


class OverlaySpotter:
    """Several threads may ask, each computes on its own core."""

    def __init__(self, weights: Weights, threads: int = 0) -> None:
        """`weights` by name, BatchNorm folded in; `calibration`: slope and offset from SPOT's mean logit."""
        self._slope, self._offset = (float(value) for value in weights["calibration"])
        self._weights, self._threads = weights, threads

    @cached_property
    def _requests(self) -> Requests:
        return Requests(graph(self._weights), "f32", self._threads)

    def spot(self, image: Pixels) -> Spotted:
        """What is laid over a picture, H x W x 3 uint8 RGB."""
        page, height, width = on_page(image)
        with self._requests.one() as request:
            logits = request(page[None])[0][0]
        seen = logits[: -(-height // STRIDE), : -(-width // STRIDE)]
        value = self._slope * surest(seen) + self._offset
        return Spotted(float(1 / (1 + np.exp(-value))), _box(seen, height, width))


def load_overlay_spotter(path: Path = WEIGHTS, threads: int = 1) -> OverlaySpotter:
    """Raises WeightsUnreadable where the file is missing or damaged."""
    return OverlaySpotter(read_weights(path), threads)


def on_page(image: Pixels) -> tuple[Pixels, int, int]:
    """The picture in the upper left of a page, at most as large as that, the rest in the colour of its last row; and
    height and width that it takes there."""
    scale = min(1.0, SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    page = np.empty((SIDE, SIDE, 3), np.uint8)
    page[:] = np.median(image[-1], axis=0)
    page[: size[1], : size[0]] = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return page, size[1], size[0]


def surest(logits: Floats) -> float:
    """Mean of the SPOT largest logits of a map."""
    flat = logits.ravel()
    return float(np.partition(flat, -SPOT)[-SPOT:].mean()) if flat.size > SPOT else float(flat.mean())


def graph(weights: Mapping[str, Floats]) -> Any:
    """Pages, uint8 1 x H x W x 3 RGB, to logits, float32 1 x H/4 x W/4."""
    pixels = ops.parameter([1, -1, -1, 3], np.uint8, name="pixels")
    values = ops.transpose(ops.convert(pixels, "f32"), _ints(0, 3, 1, 2))
    x = ops.subtract(ops.divide(values, _number(127.5)), _number(1))
    x = ops.relu(_conv(part(weights, "stem"), x, 2))
    fine = _blocks(weights, "fine", x)
    coarse = _blocks(weights, "coarse", fine)
    context = ops.reduce_mean(coarse, _ints(2, 3), keep_dims=True)
    coarse = ops.multiply(coarse, ops.sigmoid(_conv(part(weights, "context"), context)))
    raised = ops.interpolate(
        _conv(part(weights, "raise"), coarse),
        ops.constant(np.array([2.0, 2.0], np.float32)),
        "nearest",
        "scales",
        axes=_ints(2, 3),
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    mixed = _block(part(weights, "mix"), ops.relu(ops.add(fine, raised)), 1, 1)
    logits = ops.squeeze(_conv(part(weights, "tell"), mixed), _ints(1))
    return ov.Model([ops.result(logits)], [pixels], "overlay")


def _box(logits: Floats, height: int, width: int) -> tuple[float, float, float, float]:
    """Around the places where something lies, at least the surest."""
    rows, columns = np.nonzero(logits >= min(DECIDED, float(logits.max())))
    edges = columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height
    left, top, right, bottom = (round(min(1.0, STRIDE * float(edge)), 4) for edge in edges)
    return left, top, right, bottom


def _blocks(weights: Mapping[str, Floats], name: str, x: Node) -> Node:
    for place, dilation in enumerate(DILATIONS[name]):
        x = _block(part(weights, f"{name}.{place}"), x, 1 if place else 2, dilation)
    return x


def _block(weights: Weights, x: Node, stride: int, dilation: int) -> Node:
    y = ops.relu(_conv(part(weights, "depthwise"), x, stride, dilation))
    y = _conv(part(weights, "pointwise"), y)
    same = stride == 1 and x.get_output_partial_shape(0)[1] == y.get_output_partial_shape(0)[1]
    return ops.relu(ops.add(x, y) if same else y)


def _conv(weights: Weights, x: Node, stride: int = 1, dilation: int = 1) -> Node:
    kernel, bias = weights["weight"], ops.constant(weights["bias"].reshape(1, -1, 1, 1))
    around = dilation * (kernel.shape[-1] // 2)
    where = ([stride] * 2, [around] * 2, [around] * 2, [dilation] * 2)
    if kernel.shape[1] == 1 and kernel.shape[0] > 1:
        return ops.add(ops.group_convolution(x, ops.constant(kernel[:, :, None]), *where), bias)
    return ops.add(ops.convolution(x, ops.constant(kernel), *where), bias)


def _number(value: float) -> Node:
    return ops.constant(np.float32(value))


def _ints(*values: int) -> Node:
    return ops.constant(np.array(values, dtype=np.int64))
