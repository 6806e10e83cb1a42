"""The page of one drift check: what was compared, what drifted, the windows so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from packshot.drift.alarm import Window
from packshot.drift.charts import Cloud, Series, histogram, p_history, project, scatter
from packshot.drift.samples import PREDICTIONS, STATISTICS
from packshot.files import write_text

if TYPE_CHECKING:
    from packshot.drift.check import Comparison, DriftResult


def write_page(result: DriftResult, compared: Comparison, windows: Sequence[Window], target: Path) -> None:
    """Write the self-contained page, atomically."""
    environment = Environment(
        loader=PackageLoader("packshot.drift"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    history = [(window.batch_id, window.p_value, window.alarm) for window in windows[-30:]]
    page = environment.get_template("drift.html").render(
        result=result,
        charts=_charts(compared),
        windows=p_history("p of the checked windows", history, [("alpha", result.alpha)]),
    )
    write_text(target, page)


def _charts(compared: Comparison) -> list[tuple[str, Markup]]:
    if compared.test is None:
        return []
    batch, reference = compared.batch, compared.reference
    ours, theirs = project(reference.vectors["embedding"], batch.vectors["embedding"])[::-1]
    clouds = [Cloud("reference", "reference", theirs), Cloud("batch", "batch", ours, batch.paths)]
    charts = [("map of the embeddings (two principal components)", scatter("map of the embeddings", clouds))]
    for column, name in enumerate([*STATISTICS, *PREDICTIONS]):
        mine, other = batch.numbers[:, column], reference.numbers[:, column]
        both = np.concatenate([mine, other])
        low, high = (0.0, 1.0) if both.min() >= 0.0 and both.max() <= 1.0 else (float(both.min()), float(both.max()))
        series = [Series("reference", "reference", other.tolist()), Series("batch", "batch", mine.tolist())]
        suffix = " (logarithm)" if name in ("sharp_laplacian", "width", "height") else ""
        charts.append((name + suffix, histogram(f"{name} of batch and reference", series, low, high)))
    return charts
