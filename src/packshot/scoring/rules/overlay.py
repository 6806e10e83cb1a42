"""Text, marks and badges laid over the ground of a picture."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from packshot.progress import say
from packshot.scoring.rules.picture import Picture, Standing, quantile
from packshot.scoring.rules.registry import most

if TYPE_CHECKING:
    from packshot.inference.text_spotter import Reading, TextSpotter

LOWEST, TALLEST = 0.012, 0.16
"""Height of a mark as a share of the picture's shorter side."""
LARGEST = 0.02
"""Area of a mark as a share of the picture."""
THICKEST = 0.25
"""Thickness of a line of text as a share of the picture's shorter side: what is thicker is no text but a thing."""
IN_LINE = 0.7
"""Share of a letter, or of letters that touch, that lies in its line of text."""
OF_LINE = 0.4
"""Longer side of a letter over the thickness of its line."""
MOST_READ = 6
"""Lines that are read, the longest first: a page of small parts may have a hundred."""
DIFFERENT = 3
"""Different letters from which on a line is text: alike parts in a row read as one letter many times."""
WHITE_PAGE, PAPER = 254, 0.02
"""Least channel of a pure white page, of 255, and the least share of it between the letters of a line: a white carton
on such a page is a level or two darker."""
CROWDED, SHORT, BESIDE = 4, 2, 0.1
"""Letters in a part as wide as high from which on they are its print; the length of such a line over its thickness, at
most; and the share of what stands in it that may reach out of it, as a product does."""
LEGIBLE = 0.75
"""Mean probability of the letters of a line from which on it is text."""


def letters(picture: Picture) -> float | None:
    """How many letters can be read in lines of text that stand apart from the product.

    In an arrangement of small parts there are none. Without the networks that read, the marks are the answer.
    """
    spotter = text_spotter()
    standing = picture.standing
    if spotter is None or standing is None:
        return overlay(picture)
    scale = picture.plan.shape[1] / picture.view.shape[1]
    lines = [line for line in spotter.lines(picture.view) if _stands_apart(line * scale, standing)]
    lines = [line for line in lines if not _printed(line, picture)]
    lines.sort(key=lambda line: _sides(line)[1] / max(_sides(line)[0], 1), reverse=True)
    read = [(line, spotter.read(picture.view, line)) for line in lines[:MOST_READ]]
    text = [(line, reading.letters) for line, reading in read if _is_text(reading)]
    return float(sum(count for line, count in text if not _on_one_part(line * scale, count, standing)))


@most(
    "overlay",
    "{value:.0f} letters or marks lie over the ground; upload the picture without text, logo or watermark.",
    second_look=letters,
    unit="letters or marks",
    unmeasured="the picture has no plain ground",
)
def overlay(picture: Picture) -> float | None:
    """Letter-sized marks that stand apart from the product on a plain ground.

    Print on the product is its own; so what is laid over the product alone is not told, nor anything without a ground.
    """
    standing = picture.standing
    if standing is None:
        return None
    boxes = standing.boxes[_marks(standing, picture)]
    # letters that touch are one part, as wide as they are many
    return float(np.maximum(1, np.rint(boxes[:, 2] / boxes[:, 3])).sum())


@cache
def text_spotter() -> TextSpotter | None:
    """The networks that find and read text; None where they are missing, which is said once."""
    from packshot.inference.text_spotter import TextSpotterMissing, load_text_spotter

    try:
        return load_text_spotter()
    except TextSpotterMissing as error:
        say(f"the rule `overlay` takes small parts for letters, since nothing here can read: {error}")
        return None


def _marks(standing: Standing, picture: Picture) -> NDArray[np.intp]:
    """Places, among the parts, of those as small as letters; the largest part is the product."""
    side = min(picture.plan.shape[:2])
    height, area = standing.boxes[:, 3], standing.boxes[:, 4]
    sized = (height >= max(LOWEST * side, 3)) & (height <= TALLEST * side)
    sized &= (area >= 4) & (area <= LARGEST * picture.plan_grey.size)
    sized[:1] = False
    return np.flatnonzero(sized)


def _sides(line: NDArray[np.float32]) -> tuple[float, float]:
    """Thickness and length of a line of text, from its corners."""
    first, second = (float(np.linalg.norm(line[place] - line[place + 1])) for place in (0, 1))
    return min(first, second), max(first, second)


def _pixels_in(line: NDArray[np.float32], standing: Standing) -> NDArray[np.intp]:
    """How many pixels of each part lie in a line of text, given by its corners at PLAN."""
    inside = np.zeros(standing.labels.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.rint(line).astype(np.int32), (1,))
    return np.bincount(standing.labels[inside > 0], minlength=len(standing.order) + 1)[standing.order]


def _stands_apart(line: NDArray[np.float32], standing: Standing) -> bool:
    """Whether a line of text, given by its corners at PLAN, holds a part whole that is as large as its letters."""
    thick, _ = _sides(line)
    if thick > THICKEST * min(standing.labels.shape):
        return False
    whole = _pixels_in(line, standing) >= IN_LINE * standing.boxes[:, 4]
    whole &= standing.boxes[:, 2:4].max(axis=1) >= OF_LINE * thick
    return bool(whole[1:].any())  # the largest part is the product


def _on_one_part(line: NDArray[np.float32], letters: int, standing: Standing) -> bool:
    """Whether so many letters are the print of small parts: letters that touch are one part, but a wide one."""
    pixels = _pixels_in(line, standing)
    whole = pixels >= IN_LINE * standing.boxes[:, 4]
    thick, length = _sides(line)
    beside = pixels[~whole].sum() > BESIDE * pixels.sum()
    wide = (standing.boxes[whole, 2] / standing.boxes[whole, 3]).sum()
    return bool(length < SHORT * thick and not beside and letters > CROWDED * wide)


def _printed(line: NDArray[np.float32], picture: Picture) -> bool:
    """Whether a line of text, given by its corners at VIEW, stands on something else than the pure white around it."""
    if picture.ground is None or picture.ground.colour.min() < WHITE_PAGE:
        return False
    inside = np.zeros(picture.lowest.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.rint(line).astype(np.int32), (1,))
    return quantile(picture.lowest, 1 - PAPER, inside > 0) < WHITE_PAGE


def _is_text(reading: Reading) -> bool:
    return reading.different >= DIFFERENT and reading.probability >= LEGIBLE
