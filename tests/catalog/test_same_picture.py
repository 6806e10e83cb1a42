"""One answer to whether two files show the same picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from packshot.catalog.near_duplicates import signature
from packshot.catalog.same_picture import FAR_APART, difference, look_of, perceptual_hash, same_picture


def product(seed: int = 0, height: int = 480, width: int = 360) -> np.ndarray:
    """A jar with a label on white."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 250, np.uint8)
    x, y = (width // 4 + int(random.integers(-20, 20)), height // 5)
    colour = random.integers(30, 200, 3).tolist()
    cv2.rectangle(image, (x, y), (x + width // 2, y + height // 2), colour, -1)
    cv2.ellipse(image, (x + width // 4, y), (width // 4, height // 12), 0, 0, 360, [c // 2 for c in colour], -1)
    cv2.rectangle(image, (x + 20, y + 60), (x + width // 2 - 20, y + 150), (240, 240, 230), -1)
    cv2.putText(image, f"No {seed}", (x + 30, y + 110), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (20, 20, 20), 2)
    return image


def coded(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


COPIES = {
    "coded": lambda image: coded(image, 40),
    "half": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "twice": lambda image: cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "cropped": lambda image: np.ascontiguousarray(image[18:-10, 5:-16]),
    "cropped and coded": lambda image: coded(np.ascontiguousarray(image[4:-20, 15:-2]), 60),
}
VARIANTS = {
    "colour": lambda image: np.ascontiguousarray(image[..., [2, 0, 1]]),
    "shade": lambda image: (image * 0.75).astype(np.uint8),
    "volume": lambda image: cv2.putText(
        image.copy(), "500", (130, 240), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (20, 20, 20), 2
    ),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "another": lambda image: product(7),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_shows_the_same_picture(kind: str) -> None:
    one, other = look_of(product()), look_of(COPIES[kind](product()))
    assert same_picture(one, other) and same_picture(other, one)


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_variant_shows_another_picture(kind: str) -> None:
    assert not same_picture(look_of(product()), look_of(VARIANTS[kind](product())))


def test_a_smaller_copy_of_the_pixels_has_the_look_of_the_whole() -> None:
    image = product(3, 1600, 1200)
    small = cv2.resize(image, (240, 320), interpolation=cv2.INTER_AREA)
    assert difference(look_of(image), look_of(small, side=1200)) < 0.2


def test_a_page_without_structure_is_like_none() -> None:
    page = look_of(np.full((300, 300, 3), 200, np.uint8))
    assert page.plain and difference(page, page) == FAR_APART


def test_splits_keep_together_what_is_the_same_picture_and_its_variants() -> None:
    """One hash for both; a split asks less of it, so that no colour of a product leaks into another part."""
    image = product()
    assert signature(image, 8).phash == perceptual_hash(image) == look_of(image).whole
    whole = int(signature(image, 8).phash, 16)
    for kind in ("coded", "half"):
        assert (int(signature(COPIES[kind](image), 8).phash, 16) ^ whole).bit_count() <= 4
