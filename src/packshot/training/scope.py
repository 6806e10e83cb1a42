"""Learning which pictures styles are for: those with one against the others of the training data."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from packshot.inference.scope import Matrix, Scope

FEWEST = 40
"""With fewer pictures on either side nothing is learned, and styles are for all."""
FOLDS = 5
COST, GAMMA = 3.0, 0.5
"""Of the kernel machine, on axes that are scaled so that a typical pair of pictures is at a distance of about 1."""
Flags = npt.NDArray[np.bool_]


def learn_scope(
    embedding: npt.NDArray[np.floating],
    style: npt.NDArray[np.floating],
    inside: Flags,
    group: npt.NDArray[np.str_],
    loss: float,
    seed: int,
) -> Scope | None:
    """The scope of the pictures that are `inside` (N flags), by `embedding` (N x E) and `style` (N x style_dim).

    At most `loss` (0..1) of those inside are refused, by machines that left their `group` (N) out. None where there are
    too few on either side.
    """
    if min(inside.sum(), (~inside).sum()) < FEWEST:
        return None
    x = np.concatenate([embedding, style], axis=1).astype(np.float64)
    parts = np.repeat([embedding.shape[1], style.shape[1]], [embedding.shape[1], style.shape[1]])
    # both parts weigh the same, however many axes they have
    scale = 1 / ((x.std(axis=0) + 1e-6) * np.sqrt(2 * parts))
    mean = x.mean(axis=0)
    z = (x - mean) * scale
    held = np.full(len(z), np.nan)
    names = np.unique(group)
    fold = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    for number in range(FOLDS):
        out = np.isin(group, names[fold == number])
        if (out & inside).any() and len(np.unique(inside[~out])) == 2:
            held[out & inside] = _machine(z[~out], inside[~out]).decision_function(z[out & inside])
    scores = np.sort(held[np.isfinite(held)])
    machine = _machine(z, inside)
    return Scope(
        mean=mean,
        scale=scale,
        vectors=machine.support_vectors_,
        weights=machine.dual_coef_[0],
        bias=machine.intercept_,
        gamma=np.array([GAMMA]),
        least=np.array([scores[int(loss * (len(scores) + 1))] if len(scores) else -np.inf]),
    )


def _machine(z: Matrix, inside: Flags) -> Any:
    from sklearn.svm import SVC

    return SVC(C=COST, gamma=GAMMA, class_weight="balanced").fit(z, inside)
