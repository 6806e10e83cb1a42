"""How good the picture is that a shop would show: one number from an interval and a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packshot.config import ExportSettings

Floats = NDArray[np.float64]
INPUTS = ("quality", "quality_low", "quality_after", "decision", "duplicate_of", "error")
"""The columns that a weight is made from."""
_HELD = {"reject": "rejected", "review": "in_review"}


def lower_bounds(rows: pa.RecordBatch) -> Floats:
    """Lower bound of the interval of the picture to show, 0..1, NaN where it was not judged.

    Of an enhanced picture it is that of the input, moved by what enhancing gained.
    """
    low, before, after = (_numbers(rows, name) for name in ("quality_low", "quality", "quality_after"))
    enhanced = np.array([decision == "enhance" for decision in rows.column("decision").to_pylist()], dtype=bool)
    gained = np.where(enhanced & np.isfinite(after), after - before, 0.0)
    return np.clip(low + gained, 0.0, 1.0)


def quality_weights(rows: pa.RecordBatch, rules: ExportSettings) -> Floats:
    """0..1: the lower bound, times the factor of the decision, times that of a duplicate; 0 where nothing was judged.

    Among pictures of one decision it never falls as the lower bound rises.
    """
    of_decision: dict[str, float] = rules.decision_weights.model_dump()
    factors = np.array([of_decision[name] for name in rows.column("decision").to_pylist()], dtype=float)
    copies = np.array([name is not None for name in rows.column("duplicate_of").to_pylist()], dtype=bool)
    weights = np.nan_to_num(lower_bounds(rows)) * factors * np.where(copies, rules.duplicate_weight, 1.0)
    return np.asarray(weights, dtype=np.float64)


def demotions(row: Mapping[str, Any]) -> list[str]:
    """Why a picture should stand further back: not_judged, rejected, in_review, duplicate, then `finding:RULE` each."""
    flags = ["not_judged"] if row["error"] is not None else []
    flags += [_HELD[row["decision"]]] if row["decision"] in _HELD else []
    flags += ["duplicate"] if row["duplicate_of"] is not None else []
    return flags + [f"finding:{rule}" for rule in _rules(row["findings"])]


def _rules(findings: Sequence[Mapping[str, Any]] | None) -> list[str]:
    return list(dict.fromkeys(finding["rule"] for finding in findings or ()))


def _numbers(rows: pa.RecordBatch, name: str) -> Floats:
    return np.asarray(rows.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)
