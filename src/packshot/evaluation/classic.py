"""The baseline the learned enhancer has to beat: CLAHE, denoising and unsharp masking, tuned on validation pictures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from packshot.evaluation.metrics import MetricError, psnr

Image = NDArray[np.uint8]
CLIP_LIMITS = (0.0, 0.5, 1.0, 2.0)
DENOISE_STRENGTHS = (0.0, 3.0, 6.0, 10.0)
SHARPEN_AMOUNTS = (0.0, 0.3, 0.8)
UNSHARP_SIGMA = 1.2
CLAHE_TILES = (8, 8)


@dataclass(frozen=True)
class ClassicChain:
    """Contrast-limited histogram equalisation of the luma, non-local means, unsharp mask; 0 leaves a step out."""

    clip_limit: float
    denoise: float
    """Filter strength h of OpenCV's fastNlMeansDenoisingColored."""
    sharpen: float
    """Share of the difference to a Gaussian blur that is added."""

    def __call__(self, image: Image) -> Image:
        """Enhance an RGB uint8 image; same shape and type."""
        return _sharpen(_equalise(_denoise(image, self.denoise), self.clip_limit), self.sharpen)


def tune(pairs: Sequence[tuple[Image, Image]]) -> ClassicChain:
    """The chain with the best mean PSNR over (clean, degraded) pairs, from a small grid that holds "do nothing".

    Raises MetricError where there are no pairs.
    """
    if not pairs:
        raise MetricError("the classic chain cannot be tuned: there are no validation pairs")
    best, best_psnr = ClassicChain(0.0, 0.0, 0.0), -np.inf
    for strength in DENOISE_STRENGTHS:
        denoised = [_denoise(degraded, strength) for _, degraded in pairs]
        for clip, amount in itertools.product(CLIP_LIMITS, SHARPEN_AMOUNTS):
            enhanced = (_sharpen(_equalise(image, clip), amount) for image in denoised)
            mean = float(np.mean([psnr(clean, image) for (clean, _), image in zip(pairs, enhanced, strict=True)]))
            if mean > best_psnr:
                best, best_psnr = ClassicChain(clip, strength, amount), mean
    return best


def _denoise(image: Image, strength: float) -> Image:
    if strength == 0:
        return image
    return np.asarray(cv2.fastNlMeansDenoisingColored(image, None, strength, strength, 5, 15), dtype=np.uint8)


def _equalise(image: Image, clip_limit: float) -> Image:
    if clip_limit == 0:
        return image
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clip_limit, CLAHE_TILES).apply(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)


def _sharpen(image: Image, amount: float) -> Image:
    if amount == 0:
        return image
    blurred = cv2.GaussianBlur(image, (0, 0), UNSHARP_SIGMA)
    return np.asarray(cv2.addWeighted(image, 1 + amount, blurred, -amount, 0), dtype=np.uint8)
