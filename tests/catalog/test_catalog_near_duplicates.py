"""Near-duplicates: the same scene is found, plain pages do not collapse, and no pair is missed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packshot.catalog.near_duplicates import (
    SignatureError,
    near_duplicate_pairs,
    near_duplicate_sets,
    signature,
    unpack,
)


def scene(seed: int, side: int = 160) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def pairs_of(images: list[np.ndarray], max_distance: int = 6) -> set[tuple[int, int]]:
    marks = [signature(image, 8) for image in images]
    bits, thumbnails = unpack([mark.phash for mark in marks], [mark.thumbnail for mark in marks], 8)
    return {(int(a), int(b)) for a, b in near_duplicate_pairs(bits, thumbnails, max_distance)}


def test_resized_recompressed_darker_and_blurred_copies_are_found():
    original = scene(1)
    recompressed = cv2.imdecode(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    copies = [cv2.resize(original, (90, 90)), recompressed, original // 2, cv2.GaussianBlur(original, (9, 9), 3)]
    found = pairs_of([original, *copies, scene(2), scene(3)])
    assert {(0, 1), (0, 2), (0, 3), (0, 4)} <= found
    assert not any(5 in pair or 6 in pair for pair in found)


def test_plain_pages_are_near_only_in_the_same_colour():
    def page(colour: tuple[int, int, int]) -> np.ndarray:
        return np.full((80, 80, 3), colour, np.uint8)

    noise = np.random.default_rng(0).integers(-1, 2, (80, 80, 3))
    images = [page((255, 255, 255)), page((254, 254, 254)), page((30, 30, 30)), page((200, 40, 40))]
    images.append((page((128, 128, 128)).astype(int) + noise).astype(np.uint8))
    assert pairs_of(images) == {(0, 1)}


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(0, 8))
@settings(max_examples=60, deadline=None)
def test_bands_find_exactly_what_all_pairs_find(seed, count, max_distance):
    generator = np.random.default_rng(seed)
    bits = generator.random((3, 64)) < 0.5
    bits = bits[generator.integers(0, 3, count)] ^ (generator.random((count, 64)) < 0.06)
    thumbnails = generator.integers(0, 256, (count, 192), dtype=np.uint8)
    expected = {(i, j) for i in range(count) for j in range(i + 1, count) if (bits[i] != bits[j]).sum() <= max_distance}
    assert {(int(a), int(b)) for a, b in near_duplicate_pairs(bits, thumbnails, max_distance)} == expected
    sets = near_duplicate_sets(bits, thumbnails, max_distance)
    assert {(int(min(a, b)), int(max(a, b))) for rows in sets for a in rows for b in rows if a != b} >= expected


def test_thousands_of_copies_of_one_picture_are_one_set():
    mark = signature(scene(1), 8)
    bits, thumbnails = unpack([mark.phash] * 5000, [mark.thumbnail] * 5000, 8)
    (rows,) = near_duplicate_sets(bits, thumbnails, 6)
    assert sorted(rows) == list(range(5000))


def test_signatures_of_another_hash_size_are_refused():
    mark = signature(scene(1), 8)
    with pytest.raises(SignatureError, match="packshot validate"):
        unpack([mark.phash], [mark.thumbnail], 16)
    with pytest.raises(SignatureError, match="packshot validate"):
        unpack([None], [mark.thumbnail], 8)
    with pytest.raises(SignatureError, match="max_distance"):
        near_duplicate_pairs(np.zeros((2, 64), bool), np.zeros((2, 192), np.uint8), 64)
