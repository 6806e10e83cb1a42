"""The rule `laid_over`, with the network that comes with the package."""

import cv2
import numpy as np
import pytest

from packshot.config import load_settings
from packshot.home import project_root
from packshot.scoring.rules import RULES, Picture, findings, measure

RULE = "laid_over"


def photograph(seed: int = 0) -> np.ndarray:
    """Soft shapes under uneven light, as out of focus."""
    random = np.random.default_rng(seed)
    plane = cv2.resize(random.integers(60, 190, (9, 12, 3), dtype=np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    noise = random.normal(0, 3, plane.shape)
    return np.clip(plane + noise, 0, 255).astype(np.uint8)


def with_text(image: np.ndarray, text: str, at: tuple[int, int], scale: float = 2.0) -> np.ndarray:
    return np.asarray(cv2.putText(image.copy(), text, at, cv2.FONT_HERSHEY_DUPLEX, scale, (255,) * 3, 4, cv2.LINE_AA))


def value(image: np.ndarray) -> float:
    found = RULES[RULE].value(Picture(image), 0.5)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_photograph_has_nothing_laid_over_it_and_the_same_with_an_address_has(seed: int) -> None:
    image = photograph(seed)
    assert value(image) < 0.5
    assert value(with_text(image, "www.shop.com", (90, 260))) > 0.99


def test_the_finding_says_where_the_text_is() -> None:
    profile = load_settings(project_root() / "params.yaml").scoring.profiles["own"]
    asked = {RULE: profile[RULE]}
    picture = Picture(with_text(photograph(), "SALE -50%", (20, 60)))
    (found,) = findings(measure(picture, asked), asked, picture)
    assert found.rule == RULE and found.effect == "review" and found.where is not None
    left, top, right, bottom = found.where
    assert 0 <= left < 0.1 and 0 <= top < 0.1 and 0.4 < right < 0.75 and 0.1 < bottom < 0.3


def test_without_the_picture_a_finding_says_nothing_of_where() -> None:
    profile = load_settings(project_root() / "params.yaml").scoring.profiles["own"]
    (found,) = findings({RULE: 0.99}, {RULE: profile[RULE]})
    assert found.where is None and found.sentence.startswith("Something is laid over the picture")


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 900, 3), (5, 3, 3), (2000, 40, 3)])
def test_any_shape_has_a_probability(shape: tuple[int, int, int]) -> None:
    assert 0 <= value(np.full(shape, 128, np.uint8)) <= 1
