"""The weights of a network as numpy arrays, named as in the state of the torch network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from packshot.errors import PackshotError
from packshot.model.architecture import Architecture

Floats = npt.NDArray[np.float32]
Weights = Mapping[str, Floats]


class WeightsUnreadable(PackshotError):
    """The weights of a bundle are missing, damaged, or those of another network."""

    exit_code = 66


@dataclass(frozen=True)
class Source:
    """What a network is made of: enough to compute it, by whatever runtime."""

    architecture: Architecture
    weights: Weights


def read_weights(path: Path) -> Weights:
    """All tensors of a safetensors file, as float32 whatever the precision they are kept in.

    Raises WeightsUnreadable.
    """
    try:
        return {name: values.astype(np.float32, copy=False) for name, values in load_file(path).items()}
    except (OSError, SafetensorError, TypeError) as error:
        raise WeightsUnreadable(f"{path} does not hold this network's weights: {error}") from error


def part(weights: Weights, name: str) -> Weights:
    """The weights below `name`, without it."""
    start = f"{name}."
    return {key.removeprefix(start): values for key, values in weights.items() if key.startswith(start)}
