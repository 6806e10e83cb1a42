"""What a judge asks of whatever computes for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from packshot.inference.features import Features
from packshot.inference.tones import Codes, Tones
from packshot.inference.weights import Source
from packshot.model.preprocess import Image


class Runtime(Protocol):
    """Computes what is large of a network; the heads, which are small, are numpy's. Several threads may ask."""

    def features(self, images: Sequence[Image]) -> Features:
        """Of each image (uint8, H x W x 3, RGB, any size) by itself, in order."""

    def enhanced(self, image: Image, codes: Codes, tones: Tones) -> Image:
        """One image at its own size, under the codes of the trunk, whose curves and table are `tones`."""


OpenRuntime = Callable[[Source, int], Runtime]
"""Makes a runtime of a network and a number of threads, 0 being all cores that this process may use."""


def stacked(found: Sequence[Features]) -> Features:
    """Features of several images as one."""
    return Features(np.concatenate([each.stats for each in found]), np.concatenate([each.gram for each in found]))
