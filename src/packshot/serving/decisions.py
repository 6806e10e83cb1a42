"""How decisions were made: the thresholds behind a batch, and what they cost on held-out pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from packshot.drift.charts import Line, curves
from packshot.evaluation.decision_costs import GIVEN, IN_FORCE, REVIEW_ALL, Policy, Weighed
from packshot.evaluation.thresholds import InForce, Thresholds

CSS = {"accept_at": "accept", "reject_below": "reject", "review_width": "review"}


@dataclass(frozen=True)
class DecisionsView:
    """What the section of the page shows; `bounds` is None where the batch does not say, `weighed` where nothing was
    held out, and `chart` with it."""

    batch_id: str
    bounds: InForce | None
    weighed: Weighed | None
    chart: Markup | None
    legend: tuple[tuple[str, str], ...]

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The ways of deciding that were weighed."""
        return self.weighed.policies if self.weighed is not None else ()


def view_decisions(batch_id: str, manifest: Mapping[str, Any], weighed: Weighed | None) -> DecisionsView | None:
    """From the manifest of a batch and the costs on held-out pictures; None where neither says anything."""
    bounds = _bounds(manifest.get("thresholds"))
    if bounds is None and weighed is None:
        return None
    chart = _chart(weighed) if weighed is not None else None
    legend = tuple((css, name) for name, css in CSS.items()) if weighed is not None else ()
    return DecisionsView(batch_id, bounds, weighed, chart, legend)


def _bounds(told: Any) -> InForce | None:
    try:
        bounds = Thresholds(**{name: float(told[name]) for name in CSS})
        return InForce(bounds, told["origin"], str(told["why"]))
    except (KeyError, TypeError, ValueError):
        return None


def _chart(weighed: Weighed) -> Markup:
    now = weighed.policy(IN_FORCE).cost
    at = asdict(weighed.bounds.thresholds)
    lines = [Line(name, css, weighed.curves[name], (at[name], now)) for name, css in CSS.items()]
    levels = [(name, weighed.policy(name).cost) for name in (GIVEN, REVIEW_ALL)]
    return curves("Cost per 100 held-out pictures over each threshold", lines, levels)
