"""A strip with words across the picture is told from bars, frames and things of one colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from packshot.config import load_settings
from packshot.home import project_root
from packshot.scoring.rules import Picture, findings, measure
from packshot.scoring.rules import banner as module
from packshot.scoring.rules.picture import ALIKE


def photograph() -> np.ndarray:
    """Coarse noise: nothing in it is even or straight."""
    coarse = np.random.default_rng(7).integers(90, 255, (60, 80, 3), dtype=np.uint8)
    return cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)


def packshot() -> np.ndarray:
    """A round product on white."""
    page = np.full((480, 640, 3), 255, np.uint8)
    cv2.circle(page, (320, 190), 160, (160, 70, 40), -1, cv2.LINE_AA)
    return page


def strip(image: np.ndarray, first: int, end: int, words: str, aside: int = 0) -> np.ndarray:
    laid = image.copy()
    laid[first:end, aside : laid.shape[1] - aside] = (30, 40, 120)
    place = (110, (first + end) // 2 + 20)
    return cv2.putText(laid, words, place, cv2.FONT_HERSHEY_SIMPLEX, 1.7, (250, 250, 250), 5, cv2.LINE_AA)


def strips_found(image: np.ndarray) -> dict[str, float]:
    bounds = {"banner": load_settings(project_root() / "params.yaml").scoring.profiles["amazon-main"]["banner"]}
    return {one.rule: one.value for one in findings(measure(Picture(np.ascontiguousarray(image)), bounds), bounds)}


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(strip(photograph(), 200, 280, "NEW -50 % SALE"), id="over a photograph"),
        pytest.param(strip(photograph(), 0, 80, "NEW -50 % SALE"), id="along the top"),
        pytest.param(strip(photograph(), 400, 480, "NEW -50 % SALE"), id="along the bottom"),
        pytest.param(strip(packshot(), 380, 460, "NEW -50 % SALE", 32), id="below a product"),
        pytest.param(strip(photograph(), 200, 280, "NEW -50 % SALE").transpose(1, 0, 2), id="running down"),
    ],
)
def test_strip_with_words_is_found(image: np.ndarray) -> None:
    assert strips_found(image) == {"banner": 1.0}


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(photograph(), id="a photograph"),
        pytest.param(packshot(), id="a packshot"),
        pytest.param(strip(photograph(), 200, 280, ""), id="a plank without words"),
        pytest.param(strip(photograph(), 100, 380, "NEW -50 % SALE"), id="a thing as thick as half of the picture"),
        pytest.param(strip(packshot(), 380, 460, "NEW -50 % SALE", 90), id="a label shorter than the picture"),
        pytest.param(strip(np.full((480, 640, 3), (30, 40, 120), np.uint8), 200, 280, "SALE"), id="words on a ground"),
    ],
)
def test_what_is_no_strip_is_not_found(image: np.ndarray) -> None:
    assert strips_found(image) == {}


def test_a_line_is_compared_with_its_first_pixel_in_every_channel() -> None:
    random = np.random.default_rng(2)
    lines = np.repeat(random.integers(0, 256, (50, 1, 3)), 80, axis=1) + random.integers(-14, 15, (50, 80, 3))
    lines = lines.clip(0, 255).astype(np.uint8)
    apart = np.abs(lines.astype(int) - lines[:, :1]).max(axis=2)
    assert module._own(lines) == pytest.approx((apart <= ALIKE).mean(axis=1), abs=1e-12)
    assert module._own(lines[:0]).shape == (0,)
