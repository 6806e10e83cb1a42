"""One scored batch as the report shows it: counts, distributions, pictures, reasons, drift."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from numpy.typing import NDArray

from packshot.drift.charts import Series, effect_bars, histogram
from packshot.scoring.decisions import reason_code
from packshot.scoring.preview import previews
from packshot.scoring.verdicts import LINEAGE_SCHEMA, SCORES, read_verdicts
from packshot.serving.thumbnails import Thumbnails

DECISIONS = ("accept", "enhance", "review", "reject")
SHOWN = 12
"""Pictures of each decision."""
LISTED = 12
MAP_POINTS = 600
_COLUMNS = (
    *("path", "sku", "title", "category", "style", "style_confidence", "decision", "reasons", "enhanced_path"),
    *("quality_after", "error", "scored_at"),
    *SCORES,
    *LINEAGE_SCHEMA.names,
)
REASONS = {
    "dark": "Too dark",
    "light": "Too light",
    "flat": "Hazy, without contrast",
    "cast": "Colours tinted",
    "noise": "Grainy",
    "blur": "Blurred",
    "compression": "Compressed too much",
    "low_quality": "Overall quality too low",
    "low_sharpness": "Not sharp enough",
    "low_colour_balance": "Colours out of balance",
    "low_detail": "Too little detail",
    "uncertain": "The judge is unsure",
    "no_gain": "Enhancing does not help",
    "changed_too_much": "Enhancing changes too much",
    "colour_changed": "Enhancing changes the colours",
    "worse_sharpness": "Less sharp when enhanced",
    "worse_colour_balance": "Colours worse when enhanced",
    "worse_detail": "Less detail when enhanced",
    "still_poor": "Poor even when enhanced",
    "not_enhanced": "Could not be enhanced",
    "not_judged": "Could not be judged",
    "truncated": "File cut off or damaged",
    "not_an_image": "Not an image",
    "empty_file": "Empty file",
    "unsupported_format": "Format not supported",
    "too_many_pixels": "Too many pixels",
    "too_large_file": "File too large",
    "too_small": "Picture too small",
    "missing_file": "File cannot be read",
    "outside_root": "Leads out of the folder",
    "too_many_scans": "File is not as pictures are written",
    "decoder_crashed": "Decoder dies on the file",
    "decoder_timeout": "Takes too long to decode",
    "unreadable": "File cannot be decoded",
}


@dataclass(frozen=True)
class Card:
    """One picture with what was said of it."""

    path: str
    title: str | None
    image: str | None
    after: str | None
    quality: float
    low: float
    high: float
    quality_after: float | None
    style: str | None
    decision: str
    reasons: list[str]


@dataclass(frozen=True)
class Decided:
    """Some pictures of one decision: `count` there are, of which `cards` are shown."""

    decision: str
    count: int
    cards: list[Card]


@dataclass(frozen=True)
class ReasonShare:
    """How many images of a batch have a reason."""

    label: str
    count: int
    share: float


@dataclass(frozen=True)
class BatchView:
    """Everything the template shows of a batch. `drift` is the content of its drift.json, if there is one."""

    batch_id: str
    lineage: Mapping[str, Any]
    scored_at: str
    rows: int
    decisions: list[tuple[str, int, float]]
    mean_quality: float | None
    mean_gain: float | None
    histograms: list[tuple[str, Markup]]
    decided: list[Decided]
    reasons: list[ReasonShare]
    styles: list[tuple[str, int, float]]
    errors: list[tuple[str, str]]
    error_count: int
    drift: Mapping[str, Any] | None
    drift_bars: Markup | None
    drift_examples: list[tuple[str, str | None]]
    style_points: NDArray[np.float64]
    style_texts: list[str]


def view_batch(folder: Path, images: Path | None, thumbnails: Thumbnails) -> BatchView:
    """Read `folder` (verdicts.parquet, drift.json, enhanced/) and the pictures below `images`, where given."""
    table = read_verdicts(folder / "verdicts.parquet", _COLUMNS)
    broken = pc.is_valid(table["error"])
    judged = table.filter(pc.invert(broken)).sort_by([("quality", "ascending"), ("path", "ascending")])
    enhanced, failed = _of_decision(judged, "enhance"), table.filter(broken)
    drift = read_record(folder / "drift.json")
    first = next(iter(table.slice(0, 1).to_pylist()), dict.fromkeys(table.column_names))
    chosen = {name: _spread(_of_decision(judged, name)) for name in DECISIONS}
    paths = {str(path) for rows in chosen.values() for path in rows["path"].to_pylist()}
    examples = [str(path) for path in (drift or {}).get("examples", [])]
    small = previews(folder / "verdicts.parquet", paths | set(examples))

    def shown(path: str) -> str | None:
        return thumbnails.kept(small.get(path)) or thumbnails.of(images, path)

    def card(row: dict[str, Any]) -> Card:
        path, kept = str(row["path"]), row["enhanced_path"]
        if kept is None:
            return _card(row, shown(path))
        # before and after are compared, so both are decoded at the page's own size where that is possible
        return _card(row, thumbnails.of(images, path) or shown(path), thumbnails.of(folder, kept))

    points, texts = _style_points(folder / "verdicts.parquet")
    return BatchView(
        batch_id=str(first["batch_id"]),
        lineage={name: first[name] for name in LINEAGE_SCHEMA.names},
        scored_at=_time(pc.max(table["scored_at"]).as_py()),
        rows=len(table),
        decisions=[(name, n, n / max(len(table), 1)) for name in DECISIONS if (n := len(_of_decision(table, name)))],
        mean_quality=_mean(judged["quality"]),
        mean_gain=_mean(pc.subtract(enhanced["quality_after"], enhanced["quality"])),
        histograms=_histograms(judged, enhanced),
        decided=[
            Decided(name, len(_of_decision(judged, name)), [card(row) for row in rows.to_pylist()])
            for name, rows in chosen.items()
            if len(rows)
        ],
        reasons=_reasons(table),
        styles=_shares(judged["style"]),
        errors=[(str(row["path"]), str(row["error"])) for row in failed.slice(0, LISTED).to_pylist()],
        error_count=len(failed),
        drift=drift,
        drift_bars=drift_bars(drift),
        drift_examples=[(path, shown(path)) for path in examples],
        style_points=points,
        style_texts=texts,
    )


def _of_decision(table: pa.Table, name: str) -> pa.Table:
    return table.filter(pc.equal(table["decision"], name))


def _spread(rows: pa.Table) -> pa.Table:
    """At most SHOWN of the rows, evenly over their order."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int))
    return rows.take(pa.array(places, pa.int64()))


def _card(row: dict[str, Any], image: str | None, after: str | None = None) -> Card:
    return Card(
        path=str(row["path"]),
        title=row["title"] or row["sku"],
        image=image,
        after=after,
        quality=float(row["quality"]),
        low=float(np.clip(row["quality_low"], 0.0, 1.0)),
        high=float(np.clip(row["quality_high"], 0.0, 1.0)),
        quality_after=row["quality_after"],
        style=row["style"],
        decision=str(row["decision"]),
        reasons=[str(reason) for reason in row["reasons"]],
    )


def _histograms(judged: pa.Table, enhanced: pa.Table) -> list[tuple[str, Markup]]:
    if not len(judged):
        return []
    charts = []
    for name in ("quality", "sharpness", "colour_balance", "detail"):
        series = [Series("as it came", "batch", judged[name].to_pylist())]
        if name == "quality" and len(enhanced):
            kept = pc.equal(judged["decision"], "enhance")
            after = pc.if_else(kept, judged["quality_after"], judged["quality"])
            series.append(Series("after enhancing", "after", after.to_pylist()))
        label = name.replace("_", " ")
        charts.append((label, histogram(f"Distribution of {label} over {len(judged)} images", series, 0.0, 1.0)))
    return charts


def _reasons(table: pa.Table) -> list[ReasonShare]:
    undecided = table.filter(pc.not_equal(table["decision"], "accept"))["reasons"]
    counts = Counter(code for reasons in undecided.to_pylist() for code in {reason_code(str(each)) for each in reasons})
    total = max(len(table), 1)
    return [
        ReasonShare(REASONS.get(code, code.replace("_", " ")), count, count / total)
        for code, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def _shares(column: pa.ChunkedArray) -> list[tuple[str, int, float]]:
    counts = Counter(column.drop_null().to_pylist())
    total = max(counts.total(), 1)
    return [(str(name), count, count / total) for name, count in counts.most_common()]


def drift_bars(drift: Mapping[str, Any] | None) -> Markup | None:
    """The furthest figures of a drift.json as bars; None where none was compared."""
    if not drift or not drift.get("statistics"):
        return None
    marked = {row["name"] for row in drift.get("drifted", [])}
    rows = sorted(drift["statistics"], key=lambda row: -abs(row["effect"]))[:12]
    bars = [(row["name"].replace("_", " "), float(row["effect"]), row["name"] in marked) for row in rows]
    return effect_bars("How the batch differs from the reference", bars)


def _style_points(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    points, styles, paths = sampled_styles(read_verdicts(path, ["path", "style", "style_vector"]))
    return points, [f"{at} ({style})" if style else str(at) for at, style in zip(paths, styles, strict=True)]


def sampled_styles(table: pa.Table) -> tuple[NDArray[np.float64], list[str | None], list[Any]]:
    """At most MAP_POINTS rows of columns style, style_vector and, where there is one, path: vectors N x style_dim,
    styles, paths."""
    table = table.filter(pc.is_valid(table["style_vector"]))
    if len(table) > MAP_POINTS:
        drawn = np.sort(np.random.default_rng(0).choice(len(table), MAP_POINTS, replace=False))
        table = table.take(pa.array(drawn))
    if not len(table):
        return np.empty((0, 0)), [], []
    vectors = np.vstack([np.asarray(each, dtype=np.float64) for each in table["style_vector"].to_pylist()])
    paths = table["path"].to_pylist() if "path" in table.column_names else []
    return vectors, table["style"].to_pylist(), paths


def read_record(path: Path) -> dict[str, Any] | None:
    """A JSON object that may be missing or damaged: None then."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _mean(values: pa.ChunkedArray) -> float | None:
    found = pc.mean(values).as_py()
    return None if found is None else float(found)


def _time(value: datetime | None) -> str:
    return "" if value is None else value.strftime("%Y-%m-%d %H:%M UTC")
