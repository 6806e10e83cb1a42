"""What a drift check found, in a few lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packshot.drift.check import DriftResult

NAMED, LISTED = 3, 8
SIGNIFICANT = 0.05
"""A figure whose p, corrected for their number, is at most this is beyond chance."""
_VIEWS = {
    "embedding": "what the pictures show (embedding)",
    "style": "style of the pictures (style vector)",
    "statistics": "light, colour and size taken together",
    "predictions": "scores taken together",
}


def in_short(drifted: Sequence[Mapping[str, Any]]) -> str:
    """The furthest of what drifted in one line, each with how far."""
    named = [f"{_name(row)} {row['effect']:+.1f}" for row in drifted[:NAMED]]
    more = len(drifted) - len(named)
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def summary(result: DriftResult) -> str:
    """Alarm or none, what drifted, how far, and by which limits, in at most a dozen lines."""
    version = f"version {result.model_version}" if result.model_version else "the model"
    lines = [
        f"{'ALARM' if result.alarm else 'no alarm'}: batch {result.batch_id}, {result.n_batch} pictures against "
        f"{result.n_reference} of the data that {version} learned from",
        f"  {result.reason}",
        *(f"  {_line(row, result.alpha)}" for row in result.drifted[:LISTED]),
    ]
    if len(result.drifted) > LISTED:
        lines.append(f"  and {len(result.drifted) - LISTED} more")
    lines.append(f"  all figures and pictures: {result.report_path}, and drift.json beside it")
    return "\n".join(lines)


def _line(row: Mapping[str, Any], alpha: float) -> str:
    if row["kind"] == "view":
        return f"{_name(row)}: {row['effect']:+.1f} deviations of the null, p = {row['p_value']:.4f} (limit {alpha:g})"
    return (
        f"{_name(row)}: {row['batch']:.3g}, was {row['reference']:.3g}: {row['effect']:+.1f} standard deviations, "
        f"p = {row['p_holm']:.4f} (limit {SIGNIFICANT:g})"
    )


def _name(row: Mapping[str, Any]) -> str:
    name = str(row["name"])
    return _VIEWS.get(name, name) if row["kind"] == "view" else name.replace("_", " ")
