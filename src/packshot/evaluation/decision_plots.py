"""What decisions cost, in files: thresholds.json, the cost over each threshold, and wrong accepts against reviews."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

from packshot.config import DecisionCosts
from packshot.evaluation import plots
from packshot.evaluation.decision_costs import GIVEN, IN_FORCE, REVIEW_ALL, Weighed
from packshot.files import atomic_folder, write_json

FOLDER, RECORD = Path("reports/thresholds"), "thresholds.json"


def write(found: Weighed, folder: Path) -> None:
    """thresholds.json, cost.png and, where there is a frontier, frontier.png: all of one weighing."""
    with atomic_folder(folder) as building:
        _draw_curves(found, building / "cost.png")
        if found.frontier:
            _draw_frontier(found, building / "frontier.png")
        write_json(building / RECORD, found.as_record())


_LINES = {
    "accept_at": ("accepted from accept_at", plots.GOOD),
    "reject_below": ("sent back below reject_below", plots.BAD),
    "review_width": ("reviewed above review_width", plots.UNSURE),
}


def _draw_curves(found: Weighed, path: Path) -> None:
    fig, axes = plots.figure(7.2, 4.8)
    now = found.policy(IN_FORCE)
    for name, (label, colour) in _LINES.items():
        values, spent = zip(*found.curves[name], strict=True)
        at = getattr(found.bounds.thresholds, name)
        axes.plot(values, spent, color=colour, linewidth=1.8, label=f"{label}, {at:.2f}")
        axes.plot([at], [now.cost], "o", color=colour, markersize=7)
    for name, style in ((GIVEN, "--"), (REVIEW_ALL, ":")):
        one = found.policy(name)
        axes.axhline(one.cost, color=plots.MUTED, linewidth=1.2, linestyle=style, label=f"{name}: {one.cost:.1f}")
    highest = max(found.policy(name).cost for name in (IN_FORCE, GIVEN, REVIEW_ALL))
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1.25 * highest),
        xlabel="threshold, the other two as they are",
        ylabel="cost per 100 pictures",
        title=f"{now.cost:.1f} per 100 held-out pictures, n = {found.rows}\n{_prices(found.costs)}",
    )
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    plots.save(fig, path)


def _draw_frontier(found: Weighed, path: Path) -> None:
    fig, axes = plots.figure(6.4, 4.6)
    prices = {(reviewed, wrong): price for price, reviewed, wrong in reversed(found.frontier)}
    reviewed, wrong = zip(*sorted(prices), strict=True)
    axes.plot(reviewed, wrong, "-o", color=plots.PALETTE[0], markersize=4, label="tuned for a wrong accept at ...")
    for place, shift in zip(sorted(prices), cycle(((5, 6), (-8, -13))), strict=False):
        text = f"{prices[place]:g}"
        axes.annotate(text, place, textcoords="offset points", xytext=shift, fontsize=8, color=plots.PALETTE[0])
    for name, colour in ((IN_FORCE, plots.GOOD), (GIVEN, plots.BAD)):
        one = found.policy(name)
        label = f"{name}: {one.cost:.1f} per 100"
        axes.plot([one.reviewed], [one.wrong_accepts], "D", color=colour, markersize=7, label=label, zorder=3)
    axes.set(
        xlim=(0, None),
        ylim=(0, None),
        xlabel="reviewed by a person, per 100 pictures",
        ylabel="accepted though unfit, per 100 pictures",
        title=f"Wrong accepts against reviews, n = {found.rows} held-out pictures\n{_prices(found.costs)}",
    )
    axes.legend(frameon=False, fontsize=9)
    plots.save(fig, path)


def _prices(costs: DecisionCosts) -> str:
    return (
        f"wrong accept {costs.wrong_accept:g}, wrong reject {costs.wrong_reject:g}, review {costs.review:g}; "
        f"fit from {costs.good_from:g}"
    )
