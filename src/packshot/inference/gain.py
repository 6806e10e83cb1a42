"""Is a repaired picture nearer to the true one? Read off the pair of what went in and what came out.

What both share, the content, cancels in the differences; what is left tells damage that was taken away from damage that
was done. A forest of regression trees says by how many dB of PSNR, learned where the truth is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from packshot.errors import PackshotError
from packshot.faults.detector import Detector
from packshot.faults.kinds import NAMES
from packshot.files import write_bytes
from packshot.inference.repairs import names
from packshot.inference.signal_on_cpu import signal_on_cpu
from packshot.model.preprocess import SHORTEST_SIDE, Image, view_size

FILE = "gain.safetensors"
LONG_SIDE = 512
"""Pixels of the longer side at which pairs are compared."""
CELLS = 16
PERCENTILES = (1, 5, 50, 95, 99)
CHANGE_SIZE = 3 * 9 + 2 * len(PERCENTILES) + 1
HARMED_DB = 0.3
"""Further from the true picture by more than this is harmed, in dB of PSNR."""
Floats = npt.NDArray[np.float32]


class GainUnreadable(PackshotError):
    """The part of a bundle that tells what repairing gains is damaged, or made for other ways of repairing."""

    exit_code = 66


def evidence_size() -> int:
    """Numbers that a pair is told by."""
    return CHANGE_SIZE + len(names()) + 3 * 2 * len(NAMES)


@dataclass(frozen=True)
class Before:
    """A picture as it came, looked at once: its view, H x W x 3 uint8 RGB, that in 8-bit CIELAB, and what a detector
    says."""

    view: Image
    lab: Image
    said: Floats

    @classmethod
    def of(cls, image: Image, detector: Detector) -> Before:
        """Of a picture of any size."""
        view = shown(image)
        return cls(view, _lab(view), _said(view, detector))


def evidence(before: Before, after: Image, name: str, detector: Detector) -> Floats:
    """What a repair, by its `name`, made of a picture, in `evidence_size` numbers; `after` has the picture's size."""
    view = shown(after)
    said = _said(view, detector)
    way = np.array([name == each for each in names()], dtype=np.float32)
    return np.concatenate([_change(before, view), way, before.said, said, said - before.said])


def _said(view: Image, detector: Detector) -> Floats:
    return np.asarray(detector.outputs(signal_on_cpu(view).astype(np.float64))[0], dtype=np.float32)


def shown(image: Image) -> Image:
    """A picture as pairs are compared, its longer side at most LONG_SIDE: a white ground stays white, since a repair
    may be what makes it so."""
    size = view_size(image.shape[1], image.shape[0], LONG_SIDE)
    small = image if size == (image.shape[1], image.shape[0]) else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    down, right = (max(0, SHORTEST_SIDE - side) for side in small.shape[:2])
    bordered = cv2.copyMakeBorder(small, 0, down, 0, right, borderType=cv2.BORDER_REPLICATE) if down or right else small
    return np.asarray(bordered, dtype=np.uint8)


def _lab(view: Image) -> Image:
    return np.asarray(cv2.cvtColor(view, cv2.COLOR_RGB2LAB), dtype=np.uint8)


def _change(before: Before, view: Image) -> Floats:
    """Means and deviations of lightness and colour on both sides; of the difference what is slow and what is fine."""
    if view.shape != before.view.shape:
        raise ValueError(f"a repair changed the shape of a picture: {before.view.shape} to {view.shape}")
    sides = before.lab, _lab(view)
    difference = cv2.subtract(sides[1], sides[0], dtype=cv2.CV_32F)
    slow = cv2.resize(difference, (CELLS, CELLS), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    fine_mean, fine_deviation = cv2.meanStdDev(cv2.subtract(difference, cv2.GaussianBlur(difference, (0, 0), 3)))
    both = [statistic.ravel() for lab in sides for statistic in cv2.meanStdDev(lab)]
    moved = [np.log(cv2.norm(difference, cv2.NORM_L2SQR) / difference.size + 0.01)]
    parts = [*both, slow.mean(axis=0), slow.std(axis=0), np.abs(slow).mean(axis=0)]
    parts = [*parts, fine_deviation.ravel(), fine_mean.ravel(), *(_lightness(lab) for lab in sides), moved]
    return np.concatenate(parts).astype(np.float32)


def _lightness(lab: Image) -> npt.NDArray[np.float64]:
    """PERCENTILES of lightness, linear between neighbours as those of numpy: counted, not sorted."""
    counts = np.cumsum(cv2.calcHist([lab], [0], None, [256], [0, 256]).ravel().astype(np.int64))
    place = np.array(PERCENTILES) / 100 * (counts[-1] - 1)
    low, high = (np.searchsorted(counts, rounded(place), side="right") for rounded in (np.floor, np.ceil))
    return np.asarray(low + (high - low) * (place - np.floor(place)), dtype=np.float64)


@dataclass(frozen=True)
class Forest:
    """T regression trees of at most N nodes: `feature` T x N (-1 at a leaf), `threshold`, `value` (dB at a leaf), and
    the numbers of both children, all T x N. `expected` and `true`: of damaged copies of pictures of other groups, the
    gain that was expected of the way chosen and that which it had, dB."""

    feature: npt.NDArray[np.int16]
    threshold: Floats
    left: npt.NDArray[np.int16]
    right: npt.NDArray[np.int16]
    value: Floats
    expected: Floats
    true: Floats

    def predict(self, evidence: Floats) -> Floats:
        """Of P x `evidence_size`: the gains to be expected, P, dB."""
        return np.array([self._leaves(row).mean() for row in evidence], dtype=np.float32)

    def least(self, max_harm: float) -> float:
        """The expected gain, dB, from which on at most `max_harm` (0..1) of what is delivered is harmed, by the copies
        of pictures that were left out; never below 0, infinite where no gain is enough."""
        order = np.argsort(-self.expected, kind="stable")
        harmed = np.cumsum(self.true[order] < -HARMED_DB) / np.arange(1, len(order) + 1)
        allowed = np.flatnonzero(harmed <= max_harm)
        return max(0.0, float(self.expected[order][allowed[-1]])) if len(allowed) else float("inf")

    def _leaves(self, row: Floats) -> Floats:
        trees = np.arange(len(self.feature))
        node = np.zeros(len(self.feature), dtype=np.int16)
        while True:
            feature = self.feature[trees, node]
            inner = feature >= 0
            if not inner.any():
                return np.asarray(self.value[trees, node])
            low = row[feature] <= self.threshold[trees, node]
            step = np.where(low, self.left[trees, node], self.right[trees, node])
            node = np.where(inner, step, node)


def write_forest(folder: Path, forest: Forest) -> None:
    """Write it into a bundle; the same forest gives the same bytes."""
    arrays = {name: np.ascontiguousarray(value) for name, value in vars(forest).items()}
    write_bytes(folder / FILE, save(arrays, metadata={"repairs": "|".join(names())}))


def read_forest(folder: Path) -> Forest | None:
    """That of a bundle; None where it has none. Raises GainUnreadable."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            made_for = (file.metadata() or {}).get("repairs", "")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if made_for != "|".join(names()):
            raise ValueError(f"it is for the repairs {made_for}")
        return Forest(**arrays)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise GainUnreadable(f"{path} does not say what repairing gains: {error}; train again") from error
