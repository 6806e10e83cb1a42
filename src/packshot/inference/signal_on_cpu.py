"""`packshot.model.signal` for one picture on one core: the same numbers in less than half of the time.

What depends on single bytes is counted exactly, the rest in as few passes over a plane as it allows. Means are sums of
row sums: a product of whole planes would wake the threads of BLAS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt

import cv2
import numpy as np
import numpy.typing as npt

from packshot.model.preprocess import Image
from packshot.model.signal_layout import (
    COLOUR_OCTAVES,
    GRIDS,
    LUMA,
    NORMALISED_OCTAVES,
    OCTAVES,
    SIGNAL_SIZE,
    STEP,
    TONES,
)

Plane = npt.NDArray[np.float32]
Numbers = list[float]
BINOMIAL = np.array([1, 4, 6, 4, 1], dtype=np.float32) / 16
LEVELS = np.arange(256) / 255


def signal_on_cpu(image: Image) -> npt.NDArray[np.float32]:
    """A view, uint8 H x W x 3 RGB with sides of at least 32, to 1 x SIGNAL_SIZE: see `signal_statistics`.

    Differs where a picture is of one tone throughout: torch gives such a plane the deviation of its own rounding.
    """
    channels = cv2.split(image)
    red, green, blue = (np.divide(each, np.float32(255), dtype=np.float32) for each in channels)
    luma = np.float32(LUMA[0]) * red
    luma += np.float32(LUMA[1]) * green
    luma += np.float32(LUMA[2]) * blue
    colour = [red - green, (red + green) / 2 - blue]
    counted = _counted(channels)
    numbers = [
        *_octaves(luma, colour),
        *_grids(luma, colour),
        *_tones(luma, counted),
        *_light(luma, colour, counted),
    ]
    return np.array([numbers], dtype=np.float32).reshape(1, SIGNAL_SIZE)


def _dot(first: Plane, second: Plane) -> float:
    """Mean of the products."""
    return float(np.vecdot(first, second).sum(dtype=np.float64)) / first.size


def _mean_abs(values: Plane) -> float:
    return float(cv2.norm(values, cv2.NORM_L1)) / values.size


def _smooth(values: Plane) -> Plane:
    smoothed = cv2.sepFilter2D(values, -1, BINOMIAL, BINOMIAL, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smoothed, dtype=np.float32)


def _smooth_in_order(values: Plane) -> Plane:
    """As `_smooth`, rounded as torch does: where a picture is smooth, its local deviation is not far above rounding."""
    values = cv2.copyMakeBorder(values, 2, 2, 2, 2, cv2.BORDER_REPLICATE)
    for _ in range(4):
        values = cv2.add(values[:, 1:], values[:, :-1])
    for _ in range(4):
        values = cv2.add(values[1:], values[:-1])
    return np.asarray(values / 256, dtype=np.float32)


def _halved(values: Plane) -> Plane:
    """Means of 2 x 2; an odd last row or column is left out."""
    height, width = (side // 2 for side in values.shape)
    half = cv2.resize(values[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(half, dtype=np.float32)


def _halved_in_order(values: Plane) -> Plane:
    """As `_halved`, rounded as torch does."""
    height, width = (side // 2 * 2 for side in values.shape)
    summed = values[:height:2, :width:2] + values[:height:2, 1:width:2]
    summed += values[1:height:2, :width:2]
    summed += values[1:height:2, 1:width:2]
    summed /= 4
    return summed


def _neighbours(values: Plane) -> tuple[tuple[Plane, Plane], ...]:
    """Each pixel and its neighbour: across, down, and along both diagonals."""
    return (
        (values[:, 1:], values[:, :-1]),
        (values[1:], values[:-1]),
        (values[1:, 1:], values[:-1, :-1]),
        (values[1:, :-1], values[:-1, 1:]),
    )


def _octaves(luma: Plane, colour: Sequence[Plane]) -> Numbers:
    found: Numbers = []
    energies: Numbers = []
    for octave in range(OCTAVES):
        normalised = octave < NORMALISED_OCTAVES
        middle = _smooth_in_order(luma) if normalised else _smooth(luma)
        band = luma - middle
        energies.append(_mean_abs(band) + STEP / 4)
        found += _band(band)
        if normalised:
            found += _normalised(luma, middle, band) + _directions(luma)
        if octave < COLOUR_OCTAVES:
            bands = [_band(each - _smooth(each)) for each in colour]
            found += [number for numbers in zip(*bands, strict=True) for number in numbers]
            colour = [_halved(each) for each in colour]
        luma = _halved_in_order(luma) if normalised else _halved(luma)
    return found + [log(fine / coarse) for fine, coarse in pairwise(energies)]


def _band(band: Plane) -> Numbers:
    """Energy, peakedness and the contrasts of cells."""
    squares = np.square(band)
    energy = _mean_abs(band)
    peakedness = log((float(cv2.sumElems(squares)[0]) / band.size + 1e-7) / (energy**2 + 1e-7))
    height, width = (side // 4 * 4 for side in band.shape)
    cells = _halved(_halved(squares[:height, :width])) + np.float32((STEP / 2) ** 2)
    harmonic = -log(float(np.mean(1 / np.sqrt(cells), dtype=np.float64)))
    geometric = float(np.mean(np.log(cells), dtype=np.float64)) / 2
    return [log(energy + STEP / 4), peakedness, harmonic, geometric, log(_dot(cells, cells)) / 4]


def _normalised(luma: Plane, middle: Plane, band: Plane) -> Numbers:
    values = _smooth_in_order(np.square(luma))
    values -= np.square(middle)
    values = np.asarray(cv2.max(values, 0), dtype=np.float32)
    values += np.float32(1e-10)
    values = np.asarray(cv2.sqrt(values), dtype=np.float32)
    values += np.float32(STEP)
    np.divide(band, values, out=values)
    squares, sizes = np.square(values), np.abs(values)
    energy = _dot(values, values)
    found = [_mean_abs(values), energy, _dot(squares, values), _dot(squares, squares) / (energy**2 + 1e-3)]
    for products, absolute in zip(_neighbours(values), _neighbours(sizes), strict=True):
        found += [_dot(*products), _dot(*absolute)]
    return found


def _directions(luma: Plane) -> Numbers:
    across, down, falling, rising = (
        float(cv2.norm(*pair, cv2.NORM_L1)) / pair[0].size + STEP / 4 for pair in _neighbours(luma)
    )
    squares = _squares(_absolute_steps(luma, 1))
    return [
        log(across / down),
        log(falling / rising),
        log((across + down) / (falling + rising)),
        log(_dot(squares, squares) + 1e-10) / 4,
    ]


def _absolute_steps(values: Plane, axis: int) -> Plane:
    """Sizes of the differences of neighbours, down (0) or across (1)."""
    later, earlier = _neighbours(values)[1 - axis]
    return np.asarray(cv2.absdiff(later, earlier), dtype=np.float32)


def _squares(values: Plane) -> Plane:
    return np.square(values, out=values)


def _grids(luma: Plane, colour: Sequence[Plane]) -> Numbers:
    across, down = _absolute_steps(luma, 1), _absolute_steps(luma, 0)
    tints = [_absolute_steps(each, 1) for each in colour]
    found: Numbers = []
    for grid in GRIDS:
        found += [_on_grid(across, 0, grid), _on_grid(down, 1, grid)]
    found += [_on_grid(each, 0, GRIDS[1]) for each in tints]
    for steps in (_squares(across), _squares(down)):
        found += [_share_near(steps, scale * STEP) for scale in (0.5, 3.0)]
    return found + [_share_near(_squares(each), STEP / 2) for each in tints]


def _near(squares: Plane, scale: float) -> Plane:
    """Root of how near to 0 values with these squares are: 1 at 0, falling beyond `scale`."""
    close = squares + np.float32(scale**2)
    return np.asarray(np.divide(np.float32(scale**2), close, out=close), dtype=np.float32)


def _share_near(squares: Plane, scale: float) -> float:
    close = _near(squares, scale)
    return _dot(close, close)


def _on_grid(steps: Plane, axis: int, grid: int) -> float:
    """Mean over `axis`, then steps at the end of a block over those elsewhere, log."""
    profile = cv2.reduce(steps, axis, cv2.REDUCE_AVG, dtype=cv2.CV_64F).ravel()
    by_place = profile[: len(profile) // grid * grid].reshape(-1, grid).mean(axis=0) + STEP / 4
    return log(by_place[-1] / by_place[:-1].mean())


@dataclass(frozen=True)
class _Counted:
    """Of red, green and blue, 0..1: `sixth` are means of the sixth power, `edges` of the steps across."""

    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    sixth: npt.NDArray[np.float64]
    cut_above: npt.NDArray[np.float64]
    cut_below: npt.NDArray[np.float64]
    most: npt.NDArray[np.float64]
    least: npt.NDArray[np.float64]
    edges: Numbers


def _counted(channels: Sequence[npt.NDArray[np.uint8]]) -> _Counted:
    pixels = channels[0].size
    counts = np.stack([cv2.calcHist([each], [0], None, [256], [0, 256]).ravel() for each in channels])
    shares = counts.astype(np.float64) / pixels
    mean, squares = shares @ LEVELS, shares @ LEVELS**2
    apart = np.array([[cv2.norm(a, b, cv2.NORM_L2SQR) for a in channels] for b in channels]) / (pixels * 255.0**2)
    present = [np.flatnonzero(each) for each in counts]
    return _Counted(
        mean=mean,
        covariance=(squares[:, None] + squares - apart) / 2 - np.outer(mean, mean),
        sixth=shares @ LEVELS**6,
        cut_above=shares @ (LEVELS > 0.985),
        cut_below=shares @ (LEVELS < 0.015),
        most=np.array([LEVELS[each[-1]] for each in present]),
        least=np.array([LEVELS[each[0]] for each in present]),
        edges=[float(cv2.norm(each[:, 1:], each[:, :-1], cv2.NORM_L1)) / each[:, 1:].size / 255 for each in channels],
    )


def _tones(luma: Plane, counted: _Counted) -> Numbers:
    # a triangle over a tone is the second difference of ramps that begin at its neighbours and at itself
    scaled = luma * np.float32(TONES - 1)
    whole = float(cv2.sumElems(scaled)[0]) / luma.size
    ramps = [float(cv2.sumElems(cv2.max(scaled, float(tone)))[0]) / luma.size for tone in range(1, TONES - 1)]
    ramps = [whole, whole, *ramps, TONES - 1.0, float(TONES)]
    tones = [before - 2 * at + after for before, at, after in zip(ramps, ramps[1:], ramps[2:], strict=False)]
    centred = luma - np.float32(whole / (TONES - 1))
    deviation = _deviation(_dot(centred, centred))
    skew = _dot(np.square(centred), centred) / (deviation + 0.02) ** 3
    spread = [log(_deviation(variance) + 0.01) for variance in np.diag(counted.covariance)]
    cut = [*counted.cut_above, *counted.cut_below]
    return [*tones, *cut, *counted.mean, *spread, skew, *counted.most, *counted.least]


def _deviation(variance: float) -> float:
    return sqrt(max(variance, 0.0) + 1e-10)


def _light(luma: Plane, colour: Sequence[Plane], counted: _Counted) -> Numbers:
    opponents = np.array([[1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
    tint = opponents @ counted.mean
    variances = np.diag(opponents @ counted.covariance @ opponents.T)
    tints = [*tint, *(log(_deviation(variance) + 0.005) for variance in variances)]

    squares = np.square(colour[0])
    squares += np.square(colour[1])
    squares += np.float32(1e-8)
    roots: tuple[Callable[[], Plane], ...] = (
        lambda: np.square(luma),
        lambda: _squares(1 - luma),
        lambda: _near(squares, 0.1),
        lambda: _near(squares, 0.04),
    )
    for root in roots:
        at = root()
        share = _dot(at, at) + 1e-3
        weight = _squares(at)
        tints += [_dot(each, weight) / share for each in colour]

    chroma = float(cv2.sumElems(cv2.sqrt(squares))[0]) / luma.size
    colourful = [
        chroma,
        log(_deviation(float(cv2.sumElems(squares)[0]) / luma.size - chroma**2) + 0.005),
        (_dot(squares, squares) + 1e-12) ** 0.25,
        _share_near(squares, 0.02),
    ]
    brightest = [(value + 1e-12) ** (1 / 6) + 0.01 for value in counted.sixth]
    edges = [value + STEP / 4 for value in counted.edges]
    by_green = [log(each[place] / each[1]) for each in (brightest, edges) for place in (0, 2)]
    return [*tints, *colourful, *by_green, *_agreement(counted)]


def _agreement(counted: _Counted) -> Numbers:
    covariance = counted.covariance
    length = np.sqrt(np.maximum(np.diag(covariance), 0) + 1e-6)
    return [covariance[a, b] / (length[a] * length[b]) for a, b in ((0, 1), (1, 2), (0, 2))]
