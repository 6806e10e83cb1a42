"""A version in shadow beside the champion, as a picture."""

from __future__ import annotations

from pathlib import Path

from packshot.evaluation.agreement import DECISIONS, NO_ANSWER, Agreement
from packshot.evaluation.plots import INK, PALETTE, figure, save

SHARES = {"srcc": "rank correlation of scores", "same_decision": "same decision", "same_style": "same style"} | {
    "mean_difference": "mean difference of scores",
    "errors": "only the shadow fails",
}


def plot_agreement(found: Agreement, title: str, path: Path) -> None:
    """Write a PNG: the figures with their intervals above, under them the table of decisions as text."""
    fig, axes = figure(width=8.0, height=4.4)
    for place, (name, label) in enumerate(reversed(SHARES.items())):
        one = found.figures[name]
        if one.value is None or one.low is None or one.high is None:
            axes.text(0.01, place, f"{label}: undefined", va="center", color=INK, fontsize=9)
            continue
        axes.plot([one.low, one.high], [place, place], color=PALETTE[0], linewidth=3, solid_capstyle="round")
        axes.plot([one.value], [place], "o", color=PALETTE[0], markersize=7)
        axes.text(1.03, place, f"{one.value:.3f}", va="center", color=INK, fontsize=9)
    axes.set_yticks(range(len(SHARES)), list(reversed(SHARES.values())))
    axes.set_ylim(-0.7, len(SHARES) - 0.3)
    axes.set_xlim(min([-0.02, *(one.low - 0.02 for one in found.figures.values() if one.low is not None)]), 1.12)
    axes.set_title(f"{title}\n{found.images} images, {found.groups} senders or lone images")
    axes.set_xlabel(_table(found), family="monospace", fontsize=8, loc="left")
    axes.grid(axis="y", visible=False)
    save(fig, path)


def _table(found: Agreement) -> str:
    columns = (*DECISIONS, NO_ANSWER)
    lines = ["champion \\ shadow " + "".join(name.rjust(9) for name in columns)]
    lines += [
        theirs.ljust(18) + "".join(str(found.confusion[theirs][ours]).rjust(9) for ours in columns)
        for theirs in DECISIONS
    ]
    if found.time_ratio is not None:
        lines.append(f"time for an image: {found.time_ratio:.2f} times the champion's")
    return "\n" + "\n".join(lines)
