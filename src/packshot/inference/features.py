"""What is seen in pictures, whatever computed it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """What is seen in images: `stats` N x S, of the backbone's maps and then of the pixels themselves; `gram` N x G;
    float32."""

    stats: Floats
    gram: Floats
