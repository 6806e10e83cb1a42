"""Learning to find faults: a kernel machine on the signal of planted copies, set against clean pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression

from packshot.faults.detector import Detector, standardised, to_scale
from packshot.faults.kinds import KINDS, NAMES
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.training import layout
from packshot.training.closed_form import squared_distances
from packshot.training.dataset import Dataset, FeaturesMissing, Rows

FEWEST_CLEAN = 40
"""With fewer clean pictures nobody could say how often they would be called faulty."""
CLEAN_FROM = 0.6
"""Human score from which on a picture is taken for clean: many kinds of clean pictures teach what damage is not."""
FEWEST_GROUPS = 4
FEWEST_FAULTY = 20
"""A fault with fewer copies than this cannot be learned."""
LANDMARKS = 2048
GAMMA, RIDGE = 0.3, 0.01
"""Width and ridge of the kernel, where a typical pair of pictures is at distance 1: what finds most over folds of the
training pictures. The least squared error asks for more smoothing and finds less."""
FOLDS = 4
STRONGEST_CHROMA = SIGNAL_SIZE - 9
"""Its place among the signal statistics."""
FLOOR = 1e-4
QUOTED_ALARMS = 0.05
"""The figures told after training are at this share of false alarms."""
Matrix = npt.NDArray[np.float64]
Strings = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Lessons:
    """N pictures: `signal` N x S; `strengths` N x F, 0 where a fault is not there; `group` N; `clean` N, whether the
    picture is as the shop made it."""

    signal: Matrix
    strengths: Matrix
    group: Strings
    clean: npt.NDArray[np.bool_]

    def only(self, rows: npt.NDArray[np.bool_]) -> Lessons:
        """Those of these rows."""
        return Lessons(self.signal[rows], self.strengths[rows], self.group[rows], self.clean[rows])


def load_planted(workspace: Path) -> Lessons:
    """The planted copies of the features stage, of training and validation rows. Raises FeaturesMissing."""
    index_path, values_path = workspace / layout.FAULT_INDEX, workspace / layout.FAULT_VALUES
    for path in (index_path, values_path):
        if not path.exists():
            raise FeaturesMissing(f"{path} does not exist; run `packshot features` first")
    index, arrays = pd.read_parquet(index_path), load_file(values_path)
    signal = arrays.get("signal", np.zeros((0, SIGNAL_SIZE))).astype(np.float64)
    strengths = arrays.get("strengths", np.zeros((0, len(NAMES)))).astype(np.float64)
    if not len(index) == len(signal) == len(strengths):
        raise FeaturesMissing(f"{index_path} and {values_path} differ in length; run `packshot features` again")
    return Lessons(signal, strengths, index["group"].to_numpy(dtype=str), np.zeros(len(index), dtype=bool))


def with_clean(planted: Lessons, data: Dataset, rows: Rows, pristine: Sequence[str]) -> Lessons:
    """The planted copies and, of `rows`, clean pictures: those of pristine sets and those that people scored high."""
    index, good = data.index.iloc[rows], (data.quality >= CLEAN_FROM).numpy()[rows]
    mine = rows[((index["source"].isin(list(pristine)) | good) & ~index["image_id"].duplicated()).to_numpy()]
    signal = data.stats[mine][:, -SIGNAL_SIZE:].double().numpy()
    return Lessons(
        np.concatenate([planted.signal, signal]),
        np.concatenate([planted.strengths, np.zeros((len(mine), len(NAMES)))]),
        np.concatenate([planted.group, data.index["group"].iloc[mine].to_numpy(dtype=str)]),
        np.concatenate([planted.clean, np.ones(len(mine), dtype=bool)]),
    )


@dataclass(frozen=True)
class Learned:
    """A detector and, by fault, the share of its copies that it finds out of fold at QUOTED_ALARMS."""

    detector: Detector
    recall: Mapping[str, float]


def learn_faults(lessons: Lessons, seed: int) -> Learned | str:
    """The detector that these pictures teach; a text says why there is none. Deterministic.

    Scores of clean pictures, and the logistic curves from score to probability, come from machines that saw nothing of
    a picture's group.
    """
    there = lessons.strengths > 0
    lacking = _lacking(lessons, there)
    if lacking is not None:
        return lacking
    mean = lessons.signal.mean(axis=0)
    deviation = lessons.signal.std(axis=0)
    scale = np.where(deviation > FLOOR, 1 / (deviation + FLOOR), 0.0)
    z = standardised(lessons.signal, mean, scale)
    _, groups = np.unique(lessons.group, return_inverse=True)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(z))[:LANDMARKS])
    machine = _Machine(z, z[chosen])
    every = np.ones(len(chosen), dtype=bool)
    found, middle = machine.solved(np.ones(len(z), dtype=bool), every, there.astype(np.float64))
    scores = _out_of_fold(machine, there, groups, groups[chosen], seed)
    lowest, highest = _ranges(lessons.strengths, there)
    weights, bias = _strengths(machine, lessons.strengths, there)
    slope, offset = _logistic(scores, there, lessons.clean)
    detector = Detector(
        mean=mean,
        scale=scale,
        landmarks=machine.landmarks,
        weights=np.concatenate([found, weights], axis=1),
        bias=np.concatenate([middle, bias]),
        gamma=np.array([GAMMA]),
        lowest=lowest,
        highest=highest,
        slope=slope,
        offset=offset,
        clean=scores[lessons.clean],
        chroma=np.array([STRONGEST_CHROMA]),
    )
    named = detector.alarms(scores) <= QUOTED_ALARMS
    recall = {name: float(named[there[:, at], at].mean()) for at, name in enumerate(NAMES)}
    return Learned(detector, recall)


def _lacking(lessons: Lessons, there: npt.NDArray[np.bool_]) -> str | None:
    clean, groups = int(lessons.clean.sum()), len(np.unique(lessons.group[lessons.clean]))
    if clean < FEWEST_CLEAN or groups < FEWEST_GROUPS:
        return f"{clean} clean pictures of {groups} groups; {FEWEST_CLEAN} of {FEWEST_GROUPS} are needed"
    rare = [name for at, name in enumerate(NAMES) if there[:, at].sum() < FEWEST_FAULTY]
    return f"fewer than {FEWEST_FAULTY} copies with {', '.join(rare)}" if rare else None


@dataclass(frozen=True)
class _Machine:
    """Kernel ridge regression with given landmarks: z N x S, landmarks M x S."""

    z: Matrix
    landmarks: Matrix

    def across(self, rows: npt.NDArray[np.bool_]) -> Matrix:
        return np.asarray(np.exp(-GAMMA * squared_distances(self.z[rows], self.landmarks)), dtype=np.float64)

    def solved(
        self, rows: npt.NDArray[np.bool_], kept: npt.NDArray[np.bool_], targets: Matrix
    ) -> tuple[Matrix, Matrix]:
        """Weights (of the landmarks that are `kept`) and bias that give `targets` on the rows."""
        landmarks, bias = self.landmarks[kept], targets.mean(axis=0)
        across = self.across(rows)[:, kept]
        within = np.exp(-GAMMA * squared_distances(landmarks, landmarks))
        system = across.T @ across + RIDGE * within + 1e-8 * np.eye(len(landmarks))
        return np.asarray(np.linalg.solve(system, across.T @ (targets - bias)), dtype=np.float64), bias


def _out_of_fold(
    machine: _Machine, there: npt.NDArray[np.bool_], groups: Rows, of_landmarks: Rows, seed: int
) -> Matrix:
    """Scores of every row, N x F, by a machine that learned from, and has landmarks of, other folds' groups alone."""
    fold_of = np.random.default_rng(seed).permutation(int(groups.max()) + 1) % FOLDS
    fold, scores = fold_of[groups], np.empty(there.shape)
    for each in range(FOLDS):
        kept = fold_of[of_landmarks] != each
        weights, bias = machine.solved(fold != each, kept, there[fold != each].astype(np.float64))
        scores[fold == each] = machine.across(fold == each)[:, kept] @ weights + bias
    return scores


def _strengths(machine: _Machine, strengths: Matrix, there: npt.NDArray[np.bool_]) -> tuple[Matrix, Matrix]:
    """Weights M x F and bias F of the strengths, each learned from the copies that have the fault."""
    every = np.ones(len(machine.landmarks), dtype=bool)
    columns = [
        machine.solved(there[:, at], every, to_scale(strengths[there[:, at], at : at + 1])) for at in range(len(NAMES))
    ]
    return np.concatenate([one[0] for one in columns], axis=1), np.concatenate([one[1] for one in columns])


def _ranges(strengths: Matrix, there: npt.NDArray[np.bool_]) -> tuple[Matrix, Matrix]:
    columns = [strengths[there[:, at], at] for at in range(len(NAMES))]
    ends = [np.quantile(column, (0.01, 0.99)) for column in columns]
    return np.array([end[0] for end in ends]), np.array([end[1] for end in ends])


def _logistic(scores: Matrix, there: npt.NDArray[np.bool_], clean: npt.NDArray[np.bool_]) -> tuple[Matrix, Matrix]:
    """Score to log odds, F each (Platt, 1999): clean pictures weigh as much as all others together."""
    weight = np.where(clean, 1 / max(clean.sum(), 1), 1 / max((~clean).sum(), 1)) * len(clean) / 2
    slope, offset = np.empty(len(NAMES)), np.empty(len(NAMES))
    for at in range(len(NAMES)):
        curve = LogisticRegression(C=1e4, max_iter=500).fit(scores[:, at : at + 1], there[:, at], sample_weight=weight)
        slope[at], offset[at] = float(curve.coef_[0, 0]), float(curve.intercept_[0])
    return slope, offset


def as_metrics(recall: Mapping[str, float]) -> dict[str, float]:
    """The figures of a detector as they are logged and kept in the bundle."""
    return {f"faults/recall/{name}": recall[name] for name in KINDS}
