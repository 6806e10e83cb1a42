"""What decisions cost on held-out pictures: with the thresholds in force, beside others, and as a curve."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from packshot.config import DecisionCosts, Settings
from packshot.errors import PackshotError
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.layout import BUNDLE, EVALUATED, REPORTS
from packshot.evaluation.metrics import Floats
from packshot.evaluation.resampling import Interval, mean_of, paired_bootstrap
from packshot.evaluation.thresholds import (
    ACCEPT,
    GRID,
    REJECT,
    REVIEW,
    InForce,
    Outcomes,
    Rated,
    Thresholds,
    TooFewRated,
    cost,
    decided,
    in_force,
    read_rated,
    tuned,
)
from packshot.training.layout import OUT_OF_FOLD

IN_FORCE, GIVEN = "thresholds in force", "values of params.yaml"
REVIEW_ALL, ACCEPT_ALL = "review everything", "accept everything"
DEARER = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""What `wrong_accept` is multiplied by along the frontier."""
HUNDRED = 100.0


class NothingToWeigh(PackshotError):
    """The workspace has no held-out scored pictures of its bundle."""

    exit_code = 65


@dataclass(frozen=True)
class Policy:
    """One way of deciding, per 100 held-out pictures: its cost with an interval over groups, what becomes of them, and
    how many decisions are wrong."""

    name: str
    cost: float
    low: float
    high: float
    accepted: float
    reviewed: float
    rejected: float
    wrong_accepts: float
    wrong_rejects: float


@dataclass(frozen=True)
class Weighed:
    """Decisions on held-out pictures in terms of cost.

    `saving`: cost with the values of params.yaml minus cost with the thresholds in force, per 100. `curves`: threshold
    to (value, cost per 100), the others held. `frontier`: for each wrong_accept (reviewed, wrong accepts per 100) by
    thresholds tuned for it; empty where tuning was not possible.
    """

    bounds: InForce
    costs: DecisionCosts
    rows: int
    policies: tuple[Policy, ...]
    saving: Interval
    curves: Mapping[str, tuple[tuple[float, float], ...]]
    frontier: tuple[tuple[float, float, float], ...]

    def as_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self) | {"bounds": self.bounds.as_record(), "costs": self.costs.model_dump()}

    def table(self) -> str:
        """The policies, a line each, and what the thresholds in force save."""
        columns = ("cost", "low", "high", "accepted", "reviewed", "rejected", "wrong_accepts", "wrong_rejects")
        lines = [f"per 100 of {self.rows}".ljust(24) + "".join(name.rjust(15) for name in columns)]
        for one in self.policies:
            lines.append(one.name.ljust(24) + "".join(f"{getattr(one, name):15.1f}" for name in columns))
        saved = self.saving
        lines.append(f"{IN_FORCE} save {saved.difference:.1f} ({saved.low:.1f} to {saved.high:.1f}) over {GIVEN}")
        return "\n".join(lines)

    def policy(self, name: str) -> Policy:
        """The policy of that name."""
        return next(one for one in self.policies if one.name == name)


def weigh_workspace(settings: Settings, workspace: Path) -> Weighed:
    """`weigh` of an evaluated workspace: tuned on what its bundle brings, weighed on the test split.

    Raises NothingToWeigh where it is not evaluated or no test picture has a score, RatedUnusable.
    """
    bundle, reports = workspace / BUNDLE, workspace / REPORTS
    _check_evaluated(bundle, reports)
    held_out = read_rated(reports / "per_image.parquet")
    if held_out is None or not len(held_out.human):
        raise NothingToWeigh(f"no picture in {reports / 'per_image.parquet'} has a human score; nothing can be weighed")
    return weigh(settings, read_rated(bundle / OUT_OF_FOLD), held_out)


def _check_evaluated(bundle: Path, reports: Path) -> None:
    try:
        evaluated = json.loads((reports / EVALUATED).read_text(encoding="utf-8"))["bundle_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NothingToWeigh(f"{reports} holds no finished evaluation ({error}); run `packshot evaluate`") from error
    if evaluated != bundle_digest(bundle):
        raise NothingToWeigh(f"the held-out scores in {reports} are of another bundle; run `packshot evaluate` again")


def weigh(settings: Settings, known: Rated | None, held_out: Rated) -> Weighed:
    """Thresholds from `known`, costs on `held_out`: pictures that took no part in tuning."""
    costs = settings.scoring.costs
    bounds = in_force(settings.scoring, known)
    count = len(held_out.human)
    ways = {
        IN_FORCE: decided(held_out, bounds.thresholds),
        GIVEN: decided(held_out, Thresholds.from_settings(settings.scoring)),
        REVIEW_ALL: np.full(count, REVIEW),
        ACCEPT_ALL: np.full(count, ACCEPT),
    }
    spent = {name: HUNDRED * cost(held_out, outcomes, costs) for name, outcomes in ways.items()}
    return Weighed(
        bounds=bounds,
        costs=costs,
        rows=count,
        policies=tuple(_policy(name, held_out, ways[name], settings) for name in ways),
        saving=_difference(held_out, spent[GIVEN], spent[IN_FORCE], settings),
        curves={name: _curve(held_out, bounds.thresholds, name, costs) for name in asdict(bounds.thresholds)},
        frontier=_frontier(known, held_out, costs) if known is not None else (),
    )


def _policy(name: str, held_out: Rated, outcomes: Outcomes, settings: Settings) -> Policy:
    costs = settings.scoring.costs
    spent = HUNDRED * cost(held_out, outcomes, costs)
    sure = _difference(held_out, spent, np.zeros(len(spent)), settings)
    good = held_out.human >= costs.good_from
    shares = {
        "accepted": outcomes == ACCEPT,
        "reviewed": outcomes == REVIEW,
        "rejected": outcomes == REJECT,
        "wrong_accepts": (outcomes == ACCEPT) & ~good,
        "wrong_rejects": (outcomes == REJECT) & good,
    }
    return Policy(
        name, sure.difference, sure.low, sure.high, **{k: HUNDRED * float(v.mean()) for k, v in shares.items()}
    )


def _difference(held_out: Rated, one: Floats, other: Floats, settings: Settings) -> Interval:
    return paired_bootstrap(
        held_out.groups,
        mean_of(one),
        mean_of(other),
        resamples=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
    )


def _curve(held_out: Rated, bounds: Thresholds, name: str, costs: DecisionCosts) -> tuple[tuple[float, float], ...]:
    tried = (replace(bounds, **{name: float(value)}) for value in GRID)
    return tuple(
        (float(getattr(one, name)), HUNDRED * float(cost(held_out, decided(held_out, one), costs).mean()))
        for one in tried
        if one.reject_below <= one.accept_at
    )


def _frontier(known: Rated, held_out: Rated, costs: DecisionCosts) -> tuple[tuple[float, float, float], ...]:
    found = []
    for factor in DEARER:
        price = costs.wrong_accept * factor
        try:
            bounds = tuned(known, costs.model_copy(update={"wrong_accept": price}))
        except TooFewRated:
            return ()
        outcomes = decided(held_out, bounds)
        wrong = (outcomes == ACCEPT) & (held_out.human < costs.good_from)
        found.append((price, HUNDRED * float((outcomes == REVIEW).mean()), HUNDRED * float(wrong.mean())))
    return tuple(found)
