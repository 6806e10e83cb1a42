"""Plain measurements of a picture, cheap enough for every image and free of any model."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LONGEST_SIDE = 512
WHITE_FROM = 250


def image_statistics(image: NDArray[np.uint8]) -> dict[str, float]:
    """Measure H x W x 3 uint8 RGB; all but `width`, `height` and `aspect` on a copy of at most 512 px.

    - `brightness`, `contrast`: mean and standard deviation of the luma (Rec. 601), 0..1;
    - `saturation`: mean HSV saturation, 0..1;
    - `white_share`: share of pixels with every channel at 250 or above, 0..1;
    - `sharp_laplacian`: variance of the Laplacian of the luma on a 0..255 scale (Pech-Pacheco et al., 2000);
    - `width`, `height` in pixels and `aspect` = width / height.
    """
    height, width = image.shape[:2]
    small = shrink(image, LONGEST_SIDE)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    mean, deviation = cv2.meanStdDev(grey)
    white = cv2.countNonZero(cv2.inRange(small, (WHITE_FROM,) * 3, (255,) * 3))
    # no Laplacian of bytes, with these weights, leaves 16 bits
    bent = cv2.Laplacian(grey, cv2.CV_16S)
    sharp = cv2.norm(bent, cv2.NORM_L2SQR) / grey.size - (cv2.sumElems(bent)[0] / grey.size) ** 2
    return {
        "brightness": float(mean[0, 0] / 255.0),
        "contrast": float(deviation[0, 0] / 255.0),
        "saturation": float(cv2.mean(cv2.cvtColor(small, cv2.COLOR_RGB2HSV))[1] / 255.0),
        "white_share": white / grey.size,
        "sharp_laplacian": float(sharp),
        "width": float(width),
        "height": float(height),
        "aspect": float(width / height),
    }


def shrink(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """`image` itself where its longest side is at most `longest` pixels, else an area-averaged copy that is."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1.0:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
