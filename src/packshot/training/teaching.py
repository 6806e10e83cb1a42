"""What a teacher, a network that sees more, says of the pictures that a student learns from.

The teacher is solved in closed form on the pictures at hand, and of a scored picture it says what it would without that
picture's group. Scores of models that had learned from it would carry the very labels on which a student is measured
over folds: it ranked higher there than its teacher.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from packshot.model.network import Trunk
from packshot.training.axes import QUALITY, fit_trunk
from packshot.training.closed_form import Matrix, kernel_ridge, left_out
from packshot.training.dataset import Dataset, Rows, Teacher


@dataclass(frozen=True)
class Lessons:
    """What teaches an overall score: `rows` of the data set, the `rated` first ones with a score, `scores` (N), and
    `groups` (N) of numbers, in which rows of one group of pictures share one."""

    rows: Rows
    scores: torch.Tensor
    groups: npt.NDArray[np.int64]
    rated: int


def lessons(data: Dataset, rows: Rows, seed: int, steepness: float = 0.0) -> Lessons | None:
    """Of `rows` those with a score, whose target is a mean of people's and the teacher's, and all others by the
    teacher's alone; None where the data set has no teacher. `steepness` is as in `kernel_ridge`."""
    teacher = data.teacher
    rated = data.with_quality(rows)
    if teacher is None or len(rated) < 2:
        return None
    others = np.setdiff1d(rows, rated)
    _, group = np.unique(data.index["group"].astype(str).to_numpy(dtype=str), return_inverse=True)
    human = data.quality[rated].double().numpy()
    without, said = _said(teacher, rated, others, human, group, seed, steepness)
    blended = teacher.human_share * human + (1 - teacher.human_share) * without
    scores = torch.from_numpy(np.concatenate([blended, said])).float()
    chosen = np.concatenate([rated, others])
    return Lessons(chosen, scores, group[chosen].astype(np.int64), len(rated))


def _said(
    teacher: Teacher,
    rated: Rows,
    others: Rows,
    human: Matrix,
    group: npt.NDArray[np.int64],
    seed: int,
    steepness: float,
) -> tuple[Matrix, Matrix]:
    """Scores of the `rated` rows by solutions that left their group out, and of the `others`."""
    seen = teacher.stats[rated].float()
    trunk = Trunk(seen.shape[1], teacher.trunk_dim)
    fit_trunk(trunk, seen, seen, QUALITY, seed)
    with torch.no_grad():
        z, of_others = (trunk(teacher.stats[some].float()).double().numpy() for some in (rated, others))
    found = kernel_ridge(z, human[:, None], len(z), seed, steepness, group[rated])
    return left_out(found, human[:, None], group[rated])[:, 0], found(of_others)[:, 0]
