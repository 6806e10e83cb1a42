"""One picture for all rules: what several of them look at is derived once, at a size that bounds its cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from packshot.catalog.statistics import shrink

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
T = TypeVar("T")

VIEW = 640
"""Longest side, in pixels, of what light, colour, focus and noise are measured on: about what a shop's page shows."""
PLAN = 320
"""Longest side, in pixels, of what ground and product are told apart on."""
ALIKE = 10
"""A pixel of the ground differs from the ground's colour by at most this in each channel, of 255."""
PLAIN_FROM = 0.5
"""Share of the border that looks alike, from which on there is a plain ground."""


@dataclass(frozen=True)
class Ground:
    """The plain ground of a picture, at PLAN.

    `colour`: RGB. `mask`: H x W, where it is and reaches the border.
    """

    colour: Pixels
    mask: Mask


@dataclass(frozen=True)
class Standing:
    """The parts that stand on a plain ground, at PLAN, the largest first.

    `labels`: H x W, the label of the part that each pixel belongs to. `order`: the label of each part, N. `boxes`: x,
    y, width, height and area of each, N x 5.
    """

    labels: NDArray[np.int32]
    order: NDArray[np.intp]
    boxes: NDArray[np.int32]


@dataclass(frozen=True)
class Picture:
    """A decoded picture (H x W x 3 uint8 RGB), and of the file, where there is one, its format and size in bytes."""

    pixels: Pixels
    format: str | None = None
    file_bytes: int | None = None

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @cached_property
    def _noted(self) -> dict[Any, Any]:
        return {}

    def once(self, look: Callable[[Picture], T]) -> T:
        """What `look` says of the picture, asked the first time only: several rules may want it."""
        if look not in self._noted:
            self._noted[look] = look(self)
        found: T = self._noted[look]
        return found

    @cached_property
    def view(self) -> Pixels:
        """The picture itself, or a copy of at most VIEW."""
        return np.ascontiguousarray(shrink(self.pixels, VIEW))

    @cached_property
    def grey(self) -> Pixels:
        """Luma of `view`."""
        return np.asarray(cv2.cvtColor(self.view, cv2.COLOR_RGB2GRAY), np.uint8)

    @cached_property
    def plan(self) -> Pixels:
        """The picture itself, or a copy of at most PLAN."""
        return np.ascontiguousarray(shrink(self.view, PLAN))

    def at_least(self, side: int) -> Pixels:
        """The smallest form of the picture there is whose longest side has `side` pixels, or all that it has."""
        return next((each for each in (self.plan, self.view) if max(each.shape[:2]) >= side), self.pixels)

    @cached_property
    def plan_grey(self) -> Pixels:
        """Luma of `plan`."""
        return np.asarray(cv2.cvtColor(self.plan, cv2.COLOR_RGB2GRAY), np.uint8)

    @cached_property
    def lowest(self) -> Pixels:
        """The smallest channel of each pixel of `view`, H x W."""
        red, green, blue = cv2.split(self.view)
        return np.asarray(cv2.min(cv2.min(red, green), blue), np.uint8)

    @cached_property
    def highest(self) -> Pixels:
        """The largest channel of each pixel of `view`, H x W."""
        red, green, blue = cv2.split(self.view)
        return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)

    @cached_property
    def ground(self) -> Ground | None:
        """The plain ground; None where the border is not of one colour."""
        rim = np.concatenate([self.plan[0], self.plan[-1], self.plan[:, 0], self.plan[:, -1]])
        colour = np.median(rim, axis=0).astype(np.uint8)
        plain = float((cv2.absdiff(rim, np.broadcast_to(colour, rim.shape).copy()).max(axis=1) <= ALIKE).mean())
        if plain < PLAIN_FROM:
            return None
        low, high = (np.clip(colour.astype(np.int16) + step, 0, 255).astype(np.uint8) for step in (-ALIKE, ALIKE))
        alike = np.minimum(cv2.inRange(self.plan, low, high), 1)
        framed = cv2.copyMakeBorder(alike, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
        cv2.floodFill(framed, None, (0, 0), 2)
        return Ground(colour, framed[1:-1, 1:-1] == 2)

    @cached_property
    def standing(self) -> Standing | None:
        """What stands on a plain ground. Specks are joined to what they are next to. None without such a ground."""
        if self.ground is None:
            return None
        mask = cv2.morphologyEx((~self.ground.mask).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        order = 1 + np.argsort(-boxes[1:, cv2.CC_STAT_AREA], kind="stable")
        return Standing(np.asarray(labels, np.int32), np.asarray(order), np.asarray(boxes[order], np.int32))

    @property
    def parts(self) -> NDArray[np.int32] | None:
        """The boxes of `standing`."""
        return None if self.standing is None else self.standing.boxes

    @cached_property
    def product(self) -> Mask:
        """H x W of `view`: all but the plain ground; the whole picture where it has none, or nothing stands on it."""
        size = (self.view.shape[1], self.view.shape[0])
        if self.ground is None or self.ground.mask.all():
            return np.ones(size[::-1], bool)
        return np.asarray(cv2.resize((~self.ground.mask).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0)


def quantile(plane: Pixels, share: float, where: Mask | None = None) -> int:
    """The least level, 0..255, that at least `share` of a plane (of its pixels in `where`) does not exceed."""
    mask = None if where is None else where.astype(np.uint8)
    counts = np.cumsum(cv2.calcHist([plane], [0], mask, [256], [0, 256]))
    return int(np.searchsorted(counts, share * counts[-1]))
