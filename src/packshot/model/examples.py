"""New styles from a few examples each, without training: the nearest mean of examples (Snell et al. 2017).

Directions in which all pictures differ much would drown those in which styles differ, so each block of the description
is first divided by the square root of its spread along its principal axes on pictures without labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FEWEST = 64
"""With fewer unlabelled pictures than this the spread is not known, and all directions count alike."""
FEWEST_EXAMPLES = 6
"""With fewer examples than this nothing is known of how unlike each other they may be."""
NEAREST = 2
"""Examples, the likest, that a picture is compared with."""
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


@dataclass(frozen=True)
class ExampleScope:
    """Which pictures some examples speak for: those as like their NEAREST examples as examples are to each other.

    `spread`: E, what embeddings are divided by; `examples`: N x E at unit length; `expected` and `deviation`: of the
    mean cosine between an example and the NEAREST others. `deviation` is NaN where examples are too few to tell.
    """

    spread: Floats
    examples: Floats
    expected: float
    deviation: float

    @classmethod
    def fit(cls, embeddings: Floats, unlabelled: Floats) -> ExampleScope:
        """From the embeddings of the examples, N x E, and of other pictures, M x E."""
        spread = np.maximum(unlabelled.std(axis=0), 1e-9) if len(unlabelled) >= FEWEST else np.ones(embeddings.shape[1])
        examples = _unit(embeddings / spread)
        if len(examples) < FEWEST_EXAMPLES:
            return cls(spread, examples, 0.0, float("nan"))
        cosine = examples @ examples.T
        np.fill_diagonal(cosine, -np.inf)
        likeness = _likeness(cosine)
        return cls(spread, examples, float(likeness.mean()), max(float(likeness.std(ddof=1)), 1e-6))

    def above(self, embeddings: Floats, lost: float) -> Floats:
        """By how many deviations each picture, M x E, is within the scope (below 0: outside), where the share `lost` of
        pictures like the examples is to be outside; NaN where examples are too few."""
        likeness = _likeness(_unit(embeddings / self.spread) @ self.examples.T)
        return np.asarray((likeness - self.expected) / self.deviation - NormalDist().inv_cdf(lost))


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


def _likeness(cosine: Floats) -> Floats:
    """Mean of the NEAREST largest of each row."""
    return np.asarray(np.sort(cosine, axis=1)[:, -NEAREST:].mean(axis=1))


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
