"""A frame drawn around the picture, or bars beside it; and a frame that may be the product's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from packshot.model.ground import WHITE_FROM
from packshot.scoring.rules.picture import ALIKE, Picture, Pixels
from packshot.scoring.rules.registry import most

DEEPEST = 0.2
"""A frame is looked for in this share of the picture from each side."""
STEP = 12
"""Least change, of 255, across the inner edge of a frame."""
WHOLE = 0.9
"""Share of the inner edge that has to change."""
EVEN = 0.9
"""Share of every line of a frame that has one colour, within STEP."""
MARGIN = 0.012
"""Share of the shorter side: what begins further in stands in the picture, as a screen does on white."""
LINE = 2
"""Lines of PLAN: what is no thicker was drawn, and is no moulding or bezel."""
GROUND_FROM = 225
"""Luma from which on an even band is the ground of a box rather than a frame."""
LIGHT_FROM = 200
"""Least luma of a page that a product stands on."""
PAGE = 0.7
"""Share of the line along the inside of a frame that has one colour where a page begins there."""
ONE = 0.5
"""Share of the page's width or height, and of all that stands on it, that is the product of a packshot."""
SQUARE = 0.95
"""Share of its box that a rectangle fills."""
CENTRED = 0.7
"""The narrowest margin of a mount over its widest."""


@dataclass(frozen=True)
class Side:
    """What runs along one side of a picture, in lines of PLAN.

    `even`: how many lines are of the colour of the first. `band`: where an even band that is not all white ends in a
    straight edge, from the side; None without one. Of the band: `outside`, how many lines of it are white before
    another colour comes; `level`, its luma; `page`, whether a light, even page begins where it ends.
    """

    even: int
    band: int | None = None
    outside: int = 0
    level: int = 255
    page: bool = False

    @property
    def drawn(self) -> bool:
        return self.band is not None and self.band - self.outside <= LINE


@most("border", "A frame or a bar runs along the edge of the picture; upload the picture without it.", unit="sides")
def border(picture: Picture) -> float:
    """How many of the four sides carry an even band that ends in one straight edge and was surely added, 0..4.

    A white band is not one: it cannot be told from the ground of a box. See `framed` for what may be the product.
    """
    sides = picture.once(around)
    return 0.0 if _may_be_the_product(picture, sides) else float(len(sides))


@most(
    "framed",
    "The picture ends in a frame. If that is not part of the product (a framed print, a screen), upload the picture "
    "without it.",
    unit="sides",
)
def framed(picture: Picture) -> float:
    """How many sides carry a frame that may belong to a framed print or a screen which fills the picture, 0..4."""
    sides = picture.once(around)
    flush = [side for side in sides if not _stands_in(side, picture)]
    return float(len(flush)) if _may_be_the_product(picture, sides) else 0.0


def sides_of(picture: Picture) -> list[Side]:
    """Top, bottom, left, right."""
    grey = picture.plan_grey
    return [_side(lines) for lines in (grey, grey[::-1], grey.T, grey.T[::-1])]


def around(picture: Picture) -> list[Side]:
    """The sides with a band around the picture: no part of what stands in it, nor the ground that a box stands on."""
    sides = picture.once(sides_of)
    banded = [side for side in sides if side.band is not None and (side.page or not _stands_in(side, picture))]
    if len(banded) < 3:  # a frame drawn further in runs around
        banded = [side for side in banded if not _stands_in(side, picture)]
    return [] if _is_ground(picture, sides, banded) else banded


def _stands_in(side: Side, picture: Picture) -> bool:
    return side.outside > MARGIN * float(min(picture.plan_grey.shape))


def _is_ground(picture: Picture, sides: Sequence[Side], banded: Sequence[Side]) -> bool:
    """Whether bands are but the room around a rectangular thing: near white, or wider beside it than above it."""
    if not banded or 2 * sum(side.page for side in banded) >= len(banded) or not _closed(picture):
        return False
    wide = [side.even if side.band is None else side.band for side in sides]
    return banded[0].level >= GROUND_FROM or max(wide) - min(wide) > LINE


def _closed(picture: Picture) -> bool:
    """Whether one colour runs all around; bars leave two sides to the picture."""
    grey = picture.plan_grey
    rims = (grey[0], grey[-1], grey[:, 0], grey[:, -1])
    level = int(np.median(np.concatenate(rims)))
    return min(float(_alike(rim, level).mean()) for rim in rims) >= EVEN


def _may_be_the_product(picture: Picture, sides: Sequence[Side]) -> bool:
    """Whether a frame may be that of a print or a screen: it is no bar, no thin line, and no packshot stands in it."""
    if all(side.drawn for side in sides) or not (len(sides) >= 3 or _closed(picture)):
        return False
    return 2 * sum(side.page for side in sides) < len(sides) or not _packshot_within(picture)


def _packshot_within(picture: Picture) -> bool:
    """Whether one product stands on the page inside a frame; a print in a mount is none."""
    top, bottom, left, right = (side.band or 0 for side in picture.once(sides_of))
    height, width = picture.plan_grey.shape
    page = Picture(np.ascontiguousarray(picture.plan[top + 2 : height - bottom - 2, left + 2 : width - right - 2]))
    parts = page.parts
    if parts is None or not len(parts):
        return False
    x, y, across, down, area = (int(value) for value in parts[0])
    large = max(across / page.width, down / page.height) >= ONE and area >= ONE * parts[:, 4].sum()
    margins = (x, y, page.width - x - across, page.height - y - down)
    mounted = area >= SQUARE * across * down and min(margins) >= CENTRED * max(margins)
    return bool(large and not mounted)


def _side(lines: Pixels) -> Side:
    """What the first lines of a picture are."""
    count, length = lines.shape[:2]
    deepest = min(int(DEEPEST * count), (length - 1) // 2)
    if deepest < 1 or count < deepest + 3:
        return Side(0)
    near = np.ascontiguousarray(lines[: deepest + 3])
    middle = np.repeat(near[:, length // 2, None], length, axis=1)
    even = np.logical_and.accumulate((cv2.absdiff(near, middle) <= STEP).mean(axis=1) >= EVEN)
    alike = int(np.logical_and.accumulate(_alike(near, int(near[0, length // 2])).mean(axis=1) >= EVEN).sum())
    depth = np.arange(1, deepest + 1)
    # an edge that was scaled takes two lines
    changed = _step(near, 1)[:-2] | _step(near, 2)[:-1]
    passed = np.cumsum(np.pad(changed, ((0, 0), (1, 0))), axis=1, dtype=np.int32)
    inside = passed[depth - 1, length - depth] - passed[depth - 1, depth]
    edge = inside >= WHOLE * (length - 2 * depth)
    white = near[:, length // 2] >= WHITE_FROM
    ends = depth[edge & (even & ~white)[depth - 1]]
    if not len(ends):
        return Side(alike)
    end = int(ends[-1])
    outside = int(np.logical_and.accumulate(white).sum())
    return Side(alike, end, outside, int(near[end - 1, length // 2]), _page_begins(near[end + 2, end : length - end]))


def _page_begins(line: Pixels) -> bool:
    colour = int(np.median(line)) if line.size else 0
    return colour >= LIGHT_FROM and float((np.abs(line.astype(np.int16) - colour) <= ALIKE).mean()) >= PAGE


def _alike(lines: Pixels, level: int) -> NDArray[np.bool_]:
    return np.asarray(np.abs(lines.astype(np.int16) - level) <= STEP)


def _step(near: Pixels, over: int) -> NDArray[np.bool_]:
    return np.asarray(cv2.absdiff(near[over:], near[:-over]) > STEP)
