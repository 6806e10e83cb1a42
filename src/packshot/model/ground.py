"""The plain white ground of a packshot: shops demand it, so it is no fault, and there is nothing on it to repair."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
WHITE_FROM = 250
"""Least value of each channel of white, 0..255."""
SOLID = 5
"""Side of the square, in pixels, that must be white throughout: noise and ringing are not ground."""
LEAST_GROUND = 0.2
"""Share of an image from which on white at its border is the ground of a packshot."""
LEAST_BORDER = 0.5
"""Share of the border that such a ground takes: a blown-out sky touches less of it, and is a fault."""
GREY = 200
"""What such a ground is shown to the judge as, of 255: to one who learned from photographs white is light that was
lost."""
FEATHER = 1.5
"""Standard deviation, in pixels, of the seam between ground and product."""
SEAM = 3.0
"""The same where a ground is darkened."""


def white_ground(image: Image) -> NDArray[np.bool_]:
    """H x W: where an RGB image, H x W x 3, is plain white that reaches its border."""
    white = cv2.inRange(image, (WHITE_FROM,) * 3, (255,) * 3) >> 7
    square = np.ones((SOLID, SOLID), np.uint8)
    solid = cv2.morphologyEx(white, cv2.MORPH_OPEN, square)
    # a frame of white around the image joins all that touches its border; the flood starts in the frame
    framed = cv2.copyMakeBorder(solid, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    return np.asarray(framed[1:-1, 1:-1] == 2)


def with_grey_ground(image: Image) -> Image:
    """An RGB image, H x W x 3, with the white ground of a packshot darkened to GREY; any other image as it is."""
    ground = white_ground(image)
    border = np.concatenate([ground[0], ground[-1], ground[:, 0], ground[:, -1]])
    if ground.mean() < LEAST_GROUND or border.mean() < LEAST_BORDER:
        return image
    share = cv2.GaussianBlur(ground.astype(np.float32), (0, 0), SEAM)[..., None]
    return np.asarray(np.rint(image * (1 - share * (1 - GREY / 255))), dtype=np.uint8)


def keep_white_ground(image: Image, enhanced: Image) -> Image:
    """`enhanced` with the white ground of `image`, and a soft seam to the product; both H x W x 3 uint8.

    There is no seam around specks, which it would bring back.
    """
    ground = white_ground(image)
    if not ground.any():
        return enhanced
    white = ground.astype(np.uint8)
    share = cv2.GaussianBlur(white * 255, (0, 0), FEATHER)
    square = np.ones((SOLID, SOLID), np.uint8)
    product = cv2.dilate(cv2.morphologyEx(1 - white, cv2.MORPH_OPEN, square), square)
    seam = np.flatnonzero((share > 0) & (product > white))
    result = np.array(enhanced, order="C")
    cv2.copyTo(np.ascontiguousarray(image), white, result)
    if len(seam):
        first, second = (np.ascontiguousarray(each).reshape(-1, 3).take(seam, axis=0) for each in (image, enhanced))
        # half of a blurred edge lies inside the ground; twice the share starts at its edge
        weight = np.minimum(share.take(seam)[:, None].astype(np.float32) / 127.5, 1)
        result.reshape(-1, 3)[seam] = np.rint(weight * first + (1 - weight) * second).astype(np.uint8)
    return result
