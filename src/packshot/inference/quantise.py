"""Int8 convolutions: their ranges are read from pictures, everything after them stays float."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import nncf

from packshot.model.preprocess import Image

FLOAT = ("MatMul", "ReduceMean", "Add", "Subtract", "Multiply", "Divide", "Power", "Sqrt")
"""Operations of means, deviations and Gram matrices: differences of large numbers that 8 bits cannot hold."""


def quantised(features: Any, pictures: Sequence[Image]) -> Any:
    """A copy of a feature graph with int8 convolutions, after training: ranges are those seen on `pictures`.

    `pictures` are views as the graph will meet them, uint8 H x W x 3.
    """
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(sys.stderr):  # its progress; standard output is for results
        return nncf.quantize(
            features.clone(),
            nncf.Dataset([picture[None] for picture in pictures]),
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(pictures),
            ignored_scope=nncf.IgnoredScope(types=list(FLOAT), validate=False),
        )
