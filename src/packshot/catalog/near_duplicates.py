"""Pictures of one thing, which must not lie in two splits: perceptual hashes, compared without holding all pairs.

That is more than the same picture (`catalog.same_picture`, whose hash this is too): a sofa in four colours is four
pictures that teach the same. Two images are near-duplicates when the Hamming distance of their hashes is small. The
hash ignores exposure and sharpness, as it should: a scene taken bright, dark and blurred is one scene. It knows nothing
of a picture without structure, though: the hash of an empty page is the sign of rounding errors. So where one of two
images is *plain* (the brightness of its thumbnail hardly varies) their thumbnails must agree in colour too, or all
plain images of a shop would become one group.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from packshot.catalog.same_picture import HASHED_AT, perceptual_hash
from packshot.catalog.statistics import shrink
from packshot.errors import PackshotError

THUMBNAIL = 8
"""Side of the colour thumbnail, in pixels."""
PLAIN_BELOW = 4.0
"""A thumbnail whose brightness has a smaller standard deviation than this (of 255) is plain."""
PLAIN_ALIKE = 4.0
"""Largest mean absolute difference (of 255) of two thumbnails of which one is plain."""

Bits = NDArray[np.bool_]
Thumbnails = NDArray[np.uint8]
Pairs = NDArray[np.int64]


class SignatureError(PackshotError):
    """Stored signatures do not fit the settings in force."""

    exit_code = 65


@dataclass(frozen=True)
class Signature:
    """What an image is compared by; both parts as hex, ready for a table.

    `phash`: hash_size x hash_size bits, row by row. `thumbnail`: 8 x 8 x 3 bytes RGB.
    """

    phash: str
    thumbnail: str


def signature(image: NDArray[np.uint8], hash_size: int) -> Signature:
    """The signature of H x W x 3 uint8 RGB; `hash_size` is the side of the bit square."""
    small = shrink(image, HASHED_AT)
    thumbnail = cv2.resize(small, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return Signature(perceptual_hash(small, hash_size), np.asarray(thumbnail, np.uint8).tobytes().hex())


def unpack(phashes: list[str], thumbnails: list[str], hash_size: int) -> tuple[Bits, Thumbnails]:
    """Stored signatures as n x hash_size**2 bits and n x 192 bytes.

    Raises SignatureError where a signature is missing or was made with another `hash_size`.
    """
    bits = hash_size**2
    packed = _from_hex(phashes, -(-bits // 8), f"a hash of {bits} bits")
    unpacked = np.unpackbits(packed, axis=1, count=bits).astype(bool)
    return unpacked, _from_hex(thumbnails, THUMBNAIL**2 * 3, "a thumbnail")


def near_duplicate_sets(bits: Bits, thumbnails: Thumbnails, max_distance: int) -> list[NDArray[np.int64]]:
    """Sets of rows all of which are near-duplicates of each other; every near pair of rows is in at least one.

    A set holds the rows of one signature, or of two signatures that are near: many copies of one picture make one
    set, not a set for each pair of them. Raises as `near_duplicate_pairs`.
    """
    signatures = np.concatenate([np.packbits(bits, axis=1), thumbnails], axis=1)
    _, firsts, which, counts = np.unique(signatures, axis=0, return_index=True, return_inverse=True, return_counts=True)
    rows_of = np.split(np.argsort(which.ravel(), kind="stable"), np.cumsum(counts)[:-1])
    copies = [rows for rows in rows_of if len(rows) > 1]
    pairs = near_duplicate_pairs(bits[firsts], thumbnails[firsts], max_distance)
    return copies + [np.concatenate([rows_of[one], rows_of[other]]) for one, other in pairs]


def near_duplicate_pairs(bits: Bits, thumbnails: Thumbnails, max_distance: int) -> Pairs:
    """All pairs (i, j), i < j, of near-duplicate rows as an m x 2 array, in order.

    The hash is cut into `max_distance` + 1 bands; two hashes within that distance agree on at least one band whole,
    so only rows that share a band are compared (multi-index hashing, Norouzi et al., 2012). Memory grows with rows and
    pairs found, not with rows squared. Raises SignatureError where `max_distance` is not below the number of bits.
    """
    if bits.shape[1] <= max_distance:
        raise SignatureError(
            f"splits.max_distance is {max_distance}; it must be below the {bits.shape[1]} bits of a hash"
        )
    bands = np.array_split(np.arange(bits.shape[1]), max_distance + 1)
    found = [_pairs_in_band(bits, thumbnails, band, max_distance) for band in bands]
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0).astype(np.int64)


def _pairs_in_band(bits: Bits, thumbnails: Thumbnails, band: NDArray[np.intp], max_distance: int) -> Pairs:
    """Pairs within `max_distance` among rows that agree on every bit of `band`.

    Rows are sorted by band; each is compared with its next, second next ... neighbour while the band is the same.
    """
    words = np.packbits(bits, axis=1)
    plain = _brightness_spread(thumbnails) < PLAIN_BELOW
    _, key = np.unique(np.packbits(bits[:, band], axis=1), axis=0, return_inverse=True)
    order = np.argsort(key.ravel(), kind="stable")
    key = key.ravel()[order]
    found = []
    left = np.arange(len(order))
    step = 1
    while True:
        left = left[left + step < len(order)]
        left = left[key[left] == key[left + step]]
        if not len(left):
            break
        pairs = np.stack([order[left], order[left + step]], axis=1)
        distance = np.bitwise_count(words[pairs[:, 0]] ^ words[pairs[:, 1]]).sum(axis=1, dtype=np.int64)
        pairs = pairs[distance <= max_distance]
        found.append(pairs[_agree(pairs, thumbnails, plain)])
        step += 1
    return np.concatenate([np.empty((0, 2), np.int64), *found])


def _agree(pairs: Pairs, thumbnails: Thumbnails, plain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    agree = np.ones(len(pairs), bool)
    doubtful = np.flatnonzero(plain[pairs[:, 0]] | plain[pairs[:, 1]])
    one, other = (thumbnails[pairs[doubtful, side]].astype(np.int16) for side in (0, 1))
    agree[doubtful] = np.abs(one - other).mean(axis=1) <= PLAIN_ALIKE
    return agree


def _brightness_spread(thumbnails: Thumbnails) -> NDArray[np.float64]:
    return np.asarray(thumbnails.reshape(len(thumbnails), -1, 3).mean(axis=2).std(axis=1), np.float64)


def _from_hex(texts: list[str], size: int, what: str) -> NDArray[np.uint8]:
    wrong = [text for text in texts if not isinstance(text, str) or len(text) != 2 * size]
    if wrong:
        raise SignatureError(
            f"{len(wrong)} of {len(texts)} images do not carry {what} (found {wrong[0]!r}); "
            "run `packshot validate` again with the settings in force"
        )
    return np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(len(texts), size)
