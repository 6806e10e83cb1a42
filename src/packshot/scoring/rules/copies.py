"""Copies of pictures that the catalogue has: told from all rows of a batch, so nothing is measured on one alone."""

from __future__ import annotations

import cv2
import imagehash
import numpy as np
from PIL import Image

from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import least, most

EXACT, NEAR = "exact_duplicate", "near_duplicate"
HASHED_AT = 32
"""Side, in pixels, of what is hashed: `imagehash.phash` makes 64 bits of it."""
THUMBNAIL = 16
"""Side of the thumbnail, in pixels, that two pictures of about one hash are compared by."""


@most(EXACT, "The catalogue has this very file already; upload another view of the product, or leave it out.")
def exact_duplicate(picture: Picture) -> float | None:
    """1 where the bytes of an earlier picture are the same."""
    return None


@least(NEAR, "The catalogue has this picture already, in another size or format; upload another view of the product.")
def near_duplicate(picture: Picture) -> float | None:
    """Bits, of 64, by which the hash of the nearest earlier picture that shows the same differs."""
    return None


def perceptual_hash(picture: Picture) -> str:
    """64 bits as hex, of the signs of the lowest frequencies (Zauner, 2010)."""
    small = cv2.resize(picture.plan_grey, (HASHED_AT, HASHED_AT), interpolation=cv2.INTER_AREA)
    bits = imagehash.phash(Image.fromarray(small), hash_size=8, highfreq_factor=HASHED_AT // 8).hash
    return np.packbits(bits.ravel()).tobytes().hex()


def thumbnail(picture: Picture) -> bytes:
    """THUMBNAIL x THUMBNAIL x 3 bytes, RGB."""
    small = cv2.resize(picture.plan, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).tobytes()
