"""The gates of one decision as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from packshot.evaluation.plots import BAD, GOOD, INK, MUTED, UNSURE, figure, save
from packshot.registry.gates import COMPLETE, NO_DECLINE, PAIRED_KINDS, GateResult

COLOURS = {"pass": GOOD, "fail": BAD, "not_enough_evidence": UNSURE, "not_applicable": MUTED}


def plot_gates(results: Sequence[GateResult], title: str, path: Path) -> None:
    """Write a PNG: one row a gate, the distance from its limit scaled so that 0 is the limit and right is better.

    Comparisons with the champion carry their interval; floors and ceilings are points. The scale of a row is the
    limit itself (floors, ceilings) or the margin (the interval where that is 0), so that rows of different units share
    one axis.
    """
    shown = [r for r in results if r.kind != COMPLETE]
    fig, axes = figure(width=8.5, height=1.3 + 0.42 * max(len(shown), 1))
    axes.axvline(0, color=INK, linewidth=1)
    for y, result in enumerate(reversed(shown)):
        _row(axes, y, result)
    axes.set_yticks(range(len(shown)), [f"{r.metric}  ({r.kind.replace('_', ' ')})" for r in reversed(shown)])
    axes.set_xlim(-1.6, 1.6)
    axes.set_ylim(-0.7, max(len(shown), 1) - 0.3)
    axes.set_xticks([-1, 0, 1], ["worse", "limit", "better"])
    axes.set_title(title)
    axes.grid(axis="y", visible=False)
    save(fig, path)


def _row(axes: object, y: int, result: GateResult) -> None:
    colour = COLOURS[result.verdict]
    draw = axes
    if result.kind in (*PAIRED_KINDS, NO_DECLINE) and result.low is not None and result.high is not None:
        assert result.difference is not None and result.threshold is not None
        scale = abs(result.threshold) * 2 or max(abs(result.low), abs(result.high), 1e-6)
        low, middle, high = (
            _clip((v - result.threshold) / scale) for v in (result.low, result.difference, result.high)
        )
        draw.plot([low, high], [y, y], color=colour, linewidth=3, solid_capstyle="round")  # type: ignore[attr-defined]
        draw.plot([middle], [y], "o", color=colour, markersize=7)  # type: ignore[attr-defined]
    elif result.challenger is not None and result.threshold is not None:
        sign = -1 if result.kind == "ceiling" else 1
        away = sign * (result.challenger - result.threshold) / max(abs(result.threshold), 0.25)
        draw.plot([_clip(away)], [y], "D", color=colour, markersize=7)  # type: ignore[attr-defined]
    else:
        draw.text(0.03, y, result.verdict.replace("_", " "), color=colour, va="center")  # type: ignore[attr-defined]


def _clip(value: float) -> float:
    return max(-1.5, min(1.5, value))
