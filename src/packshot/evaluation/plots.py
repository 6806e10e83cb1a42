"""One look for every figure: quiet axes, few colours, a title that carries n and the figure of merit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from packshot.evaluation.metrics import Floats
from packshot.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#9aa5b1", "#e4e7eb"
GOOD, BAD, UNSURE = "#2f7d5b", "#c0392b", "#d9a441"
PALETTE = ("#2b6cb0", "#d9822b", "#2f7d5b", "#8e44ad", "#c0392b", "#16808a", "#7b8794")
DPI = 130


def figure(width: float = 6.4, height: float = 4.6) -> tuple[Figure, Axes]:
    """A figure and its axes in the house style; no window, no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(fig)
    axes = fig.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.title.set_fontsize(11)
    axes.title.set_color(INK)
    return fig, axes


def save(fig: Figure, path: Path) -> None:
    """Write a PNG atomically; without a date or version inside, so equal figures are equal bytes."""
    with atomic_path(path) as temporary:
        fig.savefig(temporary, format="png", metadata={"Software": None})


def quality_scatter(rows: pd.DataFrame, title: str, path: Path) -> None:
    """Predicted against human score, a colour for each subset, the diagonal for orientation."""
    fig, axes = figure(5.6, 5.2)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    for colour, (subset, part) in zip(_colours(), rows.groupby("subset", dropna=False), strict=False):
        label = f"{subset} (n = {len(part)})" if isinstance(subset, str) else f"n = {len(part)}"
        axes.scatter(
            part["quality_mos"],
            part["quality"],
            s=14,
            alpha=0.65,
            color=colour,
            linewidths=0,
            label=label,
            clip_on=False,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="human score", ylabel="predicted quality", title=title, aspect="equal")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    save(fig, path)


def srcc_bars(
    model: Mapping[str, float], baseline: Mapping[str, float], whiskers: Mapping[str, float], title: str, path: Path
) -> None:
    """A bar for each slice, the baseline's beside it; a whisker is a standard deviation over folds."""
    names = list(model)
    fig, axes = figure(max(5.2, 1.2 * len(names) + 1.6), 4.2)
    for place, name in enumerate(names):
        beside = name in baseline
        _bar(axes, place - 0.2 * beside, model[name], PALETTE[0], whiskers.get(name))
        if beside:
            _bar(axes, place + 0.2, baseline[name], MUTED, None)
    axes.plot([], [], "s", color=PALETTE[0], label="model")
    if baseline:
        axes.plot([], [], "s", color=MUTED, label="knows only the subset")
    axes.set_xticks(range(len(names)), names)
    axes.set(ylim=(min(0.0, *model.values()), 1.05), ylabel="SRCC", title=title)
    axes.grid(axis="x", visible=False)
    axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    save(fig, path)


def _bar(axes: Axes, place: float, value: float, colour: str, whisker: float | None) -> None:
    axes.bar(place, value, 0.38, color=colour)
    if whisker is not None:
        axes.errorbar(place, value, yerr=whisker, color=INK, capsize=4, linewidth=1.2)
    axes.text(place, max(value, 0) + (whisker or 0.0) + 0.015, f"{value:.2f}", ha="center", fontsize=9, color=INK)


def confusion(actual: Sequence[str], predicted: Sequence[str], title: str, path: Path) -> None:
    """Rows: actual style, columns: predicted; shade is the share of the row, the number is the count."""
    labels = sorted({*actual, *predicted})
    index = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(counts, ([index[a] for a in actual], [index[p] for p in predicted]), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.6 + 0.62 * len(labels)
    fig, axes = figure(side + 0.6, side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            shade = "white" if shares[row, column] > 0.55 else INK
            axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=9)
    names = [label.replace("_", " ") for label in labels]
    axes.set_xticks(range(len(labels)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), names)
    axes.set(xlabel="predicted style", ylabel="actual style", title=title)
    axes.grid(visible=False)
    save(fig, path)


def gain_histogram(enhanced: Floats, classic: Floats, title: str, path: Path) -> None:
    """Distributions of the gain in PSNR over the degraded input; the thin lines are the means."""
    fig, axes = figure()
    spread = np.concatenate([enhanced, classic])
    bins = np.linspace(np.floor(spread.min()), np.ceil(spread.max()), 25).tolist()
    for values, colour, label in ((classic, PALETTE[1], "classic chain"), (enhanced, PALETTE[0], "learned enhancer")):
        axes.hist(values, bins=bins, color=colour, alpha=0.6, label=f"{label}: mean {values.mean():+.2f} dB")
        axes.axvline(float(values.mean()), color=colour, linewidth=1.5)
    axes.axvline(0, color=INK, linewidth=1, linestyle="--")
    axes.set(xlabel="gain over the degraded picture, dB PSNR", ylabel="pictures", title=title)
    axes.legend(frameon=False, fontsize=9)
    save(fig, path)


def reliability(confidence: Floats, correct: Floats, title: str, path: Path, bins: int = 10) -> None:
    """Accuracy against confidence in bins; a bin's width of mark says how many pictures it holds."""
    fig, axes = figure(5.2, 4.9)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    for i in np.unique(which):
        inside = which == i
        size = 30 + 400 * inside.mean()
        axes.scatter(confidence[inside].mean(), correct[inside].mean(), s=size, color=PALETTE[0], alpha=0.8)
        axes.annotate(
            str(int(inside.sum())),
            (float(confidence[inside].mean()), float(correct[inside].mean())),
            textcoords="offset points",
            xytext=(0, 12),
            ha="center",
            fontsize=8,
            color=INK,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.05), xlabel="confidence", ylabel="share correct", title=title)
    save(fig, path)


def coverage_bars(share: Mapping[str, float], count: Mapping[str, int], target: float, title: str, path: Path) -> None:
    """Share of human scores inside the predicted interval, for each slice, beside the promised share."""
    names = list(share)
    fig, axes = figure(max(4.6, 1.1 * len(names) + 1.4), 4.0)
    axes.bar(range(len(names)), [share[n] for n in names], 0.55, color=PALETTE[5])
    for place, name in enumerate(names):
        axes.text(place, share[name] + 0.012, f"{share[name]:.0%}", ha="center", fontsize=9, color=INK)
    axes.axhline(target, color=BAD, linewidth=1.2, linestyle="--", label=f"promised: {target:.0%}")
    axes.set_xticks(range(len(names)), [f"{n}\nn = {count[n]}" for n in names])
    axes.set(ylim=(0, 1.2), yticks=np.arange(0, 1.01, 0.2), ylabel="human scores inside the interval", title=title)
    axes.grid(axis="x", visible=False)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    save(fig, path)


def _colours() -> Any:
    from itertools import cycle

    return cycle(PALETTE)
