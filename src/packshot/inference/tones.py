"""Enhancing a picture tile by tile: what is repaired, and the curves and tables its tones go through, in numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from packshot.inference.weights import Floats
from packshot.model.architecture import TILE
from packshot.model.preprocess import Image

Change = Callable[[Image, Floats], Floats]
"""What is to be added to a tile (uint8 h x w x 3 RGB) of 0..1, under a modulation 1 x blocks x 2 x width: h x w x 3."""


@dataclass(frozen=True)
class Codes:
    """What the trunk says about one image. Shapes: 3 x (points + 1); count; 1 x blocks x 2 x width."""

    curves: Floats
    mixture: Floats
    modulation: Floats

    def without_tones(self) -> Self:
        """Codes that leave all tones as they are."""
        return replace(self, curves=np.zeros_like(self.curves), mixture=np.zeros_like(self.mixture))


class Tones:
    """Curves and a 3D table for one image: `curves` 3 x (points + 1), `table` 3 x size x size x size (blue, green,
    red), both of what is to be added. Linear between their points."""

    def __init__(self, curves: Floats, table: Floats) -> None:
        self._curves = curves
        self._size = table.shape[-1]
        values = np.moveaxis(table, 0, -1)
        # neighbours in red side by side: half as many places to look up
        both = np.concatenate([values[:, :, :-1], values[:, :, 1:]], axis=-1)
        self._pairs = np.ascontiguousarray(both.reshape(-1, 6))
        self._idle = not curves.any() and not table.any()

    def apply(self, pixels: Floats) -> Floats:
        """h x w x 3 in 0..1, or a little beyond, to the same shape, unclamped."""
        if self._idle:
            return pixels
        curved = self._curved(pixels)
        result: Floats = curved + self._looked_up(curved)
        return result

    def _curved(self, pixels: Floats) -> Floats:
        points = self._curves.shape[1] - 1
        place = np.clip(pixels, 0, 1) * np.float32(points)
        knot = np.minimum(place, points - 1).astype(np.int32)
        share = place - knot.astype(np.float32)
        result = np.empty_like(pixels)
        for channel, curve in enumerate(self._curves):
            low, along = curve[knot[..., channel]], share[..., channel]
            result[..., channel] = pixels[..., channel] + low + along * (curve[knot[..., channel] + 1] - low)
        return result

    def _looked_up(self, pixels: Floats) -> Floats:
        size = self._size
        place = np.clip(pixels, 0, 1) * np.float32(size - 1)
        cell = np.minimum(place, size - 2).astype(np.int32)
        red, green, blue = np.moveaxis(place - cell.astype(np.float32), -1, 0)
        first = (cell[..., 2] * size + cell[..., 1]) * (size - 1) + cell[..., 0]
        rows = [self._between(first + above, red) for above in (0, size - 1)]
        planes = [rows[0] + green[..., None] * (rows[1] - rows[0])]
        deeper = size * (size - 1)
        rows = [self._between(first + deeper + above, red) for above in (0, size - 1)]
        planes.append(rows[0] + green[..., None] * (rows[1] - rows[0]))
        result: Floats = planes[0] + blue[..., None] * (planes[1] - planes[0])
        return result

    def _between(self, place: np.ndarray, share: Floats) -> Floats:
        low, high = np.split(self._pairs.take(place, axis=0), 2, axis=-1)
        return np.asarray(low + share[..., None] * (high - low), dtype=np.float32)


def enhance_tiled(
    image: Image, tones: Tones, modulation: Floats, change: Change | None = None, reach: int = 0, tile: int = TILE
) -> Image:
    """An image, uint8 H x W x 3 RGB, repaired by `change` where there is one, and toned; the same shape.

    Tiles overlap by `reach`, the receptive field, so that they leave no seams; memory is bounded by one of them. A
    pixel that is not finite after the network keeps its input.
    """
    height, width = image.shape[:2]
    result = np.empty_like(image)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            upper, first = max(0, top - reach), max(0, left - reach)
            part = np.ascontiguousarray(image[upper : top + tile + reach, first : left + tile + reach])
            source = part.astype(np.float32) / np.float32(255)
            repaired = source if change is None else source + change(part, modulation)
            done = tones.apply(repaired)
            done = np.clip(np.where(np.isfinite(done), done, source), 0, 1)
            inner = done[top - upper : top - upper + tile, left - first : left - first + tile]
            result[top : top + tile, left : left + tile] = np.rint(inner * 255).astype(np.uint8)
    return result
