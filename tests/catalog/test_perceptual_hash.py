"""The perceptual hash is that of the package `imagehash`, bit by bit."""

from __future__ import annotations

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image
from small_workspace import picture

from packshot.catalog.same_picture import _hash, perceptual_hash


def images() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = [(240, 180), (33, 200), (256, 256), (64, 48), (8, 8)]
    grain = [generator.integers(0, 256, (*shape, 3)).astype(np.uint8) for shape in shapes]
    smooth = [cv2.GaussianBlur(each, (0, 0), 5) for each in grain]
    return [*grain, *smooth, *(picture(number, number % 2, 0.3) for number in range(20))]


@pytest.mark.parametrize("side", [8, 16])
def test_bits_are_those_of_imagehash(side: int) -> None:
    found = set()
    for image in images():
        grey = Image.fromarray(image).convert("L")
        expected = np.packbits(imagehash.phash(grey, hash_size=side).hash.ravel()).tobytes().hex()
        assert _hash(grey, side) == expected
        found.add(expected)
    assert len(found) > 20
    assert len(perceptual_hash(images()[0], side)) == side * side // 4
