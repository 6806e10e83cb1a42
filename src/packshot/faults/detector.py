"""Finding faults in signal statistics: a kernel machine whose scores are set against those of clean pictures."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from packshot.errors import PackshotError
from packshot.faults.kinds import KINDS, NAMES
from packshot.files import write_bytes

FAULTS = "faults.safetensors"
"""In a bundle, where it can find faults."""
FORMAT_VERSION = 1
CLIP = 5.0
"""Standardised statistics are clipped here, in deviations."""
COLOURLESS = 3 / 255
"""Strongest chroma up to which a picture is grey: what has no colour cannot be tinted."""
Matrix = npt.NDArray[np.float64]


class FaultsUnreadable(PackshotError):
    """The file of a bundle that finds faults is damaged or of another version."""

    exit_code = 66


@dataclass(frozen=True)
class Found:
    """What is said of one fault in one picture.

    `probability` 0..1: among pictures half of which are clean and half damaged as those learned from. `strength` in the
    unit of the fault; it means little where the fault is unlikely. `alarm` 0..1: the share of clean pictures that are
    called faulty, by this fault or another, where one like this is called so.
    """

    fault: str
    probability: float
    strength: float
    alarm: float

    def present(self, false_alarms: float) -> bool:
        """Whether the picture is called so where this share of clean pictures may be called faulty, 0..1."""
        return self.alarm <= false_alarms


class _Record(BaseModel):
    """What stands in the file beside the arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Detector:
    """Scores and strengths of F faults, the order that of `NAMES`, in S signal statistics.

    `mean`, `scale`: S, standardise; a typical pair of pictures is at distance 1 then. `landmarks` M x S, `weights`
    M x 2F, `bias` 2F and `gamma`: a kernel machine; the first F outputs are scores, the others strengths on the scale
    that `lowest` and `highest` (F, of the strengths learned from) bound. `slope`, `offset`: F, score to log odds.
    `clean`: N x F, scores of clean pictures by machines that had seen nothing of their group. `chroma`: the place of
    the strongest chroma among the statistics.
    """

    mean: Matrix
    scale: Matrix
    landmarks: Matrix
    weights: Matrix
    bias: Matrix
    gamma: Matrix
    lowest: Matrix
    highest: Matrix
    slope: Matrix
    offset: Matrix
    clean: Matrix
    chroma: npt.NDArray[np.int64]

    def find(self, signal: npt.NDArray[np.floating]) -> list[tuple[Found, ...]]:
        """Every fault, in the order of `NAMES`, of each picture; `signal` is N x S."""
        values = np.asarray(signal, dtype=np.float64)
        scores, strengths = np.split(self.outputs(values), 2, axis=1)
        scores[values[:, int(self.chroma[0])] <= COLOURLESS, NAMES.index("cast")] = -np.inf
        strengths = from_scale(np.clip(strengths, to_scale(self.lowest), to_scale(self.highest)))
        odds = np.clip(scores * self.slope + self.offset, -50, 50)
        probability, alarm = 1 / (1 + np.exp(-odds)), self.alarms(scores)
        return [
            tuple(
                Found(name, float(probability[row, at]), float(strengths[row, at]), float(alarm[row, at]))
                for at, name in enumerate(NAMES)
            )
            for row in range(len(values))
        ]

    def alarms(self, scores: Matrix) -> Matrix:
        """The false alarms, over all faults together, that go with each score, N x F; conformal, so never 0."""
        rare = np.stack([_rarity(self._ordered[:, at], scores[:, at]) for at in range(len(NAMES))], axis=1) / _SHARES
        count = np.searchsorted(self._joint, rare, side="right")
        return np.asarray((1 + count) / (1 + len(self._joint)), dtype=np.float64)

    @cached_property
    def _ordered(self) -> Matrix:
        return np.sort(self.clean, axis=0)

    @cached_property
    def _joint(self) -> Matrix:
        """How rare the rarest score of each clean picture is, sorted."""
        rare = [_rarity(self._ordered[:, at], self.clean[:, at]) for at in range(len(NAMES))]
        return np.sort((np.stack(rare, axis=1) / _SHARES).min(axis=1))

    def outputs(self, signal: Matrix) -> Matrix:
        """Scores and then strengths, on the scale that they are learned on: N x S to N x 2F."""
        z = standardised(signal, self.mean, self.scale)
        squared = (z**2).sum(1)[:, None] + (self.landmarks**2).sum(1)[None] - 2 * z @ self.landmarks.T
        return np.asarray(np.exp(-self.gamma * np.maximum(squared, 0)) @ self.weights + self.bias, dtype=np.float64)


_SHARES = np.array([kind.share for kind in KINDS.values()])


def to_scale(strengths: Matrix) -> Matrix:
    """Strengths, N x F, on the scale that they are learned on: their logarithms."""
    return np.log(strengths)


def from_scale(values: Matrix) -> Matrix:
    """The inverse of `to_scale`."""
    return np.asarray(np.exp(values), dtype=np.float64)


def standardised(signal: Matrix, mean: Matrix, scale: Matrix) -> Matrix:
    """Signal statistics, N x S, to zero mean and a typical distance of 1, clipped."""
    unit = (2 * signal.shape[1]) ** -0.5
    return np.asarray(np.clip((signal - mean) * scale, -CLIP, CLIP) * unit, dtype=np.float64)


def _rarity(ordered: Matrix, scores: Matrix) -> Matrix:
    """The share of `ordered` that reaches each score."""
    return np.asarray(1 - np.searchsorted(ordered, scores, side="left") / len(ordered), dtype=np.float64)


def write_detector(folder: Path, detector: Detector) -> None:
    """Write FAULTS below a bundle folder; the same detector gives the same bytes."""
    record = _Record(format_version=FORMAT_VERSION, faults=NAMES)
    arrays = {
        name: np.ascontiguousarray(value if name == "chroma" else value.astype(np.float32))
        for name, value in _arrays(detector).items()
    }
    write_bytes(folder / FAULTS, save(arrays, metadata={"record": record.model_dump_json()}))


def read_detector(folder: Path) -> Detector | None:
    """The detector of a bundle folder; None where it has none. Raises FaultsUnreadable."""
    path = folder / FAULTS
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            record = _Record.model_validate_json((file.metadata() or {}).get("record", ""))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValidationError) as error:
        raise FaultsUnreadable(f"{path} cannot be read: {error}") from error
    if (record.format_version, record.faults) != (FORMAT_VERSION, NAMES):
        raise FaultsUnreadable(
            f"{path} is of version {record.format_version} with {', '.join(record.faults)}; this Packshot reads "
            f"{FORMAT_VERSION} with {', '.join(NAMES)}. Train again, or use the Packshot that made it."
        )
    if set(arrays) != {each.name for each in fields(Detector)} or not all(
        np.isfinite(a).all() for a in arrays.values()
    ):
        raise FaultsUnreadable(f"{path} lacks an array, or holds a number that is not finite; train again")
    return Detector(**{name: a if name == "chroma" else a.astype(np.float64) for name, a in arrays.items()})


def _arrays(detector: Detector) -> dict[str, Matrix]:
    return {each.name: getattr(detector, each.name) for each in fields(Detector)}
