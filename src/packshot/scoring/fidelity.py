"""Is the enhanced image still the same picture?"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from packshot.model.ground import keep_white_ground, white_ground

STRIP_ROWS = 512
CELLS = 16
SHAPES = 64
GREY_WITHIN = 2
"""How far the channels of a grey pixel may lie apart, of 255."""
GREY_BUT_FOR = 0.001
_WINDOW = 11
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2

Luma = NDArray[np.float32]


def luma_similarity(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """SSIM of two H x W x 3 uint8 RGB images on luma, -1..1, 1 where they are the same.

    Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment: From Error Visibility to Structural
    Similarity (2004), Gaussian window of 11 with sigma 1.5. Worked off in strips, so that memory does
    not grow with the height. Raises ValueError for different shapes.
    """
    if reference.shape != image.shape:
        raise ValueError(f"SSIM needs equal shapes, got {reference.shape} and {image.shape}")
    height = reference.shape[0]
    margin = _WINDOW // 2
    total = 0.0
    for top in range(0, height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, height)
        first, last = max(top - margin, 0), min(bottom + margin, height)
        strip = _ssim_map(_luma(reference[first:last]), _luma(image[first:last]))
        total += float(strip[top - first : bottom - first].sum(dtype=np.float64))
    return float(total / (height * reference.shape[1]))


def structure_kept(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Correlation of luma between the SHAPES x SHAPES parts of two H x W x 3 uint8 RGB images, -1..1.

    Light, contrast and grain may change, what is to be seen may not: 1 where the parts lie in one order of lightness,
    also where neither has any. Raises ValueError for different shapes.
    """
    if reference.shape != image.shape:
        raise ValueError(f"structures need equal shapes, got {reference.shape} and {image.shape}")
    sides = [_luma(cv2.resize(each, (SHAPES, SHAPES), interpolation=cv2.INTER_AREA)) for each in (reference, image)]
    first, second = (side.ravel() - side.mean() for side in sides)
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / scale if scale > 0 else 1.0


def colour_shift(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """How far the colours of the product moved: mean distance in a*, b* of CIELAB, lightness apart.

    Between the mean colours of CELLS x CELLS parts of two H x W x 3 uint8 RGB images, so that noise does not count;
    parts that are white ground in the first are left out. 2 is just visible side by side. Raises ValueError for
    different shapes.
    """
    if reference.shape != image.shape:
        raise ValueError(f"colours need equal shapes, got {reference.shape} and {image.shape}")
    product = cv2.resize((~white_ground(reference)).astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    if product.sum() == 0:
        return 0.0
    distance = np.linalg.norm(_chroma(reference) - _chroma(image), axis=2)
    return float((distance * product).sum() / product.sum())


def is_grey(image: NDArray[np.uint8]) -> bool:
    """Whether an H x W x 3 uint8 RGB image has no colour: in all but GREY_BUT_FOR of it the channels are alike."""
    coloured = 0
    for top in range(0, len(image), STRIP_ROWS):
        red, green, blue = cv2.split(np.ascontiguousarray(image[top : top + STRIP_ROWS]))
        spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
        coloured += int(np.count_nonzero(spread > GREY_WITHIN))
    return bool(coloured <= GREY_BUT_FOR * image.shape[0] * image.shape[1])


def with_colours_of(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`image` with a* and b* of each pixel as in `reference` (CIELAB); both H x W x 3 uint8 RGB.

    Worked off in strips. Raises ValueError for different shapes.
    """
    if reference.shape != image.shape:
        raise ValueError(f"colours need equal shapes, got {reference.shape} and {image.shape}")
    result = np.empty_like(image)
    for top in range(0, len(image), STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS)
        mixed = cv2.cvtColor(reference[rows].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        mixed[..., 0] = cv2.cvtColor(image[rows].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[..., 0]
        result[rows] = np.rint(cv2.cvtColor(mixed, cv2.COLOR_Lab2RGB).clip(0, 1) * 255)
    return keep_white_ground(reference, result)


def _chroma(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    cells = cv2.resize(image, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(cells, cv2.COLOR_RGB2Lab)[..., 1:], dtype=np.float32)


def _luma(image: NDArray[np.uint8]) -> Luma:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _blur(plane: Luma) -> Luma:
    return np.asarray(
        cv2.GaussianBlur(plane, (_WINDOW, _WINDOW), _SIGMA, borderType=cv2.BORDER_REFLECT), dtype=np.float32
    )


def _ssim_map(first: Luma, second: Luma) -> Luma:
    mean_1, mean_2 = _blur(first), _blur(second)
    variance_1 = _blur(first * first) - mean_1 * mean_1
    variance_2 = _blur(second * second) - mean_2 * mean_2
    covariance = _blur(first * second) - mean_1 * mean_2
    above = (2 * mean_1 * mean_2 + _C1) * (2 * covariance + _C2)
    below = (mean_1 * mean_1 + mean_2 * mean_2 + _C1) * (variance_1 + variance_2 + _C2)
    return np.asarray(above / below, dtype=np.float32)
