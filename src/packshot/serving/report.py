"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from packshot import __version__
from packshot.catalog.image import ImageLimits
from packshot.config import Settings
from packshot.drift.alarm import History
from packshot.drift.charts import Cloud, p_history, project, scatter
from packshot.errors import PackshotError
from packshot.evaluation.decision_costs import Weighed
from packshot.files import write_text
from packshot.home import Home
from packshot.progress import say
from packshot.scoring.shards import read_manifest
from packshot.serving.batches import BatchView, sampled_styles, view_batch
from packshot.serving.damage import view_damage
from packshot.serving.decisions import view_decisions
from packshot.serving.figures import figure_rows, gate_rows
from packshot.serving.thumbnails import Thumbnails

THUMBNAIL_BYTES = 4_500_000
PLOT_BYTES = 1_800_000
MOST_BATCHES = 8
MOST_ENTRIES = 30
PLOTS_SHOWN = 12


class NothingToReport(PackshotError):
    """There is no scored batch to report on."""


@dataclass(frozen=True)
class StyleMap:
    """A projection of the style space with the sides it shows."""

    chart: Markup
    sides: list[tuple[str, str]]


def render(
    settings: Settings,
    out: Path,
    *,
    batches: Sequence[Path],
    images: Mapping[Path, Path] | None = None,
    gates: Path | Mapping[str, Any] | None = None,
    metrics: Path | Mapping[str, float] | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    plots: Path | None = None,
    reference: Path | None = None,
    source: Path | Mapping[str, Any] | None = None,
    links: Mapping[str, str] | None = None,
    weighed: Weighed | None = None,
    damage: Path | None = None,
) -> Path:
    """Write the report to `out` (an .html file, or a folder for index.html) and return its path.

    `batches`: folders with verdicts.parquet and, where checked, drift.json; `images`: such a folder to the folder of
    its input images (by default where it was scored from; where that is gone no pictures are shown); `gates`: the
    record of a promotion; `metrics`: held-out figures by name; `history`: entries of the ledger; `plots`: a folder of
    PNGs; `reference`: the champion's reference.parquet, for the style map; `source`: the source.json of the data;
    `links`: text to http(s) address; `weighed`: what the champion's decisions cost; `damage`: what
    `packshot drill damage` left. What is absent is left out.
    Raises NothingToReport without batches, VerdictsUnreadable, OutputNotWritable.
    """
    if not batches:
        raise NothingToReport("there is no scored batch; run `packshot score DIR --out OUT`, then name OUT here")
    shown = list(batches)[-MOST_BATCHES:]
    if len(shown) < len(batches):
        say(f"the report shows the last {len(shown)} of {len(batches)} batches")
    thumbnails = Thumbnails(ImageLimits.from_settings(settings.validation), THUMBNAIL_BYTES)
    folders = {folder.resolve(): root for folder, root in (images or {}).items()}
    views = [view_batch(folder, folders.get(folder.resolve(), _images_of(folder)), thumbnails) for folder in shown]
    promotion = _mapping(gates)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            version=__version__,
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            batches=views,
            model=views[-1].lineage,
            totals=_totals(views),
            source=_mapping(source),
            promotion=promotion,
            gates=gate_rows(promotion.get("gates", [])),
            figures=figure_rows(_numbers(metrics)),
            metrics=sorted(_numbers(metrics).items()),
            decisions=view_decisions(views[-1].batch_id, read_manifest(shown[-1]), weighed),
            damage=view_damage(damage, thumbnails),
            style_map=_style_map(views, reference),
            windows=_windows(settings, views[-1]),
            history=[_entry(entry) for entry in list(history or [])[-MOST_ENTRIES:]][::-1],
            plots=_plots(plots, settings),
            links=[(text, address) for text, address in (links or {}).items() if _is_web(address)],
            left_out=thumbnails.left_out,
        )
    )
    target = out if out.suffix == ".html" else out / "index.html"
    write_text(target, page)
    return target


def _images_of(batch: Path) -> Path | None:
    named = read_manifest(batch).get("images")
    return Path(named) if isinstance(named, str) and Path(named).is_dir() else None


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("packshot.serving"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.0f} %"
    environment.filters["figure"] = _figure
    return environment


def _figure(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}f}"


def _mapping(given: Path | Mapping[str, Any] | None) -> Mapping[str, Any]:
    if given is None or isinstance(given, Mapping):
        return given or {}
    try:
        found = json.loads(given.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        say(f"the report leaves out {given}: {error}")
        return {}
    return found if isinstance(found, dict) else {}


def _numbers(given: Path | Mapping[str, float] | None) -> dict[str, float]:
    found = _mapping(given)
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)
    }


@dataclass(frozen=True)
class Totals:
    """All batches of the report together. `mean_gain` is over the images kept as enhanced."""

    images: int
    decisions: list[tuple[str, int, float]]
    errors: int
    mean_quality: float | None
    mean_gain: float | None
    alarms: int
    checked: int


def _totals(views: Sequence[BatchView]) -> Totals:
    images = sum(view.rows for view in views)
    counts: dict[str, int] = {"accept": 0, "enhance": 0, "review": 0, "reject": 0}
    for view in views:
        for name, count, _ in view.decisions:
            counts[name] += count
    checked = [view.drift for view in views if view.drift is not None]
    judged = [(view.mean_quality, view.rows - view.error_count) for view in views]
    gained = [(view.mean_gain, dict((n, c) for n, c, _ in view.decisions).get("enhance", 0)) for view in views]
    return Totals(
        images=images,
        decisions=[(name, count, count / max(images, 1)) for name, count in counts.items() if count],
        errors=sum(view.error_count for view in views),
        mean_quality=_weighted(judged),
        mean_gain=_weighted(gained),
        alarms=sum(bool(drift.get("alarm")) for drift in checked),
        checked=len(checked),
    )


def _weighted(parts: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in parts if value is not None and weight > 0]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def _style_map(views: Sequence[BatchView], reference: Path | None) -> StyleMap | None:
    base, styles = _reference_styles(reference)
    sides = [view for view in views if len(view.style_points)]
    if not sides:
        return None
    width = sides[-1].style_points.shape[1]
    sides = [view for view in sides if view.style_points.shape[1] == width]
    if base.shape[1:] != (width,):
        base, styles = np.empty((0, width)), []
    together = np.vstack([view.style_points for view in sides])
    flat, moved = project(base, together)
    clouds = [Cloud("reference", "reference", flat)] if len(base) else []
    legend = [("reference", "what the champion learned from")] if len(base) else []
    start = 0
    for index, view in enumerate(sides):
        css = f"side{index % 4}"
        points = moved[start : start + len(view.style_points)]
        clouds.append(Cloud(view.batch_id, css, points, view.style_texts))
        legend.append((css, view.batch_id))
        start += len(view.style_points)
    return StyleMap(scatter("Map of the style space", clouds, _centres(flat, styles)), legend)


def _reference_styles(reference: Path | None) -> tuple[NDArray[np.float64], list[str | None]]:
    if reference is None or not reference.is_file():
        return np.empty((0, 0)), []
    vectors, styles, _ = sampled_styles(pq.read_table(reference, columns=["style", "style_vector"]))
    return vectors, styles


def _centres(points: NDArray[np.float64], styles: Sequence[str | None]) -> list[tuple[str, float, float]]:
    marks = []
    for style in sorted({each for each in styles if each is not None}):
        rows = np.array([each == style for each in styles])
        if rows.sum() >= max(3, len(styles) // 50):
            centre = np.median(points[rows], axis=0)
            marks.append((style, float(centre[0]), float(centre[1])))
    return marks


def _windows(settings: Settings, view: BatchView) -> Markup | None:
    version = view.lineage.get("model_version")
    if version is None or view.drift is None:
        return None
    windows = History(Home.from_environment().drift / f"v{version}.jsonl").windows()[-30:]
    if not windows:
        return None
    values = [(window.batch_id, window.p_value, window.alarm) for window in windows]
    levels = [("level", settings.drift.alpha), ("strict", settings.drift.strict_alpha)]
    return p_history("p of the batches this version scored, oldest first", values, levels)


def _plots(folder: Path | None, settings: Settings) -> list[tuple[str, str]]:
    if folder is None or not folder.is_dir():
        return []
    budget = Thumbnails(ImageLimits.from_settings(settings.validation), PLOT_BYTES)
    found = [(path.stem.replace("_", " "), budget.whole(path)) for path in sorted(folder.glob("*.png"))[:PLOTS_SHOWN]]
    return [(name, address) for name, address in found if address is not None]


_KINDS = {
    "register": "registered",
    "gate": "gates judged",
    "heldout_use": "held-out set used",
    "intent": "promotion begun",
    "moved": "alias moved",
    "committed": "promoted",
    "refused": "refused",
    "rollback_intent": "rollback begun",
    "rollback_moved": "alias moved back",
    "rollback_committed": "rolled back",
}


def _entry(entry: Mapping[str, Any]) -> dict[str, str]:
    before, after = entry.get("from_version"), entry.get("to_version")
    versions = " → ".join(f"version {number}" for number in (before, after) if number is not None)
    return {
        "at": str(entry.get("at", ""))[:19].replace("T", " "),
        "kind": _KINDS.get(str(entry.get("kind")), str(entry.get("kind", "")).replace("_", " ")),
        "css": str(entry.get("kind", "")),
        "actor": str(entry.get("actor") or ""),
        "versions": versions,
    }


def _is_web(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme in ("http", "https") and bool(parts.netloc)
