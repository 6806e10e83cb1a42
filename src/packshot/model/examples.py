"""New styles from a few examples each, without training: the nearest mean of examples (Snell et al. 2017).

Directions in which all pictures differ much would drown those in which styles differ, so each block of the description
is first divided by the square root of its spread along its principal axes on pictures without labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FEWEST = 64
"""With fewer unlabelled pictures than this the spread is not known, and all directions count alike."""
NEGLIGIBLE = 1e-3
"""Axes with less than this share of the largest spread are left out."""


@dataclass(frozen=True)
class ExampleSpace:
    """Maps blocks of descriptions (N x d each: style vectors, embeddings) to unit vectors."""

    centres: tuple[Floats, ...]
    axes: tuple[Floats, ...]

    @classmethod
    def fit(cls, blocks: Sequence[Floats]) -> ExampleSpace:
        """Learn the spread of each block, N x d, on unlabelled pictures."""
        fitted = [_axes(np.asarray(block, dtype=np.float64)) for block in blocks]
        return cls(tuple(centre for centre, _ in fitted), tuple(axes for _, axes in fitted))

    def place(self, blocks: Sequence[Floats]) -> Floats:
        """N x sum of kept axes, unit length; the blocks in the order in which they were fitted."""
        turned = [
            _unit((np.asarray(block, dtype=np.float64) - centre) @ axes)
            for block, centre, axes in zip(blocks, self.centres, self.axes, strict=True)
        ]
        return _unit(np.concatenate(turned, axis=1))


def prototypes(points: Floats, labels: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
    """Names in alphabetical order and, for each, the mean of its examples at unit length."""
    found = np.asarray(labels, dtype=object)
    names = tuple(sorted(set(labels)))
    return names, _unit(np.stack([points[found == name].mean(axis=0) for name in names]))


def nearest(points: Floats, centres: Floats) -> tuple[NDArray[np.intp], Floats, Floats]:
    """For each point the nearest centre, its cosine (-1..1), and by how much that exceeds the second nearest's.

    The margin of a single centre is NaN: there is nothing to exceed.
    """
    cosine = points @ centres.T
    best = cosine.argmax(axis=1)
    ordered = np.sort(cosine, axis=1)
    margin = ordered[:, -1] - ordered[:, -2] if len(centres) > 1 else np.full(len(points), np.nan)
    return best, ordered[:, -1], margin


def _axes(block: Floats) -> tuple[Floats, Floats]:
    if len(block) < FEWEST:
        return np.zeros(block.shape[1]), np.eye(block.shape[1])
    centre = block.mean(axis=0)
    _, strength, axes = np.linalg.svd((block - centre) / np.sqrt(len(block)), full_matrices=False)
    kept = strength > max(NEGLIGIBLE * float(strength[0]), 1e-12)
    if not kept.any():
        return centre, np.eye(block.shape[1])
    return centre, np.asarray(axes[kept].T / np.sqrt(strength[kept]))


def _unit(values: Floats) -> Floats:
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9))
