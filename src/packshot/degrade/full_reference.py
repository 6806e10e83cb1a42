"""How near a degraded image still is to its original: VSI, MDSI and HaarPSI in one score.

VSI (Zhang et al., 2014), MDSI (Nafchi et al., 2016) and HaarPSI (Reisenhofer et al., 2018) need no
learned weights and agree with human scores of synthetic degradations about as well as anything does.
Each is brought to 0..1 so that the usual range of degradations spreads over most of it, then averaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import piq
import torch

from packshot.degrade.catalogue import DegradationError, Image

SMALLEST_SIDE = 48
"""Pixels; a smaller image is enlarged to this by pixel repetition, since the three scores need room."""
VSI_POWER = 8.0
MDSI_WORST = 0.7


def score(reference: Image, distorted: Image) -> float:
    """Score of `distorted` against `reference`: 1 is identical, 0 is unrecognisable.

    Both uint8, H x W x 3, RGB, of one size; raises DegradationError otherwise. The score does not depend
    on names or levels, only on pixels, and is the same alone and in a batch.
    """
    return float(scores([reference], [distorted])[0])


def scores(references: Sequence[Image], distorted: Sequence[Image]) -> npt.NDArray[np.float64]:
    """`score` for pairs that all have one size, computed together; float64, in order."""
    shapes = {image.shape for image in (*references, *distorted)}
    if len(shapes) != 1 or len(references) != len(distorted):
        raise DegradationError(
            f"pairs must be as many references as distorted images, all of one size; "
            f"found {len(references)} and {len(distorted)} of sizes {sorted(shapes)}"
        )
    first, second = _tensor(references), _tensor(distorted)
    with torch.inference_mode():
        vsi = piq.vsi(first, second, data_range=1.0, reduction="none").clamp(0, 1) ** VSI_POWER
        mdsi = 1 - (piq.mdsi(first, second, data_range=1.0, reduction="none").clamp(0, MDSI_WORST) / MDSI_WORST) ** 2
        haarpsi = piq.haarpsi(first, second, data_range=1.0, reduction="none").clamp(0, 1)
        together = torch.stack([vsi, mdsi, haarpsi]).nan_to_num(0.0).mean(dim=0)
    same = [np.array_equal(a, b) for a, b in zip(references, distorted, strict=True)]
    return np.where(same, 1.0, together.double().numpy())


def haarpsi(reference: Image, distorted: Image) -> float:
    """Haar wavelet-based perceptual similarity alone (Reisenhofer et al., 2018), 0..1; raises DegradationError."""
    if reference.shape != distorted.shape:
        raise DegradationError(f"HaarPSI needs images of one size, found {reference.shape} and {distorted.shape}")
    with torch.inference_mode():
        return float(piq.haarpsi(_tensor([reference]), _tensor([distorted]), data_range=1.0).clamp(0, 1))


def _tensor(images: Sequence[Image]) -> torch.Tensor:
    height, width = images[0].shape[:2]
    grow = max(1, -(-SMALLEST_SIDE // min(height, width)))
    if grow > 1:
        size = (width * grow, height * grow)
        images = [cv2.resize(image, size, interpolation=cv2.INTER_NEAREST) for image in images]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255.0
