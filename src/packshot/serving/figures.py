"""Held-out figures and gates as rows of tables, each figure beside what it has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from packshot.drift.charts import Span, interval


@dataclass(frozen=True)
class FigureRow:
    """A held-out figure, what it is, and the baseline it stands beside."""

    label: str
    value: float
    spread: float | None
    baseline: float | None
    baseline_label: str
    unit: str
    better: bool | None


@dataclass(frozen=True)
class GateRow:
    """A gate as the table shows it."""

    metric: str
    kind: str
    verdict: str
    message: str
    challenger: float | None
    champion: float | None
    threshold: float | None
    chart: Markup | None
    low: float | None
    high: float | None


_BY_SET = (
    ("quality/srcc", "Quality, rank correlation (SRCC) on {set}", "", "quality/srcc_subset_baseline", "subset only"),
    (
        "quality/srcc_folds",
        "Quality, SRCC on {set}, over group folds",
        "",
        "quality/srcc_subset_baseline",
        "subset only",
    ),
    ("quality/srcc_within", "Quality, SRCC on {set} within subsets", "", None, ""),
    ("quality/srcc_within_folds", "Quality, SRCC on {set} within subsets, over group folds", "", None, ""),
    ("quality/plcc", "Quality, linear correlation (PLCC) on {set}", "", None, ""),
    ("quality/coverage", "Interval coverage on {set}", "", None, ""),
    ("style/accuracy", "Style, accuracy on {set}", "", "style/accuracy_majority", "most frequent style"),
    (
        "style/accuracy_folds",
        "Style, accuracy on {set}, over group folds",
        "",
        "style/accuracy_majority",
        "most frequent style",
    ),
    ("style/macro_f1", "Style, macro-F1 on {set}", "", None, ""),
    ("style/ece", "Style, calibration error on {set}", "", None, ""),
    ("style/ece_folds", "Style, calibration error on {set}, over group folds", "", None, ""),
)
_PLAIN = (
    ("enhance/psnr_gain", "Enhancement, PSNR gain over the input", "dB", "enhance/psnr_gain_classic", "classic chain"),
    ("enhance/ssim_gain", "Enhancement, SSIM gain over the input", "", "enhance/ssim_gain_classic", "classic chain"),
    (
        "degradations/srcc_unseen_mean",
        "Attributes under families of damage left out of training, SRCC",
        "",
        "degradations/srcc_seen_mean",
        "families known",
    ),
    ("serving/latency_ms", "Latency of the logged model", "ms", None, ""),
    ("serving/peak_rss_mb", "Peak memory of the logged model", "MB", None, ""),
)


def figure_rows(metrics: Mapping[str, float]) -> list[FigureRow]:
    """The figures worth a table row, in a fixed order; those that were not measured are left out."""
    rows = []
    for name, label, unit, baseline, said in _BY_SET:
        for key in sorted(metrics):
            if key.startswith(f"{name}/") and key.count("/") == name.count("/") + 1:
                of_set = key.rsplit("/", 1)[1]
                against = f"{baseline}/{of_set}" if baseline else None
                spread = metrics.get(f"{name}_std/{of_set}")
                rows.append(_figure(metrics, key, label.format(set=of_set), unit, against, said, spread))
    rows += [
        _figure(metrics, key, label, unit, baseline, said, None)
        for key, label, unit, baseline, said in _PLAIN
        if key in metrics
    ]
    return rows


def _figure(
    metrics: Mapping[str, float], key: str, label: str, unit: str, baseline: str | None, said: str, spread: float | None
) -> FigureRow:
    against = metrics.get(baseline) if baseline else None
    better = metrics[key] > against if against is not None else None
    return FigureRow(label, float(metrics[key]), spread, against, said, unit, better)


_WORDS = {
    "pass": "passed",
    "fail": "failed",
    "not_enough_evidence": "not enough evidence",
    "not_applicable": "not applicable",
}


def gate_rows(gates: Sequence[Mapping[str, Any]]) -> list[GateRow]:
    """The gates of a promotion, each with its interval drawn where it has one."""
    return [
        GateRow(
            metric=str(gate.get("metric", "")),
            kind=str(gate.get("kind", "")).replace("_", "-"),
            verdict=_WORDS.get(str(gate.get("verdict")), str(gate.get("verdict")).replace("_", " ")),
            message=str(gate.get("message", "")),
            challenger=gate.get("challenger"),
            champion=gate.get("champion"),
            threshold=gate.get("threshold"),
            chart=_gate_chart(gate),
            low=gate.get("low"),
            high=gate.get("high"),
        )
        for gate in gates
    ]


def _gate_chart(gate: Mapping[str, Any]) -> Markup | None:
    value, low, high = gate.get("difference"), gate.get("low"), gate.get("high")
    if value is None or low is None or high is None:
        return None
    css = "good" if gate.get("verdict") == "pass" else "bad"
    title = f"{gate.get('metric')}: {value:+.4f}, interval {low:+.4f} to {high:+.4f}"
    bound = gate.get("threshold")
    limit = float(bound) if bound is not None else None
    span = Span(str(gate.get("metric")), css, float(value), float(low), float(high), limit)
    return interval(title, span)
