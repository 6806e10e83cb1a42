"""Charts as inline SVG: no script, no font, no request; colours come from the page's own style sheet.

Classes used: `batch`, `reference` (filled shapes), `axis` (lines), `tick` (small text), `grid`, `bad`, `good`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 160
LEFT, RIGHT, TOP, BOTTOM = 14, 14, 12, 28


@dataclass(frozen=True)
class Series:
    """Values of one side of a chart, with the CSS class that colours it."""

    label: str
    css: str
    values: Sequence[float]


def histogram(title: str, series: Sequence[Series], low: float, high: float, bins: int = 24) -> Markup:
    """Shares by bin, one outline over the other. Values outside low..high count in the outer bins."""
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    shares = [_shares(entry.values, edges) for entry in series]
    top = max((float(share.max()) for share in shares if share.size), default=0.0) or 1.0
    parts = [_baseline(edges)]
    for entry, share in zip(series, shares, strict=True):
        parts.append(
            f'<path class="area {entry.css}" d="{_steps(share / top)}"><title>{escape(entry.label)}</title></path>'
        )
    return _svg(title, "".join(parts), WIDTH, HEIGHT)


def _shares(values: Sequence[float], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    numbers = np.clip(np.asarray(values, dtype=float), edges[0], edges[-1])
    counts = np.histogram(numbers, edges)[0].astype(float)
    return np.asarray(counts / max(float(counts.sum()), 1.0))


def _steps(heights: NDArray[np.float64]) -> str:
    span = (WIDTH - LEFT - RIGHT) / len(heights)
    floor = HEIGHT - BOTTOM
    points = [f"M{LEFT:.1f} {floor:.1f}"]
    for index, height in enumerate(heights):
        y = floor - height * (floor - TOP)
        points.append(f"L{LEFT + index * span:.1f} {y:.1f}L{LEFT + (index + 1) * span:.1f} {y:.1f}")
    points.append(f"L{WIDTH - RIGHT:.1f} {floor:.1f}Z")
    return "".join(points)


def _baseline(edges: NDArray[np.float64]) -> str:
    floor = HEIGHT - BOTTOM
    line = f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>'
    ticks = []
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x = LEFT + share * (WIDTH - LEFT - RIGHT)
        value = edges[0] + share * (edges[-1] - edges[0])
        ticks.append(f'<text class="tick" x="{x:.1f}" y="{floor + 17}" text-anchor="{anchor}">{value:.3g}</text>')
    return line + "".join(ticks)


@dataclass(frozen=True)
class Cloud:
    """Points of a map, n x 2, with a text for each (may be empty)."""

    label: str
    css: str
    points: NDArray[np.float64]
    texts: Sequence[str] = ()


def scatter(
    title: str,
    clouds: Sequence[Cloud],
    marks: Sequence[tuple[str, float, float]] = (),
    width: int = 640,
    height: int = 420,
) -> Markup:
    """Clouds of points on common axes without units, as of a projection; `marks` are words at places."""
    everything = np.vstack([cloud.points for cloud in clouds if len(cloud.points)] or [np.zeros((1, 2))])
    low, high = np.percentile(everything, 0.5, axis=0), np.percentile(everything, 99.5, axis=0)
    span = np.where(high > low, high - low, 1.0)
    parts = [f'<rect class="frame" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="8"/>']
    for cloud in clouds:
        places = np.clip((cloud.points - low) / span, 0.0, 1.0) * [width - 32, height - 32] + 16
        parts.append(f'<g class="{cloud.css}">')
        for index, (x, y) in enumerate(places):
            text = f"<title>{escape(cloud.texts[index])}</title>" if cloud.texts else ""
            parts.append(f'<circle cx="{x:.1f}" cy="{height - y:.1f}" r="3.2">{text}</circle>')
        parts.append("</g>")
    for word, x, y in marks:
        place = np.clip((np.array([x, y]) - low) / span, 0.04, 0.96) * [width - 32, height - 32] + 16
        parts.append(f'<text class="mark" x="{place[0]:.1f}" y="{height - place[1]:.1f}">{escape(word)}</text>')
    return _svg(title, "".join(parts), width, height)


@dataclass(frozen=True)
class Span:
    """A figure with its interval on a common axis; `bound` is what it had to reach, if anything."""

    label: str
    css: str
    value: float
    low: float
    high: float
    bound: float | None = None


def interval(title: str, span: Span, width: int = 180, height: int = 26) -> Markup:
    """One interval with its value and its bound, small enough for a table cell."""
    ends = [span.low, span.high, span.value, *([span.bound] if span.bound is not None else [])]
    low, high = min(ends), max(ends)
    reach = (high - low) or 1.0

    def x(value: float) -> float:
        return 8 + (value - low) / reach * (width - 16)

    middle = height / 2
    bound = ""
    if span.bound is not None:
        bound = f'<line class="bound" x1="{x(span.bound):.1f}" x2="{x(span.bound):.1f}" y1="3" y2="{height - 3}"/>'
    body = (
        f'<line class="axis {span.css}" x1="{x(span.low):.1f}" x2="{x(span.high):.1f}" y1="{middle}" y2="{middle}"/>'
        f'{bound}<circle class="{span.css}" cx="{x(span.value):.1f}" cy="{middle}" r="4.5"/>'
    )
    return _svg(title, body, width, height)


def effect_bars(title: str, rows: Sequence[tuple[str, float, bool]]) -> Markup:
    """Standardised differences as bars to both sides of zero; True marks what is significant."""
    line, label_width, width = 24, 172, 472
    height = line * max(len(rows), 1) + 30
    reach = max([abs(value) for _, value, _ in rows] + [0.5])
    centre = label_width + (width - label_width) / 2
    half = (width - label_width) / 2 - 44
    parts = [f'<line class="axis" x1="{centre}" x2="{centre}" y1="4" y2="{height - 26}"/>']
    for index, (name, value, marked) in enumerate(rows):
        y = 6 + index * line
        length = abs(value) / reach * half
        start = centre if value >= 0 else centre - length
        css = "batch" if marked else "muted"
        end = centre + length + 5 if value >= 0 else centre - length - 5
        anchor = "start" if value >= 0 else "end"
        parts.append(
            f'<text class="tick" x="{label_width - 6}" y="{y + 13}" text-anchor="end">{escape(_short(name))}</text>'
            f'<rect class="{css}" x="{start:.1f}" y="{y}" width="{length:.1f}" height="{line - 8}" rx="2"/>'
            f'<text class="tick" x="{end:.1f}" y="{y + 13}" text-anchor="{anchor}">{value:+.2f}</text>'
        )
    note = "difference of means, in standard deviations"
    parts.append(f'<text class="tick" x="{centre}" y="{height - 6}" text-anchor="middle">{note}</text>')
    return _svg(title, "".join(parts), width, height)


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def p_history(
    title: str, values: Sequence[tuple[str, float | None, bool]], levels: Sequence[tuple[str, float]]
) -> Markup:
    """p of successive windows on a logarithmic axis (1 at the top), alarms marked, levels as lines."""
    width, height = 460, 180
    floor, ceiling = 3.4, 0.0

    def y(p: float) -> float:
        depth = min(max(-math.log10(max(p, 1e-9)), ceiling), floor) / floor
        return TOP + depth * (height - TOP - BOTTOM)

    parts = []
    for name, level in levels:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>'
            f'<text class="tick" x="{width - RIGHT}" y="{y(level) - 4:.1f}" text-anchor="end">'
            f"{escape(name)} {level:g}</text>"
        )
    step = (width - LEFT - RIGHT - 90) / max(len(values) - 1, 1)
    for index, (name, value, alarm) in enumerate(values):
        if value is not None:
            css = "bad" if alarm else "good"
            spot = f'cx="{LEFT + 8 + index * step:.1f}" cy="{y(value):.1f}" r="5.5"'
            parts.append(f'<circle class="{css}" {spot}><title>{escape(name)}: p = {value:.4f}</title></circle>')
    parts.append(f'<text class="tick" x="{LEFT}" y="{height - 8}">windows, oldest first; lower is more unlike</text>')
    return _svg(title, "".join(parts), width, height)


@dataclass(frozen=True)
class Line:
    """A curve over 0..1, with a dot on it."""

    label: str
    css: str
    points: Sequence[tuple[float, float]]
    mark: tuple[float, float]


def curves(title: str, lines: Sequence[Line], levels: Sequence[tuple[str, float]]) -> Markup:
    """Curves over 0..1 from zero to a fifth above the highest of `levels`, which are drawn across; what is higher is
    cut off."""
    width, height = 460, 240
    top = 1.2 * max(level for _, level in levels)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = LEFT + point[0] * (width - LEFT - RIGHT)
        return across, height - BOTTOM - min(point[1] / top, 1.0) * (height - BOTTOM - TOP)

    parts = [f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{height - BOTTOM}" y2="{height - BOTTOM}"/>']
    for value, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x, y = place((value, 0.0))
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y + 17:.1f}" text-anchor="{anchor}">{value:g}</text>')
    for name, level in levels:
        x, y = place((1.0, level))
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{x:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{x:.1f}" y="{y - 4:.1f}" text-anchor="end">{escape(name)} {level:.1f}</text>'
        )
    for line in lines:
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, line.points))
        x, y = place(line.mark)
        parts.append(
            f'<polyline class="line {line.css}" points="{drawn}"><title>{escape(line.label)}</title></polyline>'
            f'<circle class="{line.css}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
        )
    return _svg(title, "".join(parts), width, height)


def project(
    reference: NDArray[np.float64], batch: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first two principal components of the reference, applied to both (n x 2 each)."""
    base = reference if len(reference) >= 3 else np.vstack([reference, batch])
    centre = base.mean(axis=0)
    _, _, axes = np.linalg.svd(base - centre, full_matrices=False)
    plane = axes[:2].T
    if plane.shape[1] < 2:
        plane = np.hstack([plane, np.zeros((plane.shape[0], 2 - plane.shape[1]))])
    return (reference - centre) @ plane, (batch - centre) @ plane


def _svg(title: str, body: str, width: int, height: int) -> Markup:
    # Every text in `body` was escaped where it was put in.
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
        f'preserveAspectRatio="xMidYMid meet">{body}</svg>'
    )
