"""What adapting to unlabelled pictures gained or lost: on held-out degraded copies, and on labelled rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from packshot.bundle import Judge
from packshot.config import Settings
from packshot.degrade import DEGRADATIONS
from packshot.evaluation import metrics as m
from packshot.evaluation import plots
from packshot.evaluation.heldout import ATTRIBUTES
from packshot.evaluation.resampling import mean_of, paired_bootstrap
from packshot.training.adapt import Ladder

RANKING = "own/srcc_within_pictures"
GUARDED = ("quality/srcc/", "style/accuracy/")
"""Labelled figures that must not fall; slices of a set (one more /) are too small to decide."""
KEPT = (*GUARDED, "attributes/srcc/", "enhance/psnr_gain", "quality/coverage/")


@dataclass(frozen=True)
class Comparison:
    """Figures `before` and `after` by name; `ranking_interval`: of the gain in RANKING, by group;
    `median_shift`, `largest_shift`: how far scores of undamaged held-out pictures moved, 0..1; `fallen`: what fell by
    more than the margin, in words."""

    before: dict[str, float]
    after: dict[str, float]
    ranking_interval: tuple[float, float]
    median_shift: float
    largest_shift: float
    fallen: tuple[str, ...]


def judged_ladders(judge: Judge, ladders: Iterable[tuple[str, Ladder]]) -> pd.DataFrame:
    """One row for each copy of each (group, ladder): image_id, group, copy (0: undamaged), near (full-reference score),
    attribute (that suffers; None for mixes), quality and the attributes."""
    rows = []
    for group, ladder in ladders:
        for copy, (seen, steps) in enumerate(zip(judge.judge(ladder.copies), ladder.steps, strict=True)):
            rows.append(
                {
                    "image_id": ladder.image_id,
                    "group": group,
                    "copy": copy,
                    "near": float(ladder.near[copy]),
                    "attribute": DEGRADATIONS[steps[0].name].attribute if len(steps) == 1 else None,
                    "quality": seen.quality,
                    **{name: float(getattr(seen, name)) for name in ATTRIBUTES},
                }
            )
    return pd.DataFrame(rows)


def compare(
    before: pd.DataFrame,
    after: pd.DataFrame,
    labelled: tuple[Mapping[str, float], Mapping[str, float]] | None,
    settings: Settings,
) -> Comparison:
    """Rows of `judged_ladders` of the same ladders by two models, and labelled held-out figures of both where they are
    known. Raises MetricError where no picture's copies can be ranked."""
    first, second = _within_pictures(before), _within_pictures(after)
    interval = paired_bootstrap(
        list(first["group"]),
        mean_of(second["srcc"].to_numpy(dtype=np.float64)),
        mean_of(first["srcc"].to_numpy(dtype=np.float64)),
        resamples=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        seed=settings.adapt.seed,
    )
    figures = [_own_figures(each, ranked) for each, ranked in ((before, first), (after, second))]
    for found, known in zip(figures, labelled or (), strict=False):
        found |= {name: value for name, value in known.items() if name.startswith(KEPT)}
    clean = before["copy"] == 0
    moved = (after["quality"][clean] - before["quality"][clean]).abs()
    return Comparison(
        figures[0],
        figures[1],
        (interval.low, interval.high),
        float(moved.median()),
        float(moved.max()),
        _fallen(figures[0], figures[1], settings.adapt.margin),
    )


def draw(found: Comparison, pictures: int, path: Path) -> None:
    """Rank correlations and accuracies before and after, a dumbbell each, written as PNG."""
    # gains in dB have another scale, and coverage is best at its promise, not at 1
    names = [name for name in found.before if name in found.after and not name.startswith(("enhance/", "quality/cov"))]
    names.reverse()
    fig, axes = plots.figure(7.6, 1.6 + 0.32 * len(names))
    for place, name in enumerate(names):
        first, second = found.before[name], found.after[name]
        colour = plots.GOOD if second >= first else plots.BAD
        axes.plot([first, second], [place, place], color=colour, linewidth=2)
        axes.plot(first, place, "o", color=plots.MUTED)
        axes.plot(second, place, "o", color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="before (grey) and after")
    fig.suptitle(
        f"Adapted without labels: {pictures} held-out pictures, whose scores moved {found.median_shift:.3f}",
        fontsize=11,
        color=plots.INK,
    )
    plots.save(fig, path)


def _within_pictures(rows: pd.DataFrame) -> pd.DataFrame:
    """image_id, group and rank correlation of quality with the full-reference score over each picture's copies."""
    found = []
    for (image_id, group), part in rows.groupby(["image_id", "group"], sort=False):
        if part["near"].nunique() > 1:
            # a judge that says the same of all copies ranks none of them
            tied = part["quality"].nunique() == 1
            found.append((image_id, group, 0.0 if tied else m.srcc(part["quality"], part["near"])))
    if not found:
        raise m.MetricError("no held-out picture has copies that differ; the gain cannot be measured")
    return pd.DataFrame(found, columns=["image_id", "group", "srcc"])


def _own_figures(rows: pd.DataFrame, ranked: pd.DataFrame) -> dict[str, float]:
    found = {RANKING: float(ranked["srcc"].mean())}
    for name in ATTRIBUTES:
        part = rows[rows["attribute"] == name]
        if len(part) > 2 and part["near"].nunique() > 1 and part[name].nunique() > 1:
            found[f"own/srcc/{name}"] = m.srcc(part[name], part["near"])
    return found


def _fallen(before: Mapping[str, float], after: Mapping[str, float], margin: float) -> tuple[str, ...]:
    guarded = [name for name in before if name.startswith(GUARDED) and name.count("/") == 2]
    return tuple(
        f"{name} fell from {before[name]:.4f} to {after.get(name, 0.0):.4f}"
        for name in (RANKING, *guarded)
        if before[name] - after.get(name, 0.0) > margin
    )
