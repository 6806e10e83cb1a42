"""Thresholds of the decision that cost least on scored pictures.

Decisions are taken here as `scoring.decisions` takes them of a picture that enhancing does not help: what an enhanced
picture would be worth to people is not known.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from packshot.config import DecisionCosts, ScoringSettings, Settings
from packshot.errors import PackshotError
from packshot.evaluation.metrics import Floats

GRID = np.arange(101) / 100
"""What `accept_at` and `reject_below` may be."""
WIDTHS = np.arange(1, 21) / 20
"""What `review_width` may be; at 1 no image is reviewed for its width."""
SCORES = ("quality_mos", "quality", "quality_low", "quality_high")
COLUMNS = (*SCORES, "group")
SAME = 1e-9
ACCEPT, REVIEW, REJECT = "accept", "review", "reject"
Outcomes = NDArray[np.str_]


class RatedUnusable(PackshotError):
    """Scored pictures that thresholds were to be tuned on lack a column or hold a NaN."""

    exit_code = 65


class TooFewRated(PackshotError):
    """There are too few fit, or too few unfit, pictures to tune thresholds on."""

    exit_code = 4


@dataclass(frozen=True)
class Rated:
    """Pictures with a human score, and what a model that did not learn from them says: N values each, 0..1."""

    human: Floats
    quality: Floats
    low: Floats
    high: Floats
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Thresholds:
    """The three bounds of the decision, each 0..1; as in `ScoringSettings`."""

    accept_at: float
    reject_below: float
    review_width: float

    @classmethod
    def from_settings(cls, settings: ScoringSettings) -> Thresholds:
        """Those that the settings name."""
        return cls(settings.accept_at, settings.reject_below, settings.review_width)


@dataclass(frozen=True)
class InForce:
    """The thresholds that decide, and where they come from: `tuned` for the costs, `fixed` by the settings,
    `fallback`, those of the settings because tuning was not possible, or `shop`, from a shop's own labels."""

    thresholds: Thresholds
    origin: Literal["tuned", "fixed", "fallback", "shop"]
    why: str
    accepted_faults: tuple[str, ...] = ()
    """That the shop's labels show to be its style."""

    def as_record(self) -> dict[str, float | str]:
        """As plain values for JSON."""
        return asdict(self.thresholds) | {"origin": self.origin, "why": self.why}

    def applied(self, settings: Settings) -> Settings:
        """The settings with these thresholds, and the faults accepted beside theirs, in `scoring`."""
        faults = dict.fromkeys((*settings.scoring.accepted_faults, *self.accepted_faults))
        changed = asdict(self.thresholds) | {"accepted_faults": tuple(faults)}
        scoring = settings.scoring.model_copy(update=changed)
        return settings.model_copy(update={"scoring": scoring})

    def __str__(self) -> str:
        bounds = self.thresholds
        return (
            f"accepted from {bounds.accept_at:.2f}, rejected below {bounds.reject_below:.2f}, to a person between "
            f"them; of a model that tells no faults, also where the interval is wider than {bounds.review_width:.2f} "
            f"({self.origin}: {self.why})"
        )


def read_rated(path: Path) -> Rated | None:
    """The rows of a Parquet file that have a human score; None where there is no file. Raises RatedUnusable naming what
    is missing or not finite."""
    if not path.is_file():
        return None
    try:
        with pq.ParquetFile(path) as file:
            present = file.schema_arrow.names
            table = file.read(columns=[name for name in COLUMNS if name in present])
    except (OSError, ValueError) as error:
        raise RatedUnusable(f"{path} cannot be read as Parquet: {error}") from error
    return _rated(table)


def _rated(table: pa.Table) -> Rated:
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise RatedUnusable(f"scored pictures lack the column(s) {', '.join(missing)}; train and evaluate again")
    rows = table.filter(pc.invert(pc.is_null(table["quality_mos"], nan_is_null=True)))
    # through Python's numbers: `to_numpy` would have pandas imported, and every scorer wait for it
    values = {name: np.array(rows[name].to_pylist(), dtype=np.float64) for name in SCORES}
    for name, value in values.items():
        bad = int((~np.isfinite(value)).sum())
        if bad:
            raise RatedUnusable(f"{name} is NaN or infinite in {bad} of {rows.num_rows} scored pictures")
    groups = rows["group"]
    if groups.null_count:
        raise RatedUnusable(f"{groups.null_count} of {rows.num_rows} scored pictures have no group")
    human, quality, low, high = (values[name] for name in SCORES)
    return Rated(human, quality, low, high, tuple(map(str, groups.to_pylist())))


def in_force(settings: ScoringSettings, known: Rated | None) -> InForce:
    """The thresholds that decide on the images of a model with these scored pictures."""
    values = Thresholds.from_settings(settings)
    if settings.thresholds == "fixed":
        return InForce(values, "fixed", "scoring.thresholds is fixed")
    if known is None:
        return InForce(values, "fallback", "the model brings no scored pictures to tune on")
    try:
        found = tuned(known, settings.costs)
    except TooFewRated as error:
        return InForce(values, "fallback", str(error))
    return InForce(found, "tuned", f"least cost on {len(known.human)} scored pictures out of fold")


def tuned(known: Rated, costs: DecisionCosts) -> Thresholds:
    """The thresholds of least cost on a grid; among equals those that send most to a person.

    Dearer wrong accepts never lead to more of them. Raises TooFewRated.
    """
    good = known.human >= costs.good_from
    _check_evidence(known, good, costs)
    return least_cost(known.quality, known.high - known.low, good.astype(np.float64), costs)


def least_cost(quality: Floats, width: Floats, fit: Floats, costs: DecisionCosts) -> Thresholds:
    """As `tuned`, of N pictures with a score, the width of its interval, and the probability, 0..1, of being fit."""
    # what accepting or rejecting a picture costs beyond having a person look at it
    accepting = (1 - fit) * costs.wrong_accept - costs.review
    rejecting = fit * costs.wrong_reject - costs.review
    reached = np.searchsorted(GRID, quality, side="right")
    best, least = Thresholds(1.0, 0.0, float(WIDTHS[0])), np.inf
    for bound in WIDTHS:
        narrow = width <= bound
        accepted = _by_step(reached[narrow], accepting[narrow])[::-1].cumsum()[::-1][1:]
        rejected = _by_step(reached[narrow], rejecting[narrow]).cumsum()[:-1]
        total = accepted[:, None] + rejected[None, :]
        total[np.triu_indices(len(GRID), 1)] = np.inf
        if total.min() < least - SAME:
            least = float(total.min())
            equal = np.argwhere(total <= least + SAME)
            accept, reject = max(equal.tolist(), key=lambda pair: (pair[0], -pair[1]))
            best = Thresholds(float(GRID[accept]), float(GRID[reject]), float(bound))
    return best


def _by_step(reached: NDArray[np.intp], values: Floats) -> Floats:
    """The sum of the values of the pictures that reach 0, 1, ... grid points."""
    return np.bincount(reached, values, len(GRID) + 1).astype(np.float64)  # of nothing it is of integers


def _check_evidence(known: Rated, good: NDArray[np.bool_], costs: DecisionCosts) -> None:
    for what, chosen in (("a fit", good), ("an unfit", ~good)):
        groups = len({group for group, wanted in zip(known.groups, chosen, strict=True) if wanted})
        if groups < costs.min_groups:
            raise TooFewRated(
                f"not enough evidence: {groups} groups of scored pictures hold {what} one (good_from "
                f"{costs.good_from:g}), scoring.costs.min_groups is {costs.min_groups}"
            )


def decided(known: Rated, bounds: Thresholds) -> Outcomes:
    """What becomes of each picture: accept, review or reject."""
    narrow = known.high - known.low <= bounds.review_width
    conditions = [narrow & (known.quality >= bounds.accept_at), narrow & (known.quality < bounds.reject_below)]
    return np.select(conditions, [ACCEPT, REJECT], REVIEW)


def cost(known: Rated, outcomes: Outcomes, costs: DecisionCosts) -> Floats:
    """What each decision costs, N."""
    good = known.human >= costs.good_from
    accepting, rejecting = np.where(good, 0.0, costs.wrong_accept), np.where(good, costs.wrong_reject, 0.0)
    return np.select([outcomes == ACCEPT, outcomes == REJECT], [accepting, rejecting], costs.review)
