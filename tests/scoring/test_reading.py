"""What is read ahead is bounded, and in order where it is large."""

from __future__ import annotations

import numpy as np

from packshot.catalog.image import ImageInfo
from packshot.scoring.reading import PIXELS_IN_FLIGHT, _Ahead

LARGE, SMALL = 64_000_000, 8_000_000
INFO = ImageInfo("0", 1, 1, "PNG", 1)


def test_a_large_picture_waits_for_those_before_it_and_is_alone() -> None:
    ahead = _Ahead(9)
    assert not ahead._has_room(1, False, LARGE), "not before the one that is waited for"
    with ahead.admitted(0, False, LARGE / 1_000_000):
        assert not ahead._has_room(1, False, LARGE)
    ahead.handed_over()
    assert ahead._has_room(1, False, LARGE)


def test_a_picture_counts_from_when_it_is_being_decoded_until_it_is_let_go_of() -> None:
    ahead = _Ahead(9)
    pixels = np.zeros((PIXELS_IN_FLIGHT // 1000, 1000, 1), np.uint8)
    with ahead.admitted(0, False, SMALL / 1_000_000) as arrived:
        arrived((INFO, pixels))
        assert not ahead._has_room(1, False, SMALL)
    assert not ahead._has_room(1, False, SMALL), "no gap between decoding and holding"
    del pixels
    assert ahead._has_room(1, False, SMALL)
