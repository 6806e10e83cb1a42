"""How far two models agree on new images, for which nobody knows the right answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from packshot.evaluation.metrics import Floats, MetricError, weighted_srcc
from packshot.evaluation.resampling import Statistic, mean_of, paired_bootstrap

COLUMNS = ("path", "sender", "quality", "decision", "style", "error", "scored_at")
"""What is compared, of a table of verdicts."""
DECISIONS = ("accept", "enhance", "review", "reject")
NO_ANSWER = "error"
MOST_RANKED = 5000
"""Rank correlation of more images than this is taken on so many of them, drawn with a fixed seed: ranking every
resample costs memory, and more rows hardly narrow the interval."""
STRIDE = 8
"""Images over which time is taken: scoring judges so many at a time."""


@dataclass(frozen=True)
class Figure:
    """A figure with its percentile interval over senders; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Agreement:
    """One model beside another on the images that the other could judge.

    `figures`: `srcc` of the two scores, `mean_difference` (absolute, 0..1), `same_decision` and `same_style` (shares),
    `errors` (share that only the first could not judge). `confusion`: the other's decision, then the first one's, to a
    number of images. `time_ratio`: time for an image, the first one's by the other's.
    """

    images: int
    groups: int
    figures: Mapping[str, Figure]
    confusion: Mapping[str, Mapping[str, int]]
    time_ratio: float | None

    def as_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Side:
    """The verdicts of both models on one batch; `ours` has no rows where the model failed on the whole batch."""

    batch: str
    ours: pd.DataFrame
    theirs: pd.DataFrame


def agreement(batches: Sequence[Side], *, resamples: int, confidence: float, seed: int = 0) -> Agreement:
    """Compare what two models said of the same batches; intervals at `confidence` draw whole senders.

    Raises MetricError where the other model judged no image at all.
    """
    rows = pd.concat([_joined(side) for side in batches], ignore_index=True) if batches else pd.DataFrame()
    if rows.empty:
        raise MetricError("agreement: there is no image that the model to compare with could judge")
    answered = rows["answered"].to_numpy(dtype=bool)
    both = rows[answered]
    ranked = both.sample(MOST_RANKED, random_state=seed) if len(both) > MOST_RANKED else both

    def over(part: pd.DataFrame, statistic: Statistic) -> Figure:
        return _figure(part["group"].tolist(), statistic, resamples, confidence, seed)

    ours, theirs = ranked["quality_ours"].to_numpy(dtype=float), ranked["quality_theirs"].to_numpy(dtype=float)
    apart = (both["quality_ours"] - both["quality_theirs"]).abs().to_numpy(dtype=float)
    same = np.asarray(rows["decision_ours"] == rows["decision_theirs"], dtype=np.float64)
    style = np.asarray(both["style_ours"] == both["style_theirs"], dtype=np.float64)
    return Agreement(
        images=len(rows),
        groups=int(rows["group"].nunique()),
        figures={
            "srcc": over(ranked, lambda weights: weighted_srcc(ours, theirs, weights)),
            "mean_difference": over(both, mean_of(apart)),
            "same_decision": over(rows, mean_of(same)),
            "same_style": over(both, mean_of(style)),
            "errors": over(rows, mean_of((~answered).astype(float))),
        },
        confusion=_confusion(rows),
        time_ratio=_time_ratio(batches),
    )


def _joined(side: Side) -> pd.DataFrame:
    """A row for each image that the other model could judge, with what both said and whether ours could."""
    theirs = side.theirs[side.theirs["error"].isna()]
    rows = theirs.merge(side.ours, on="path", how="left", suffixes=("_theirs", "_ours"), validate="one_to_one")
    answered = rows["decision_ours"].notna() & rows["error_ours"].isna()
    sender = rows["sender_theirs"]
    alone = "path:" + side.batch + "/" + rows["path"].astype(str)
    return rows.assign(
        answered=answered,
        decision_ours=rows["decision_ours"].where(answered, NO_ANSWER),
        style_ours=rows["style_ours"].fillna(""),
        style_theirs=rows["style_theirs"].fillna(""),
        group=alone.where(sender.isna(), "sender:" + sender.astype(str)),
    )


def _figure(groups: Sequence[str], statistic: Statistic, resamples: int, confidence: float, seed: int) -> Figure:
    def nothing(weights: Floats) -> Floats:
        return np.zeros(len(weights))

    try:
        found = paired_bootstrap(groups, statistic, nothing, resamples=resamples, confidence=confidence, seed=seed)
    except MetricError:
        return Figure(None, None, None)
    return Figure(found.difference, found.low, found.high)


def _confusion(rows: pd.DataFrame) -> dict[str, dict[str, int]]:
    counted = rows.groupby(["decision_theirs", "decision_ours"]).size().to_dict()
    return {
        theirs: {ours: int(counted.get((theirs, ours), 0)) for ours in (*DECISIONS, NO_ANSWER)} for theirs in DECISIONS
    }


def _time_ratio(batches: Sequence[Side]) -> float | None:
    """Median over the batches; None where none is long enough to tell."""
    paces = [(_pace(side.ours), _pace(side.theirs)) for side in batches]
    ratios = [ours / theirs for ours, theirs in paces if ours and theirs]
    return float(np.median(ratios)) if ratios else None


def _pace(rows: pd.DataFrame) -> float | None:
    """Seconds for STRIDE images, the median along the batch: a run that was killed and went on has a gap."""
    if len(rows) <= STRIDE:
        return None
    at = pd.to_datetime(rows["scored_at"], utc=True).sort_values()
    return float((at - at.shift(STRIDE)).dropna().dt.total_seconds().median())
