"""What decoding takes beside the picture that it gives: a worker's bound is a few times that, whatever the format."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from packshot.catalog import image
from packshot.catalog.containers import planes
from packshot.catalog.decoding.arena import LARGE_SLOT, Arena, Slot, WorkerArena
from packshot.catalog.decoding.pool import Decoders
from packshot.catalog.limits import DECODABLE, BadImage, ImageLimits
from packshot.catalog.statistics import shrink

SIDE = 3000
LIMITS = ImageLimits(SIDE * SIDE / 1_000_000, 1, 1, DECODABLE)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    made = Decoders(1)
    yield made
    made.close()


def flat(mode: str, colour: object, format: str, **options: object) -> bytes:
    content = io.BytesIO()
    Image.new(mode, (SIDE, SIDE), colour).save(content, format, **options)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (lambda: flat("RGBA", (200, 100, 0, 51), "WEBP", lossless=True, quality=0, method=0), (244, 224, 204)),
        (lambda: flat("RGBA", (200, 100, 0, 51), "PNG", compress_level=1), (244, 224, 204)),
        (lambda: flat("I;16", 0x8080, "PNG", compress_level=1), (128, 128, 128)),
        (lambda: flat("CMYK", (0, 255, 255, 0), "TIFF", compression="tiff_lzw"), (255, 0, 0)),
        (lambda: flat("RGB", (255, 0, 0), "JPEG", progressive=True), (254, 0, 0)),
    ],
    ids=["transparent WebP", "transparent PNG", "16 bits", "CMYK", "progressive"],
)
def test_the_largest_picture_allowed_is_decoded_within_the_bound(decoders: Decoders, content, seen) -> None:
    pixels = decoders.call(image.decode, content(), LIMITS)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert [tuple(pixels[at, at]) for at in (0, SIDE // 2, SIDE - 1)] == [seen] * 3


def test_a_picture_is_shrunk_where_it_is_decoded(decoders: Decoders, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    info, pixels = decoders.call(partial(image.inspect, longest=100), tmp_path / "a.png", LIMITS)
    assert (info.width, info.height) == (400, 300) and np.array_equal(pixels, shrink(noise, 100))
    assert np.array_equal(image.decode(tmp_path / "a.png", LIMITS, longest=400), noise)


def test_a_webp_that_is_cut_off_is_named_so(decoders: Decoders) -> None:
    content = flat("RGB", (9, 9, 9), "WEBP", quality=50)
    with pytest.raises(BadImage) as refused:
        decoders.call(image.decode, content[: len(content) // 2], LIMITS)
    assert refused.value.reason == "truncated"


def test_what_is_decoded_into_a_slot_is_not_copied() -> None:
    arena = Arena()
    assert arena.file is not None
    slot = arena.take(1 << 20)
    assert slot is not None
    desk = WorkerArena(arena.file).desk(slot)
    with planes.handed_over_in(desk.plane):
        there, elsewhere = planes.empty((10, 10, 3)), np.full(5, 3, np.uint8)
    there[:] = 7
    left = desk.left((there, elsewhere))
    assert left is not None and left.parts[0] == (0, 300)
    there[:] = 9
    found = arena.result(slot, left)
    assert (found[0] == 9).all() and (found[1] == 3).all()
    assert planes.empty((1 << 21,)).nbytes == 1 << 21
    arena.close()


def test_a_large_slot_keeps_no_memory() -> None:
    arena = Arena()
    assert arena.file is not None
    slot = arena.take(LARGE_SLOT)
    assert slot is not None
    left = _filled(arena, slot)
    found = arena.result(slot, left)
    del found
    again = arena.take(LARGE_SLOT)
    assert again == slot
    assert not WorkerArena(arena.file).desk(again).plane((300,)).any()
    arena.close()


def test_a_small_slot_is_used_again_as_it_is() -> None:
    arena = Arena()
    assert arena.file is not None
    slot = arena.take(1 << 20)
    assert slot is not None
    found = arena.result(slot, _filled(arena, slot))
    assert arena.take(1 << 20) != slot, "while it is in use"
    del found
    assert arena.take(1 << 20) == slot
    assert WorkerArena(arena.file).desk(slot).plane((300,)).all()
    arena.close()


def _filled(arena: Arena, slot: Slot):
    assert arena.file is not None
    desk = WorkerArena(arena.file).desk(slot)
    plane = desk.plane((300,))
    plane[:] = 1
    return desk.left(plane)
