"""The report on the champion: its batches, its gates, its held-out figures, gathered from where they live."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packshot.config import Settings
from packshot.files import write_json
from packshot.home import Home, project_root
from packshot.ops.pipeline import inbox_batches, verdict_folder
from packshot.progress import say

if TYPE_CHECKING:
    from packshot.evaluation.decision_costs import Weighed


def write_report(
    settings: Settings, *, out: Path | None = None, folders: Sequence[Path] | None = None
) -> dict[str, Any]:
    """Write index.html and metrics.json to `out` (default: reports/latest of the project); return their paths.

    `folders`: folders with verdicts.parquet; default: every batch of the inbox that the champion scored. metrics.json
    maps the name of each held-out figure (task/measure/set/subset) to its value. Raises NothingToReport without a
    scored batch.
    """
    from packshot.registry.events import RUNS
    from packshot.registry.ledger import Ledger
    from packshot.registry.models import bundle_path
    from packshot.serving.report import render

    home = Home.from_environment()
    target = out if out is not None else project_root() / "reports" / "latest"
    bundle, model = bundle_path(settings, "champion")
    workspace = home.workspaces / f"train-{model.key.short}"
    evaluation = workspace / "reports" / "evaluation"
    batches, images = _batches(home, model.model_version, folders)
    ledger, name = Ledger.from_environment(), settings.registry.model_name
    history = [entry for entry in ledger.history(name) if entry["kind"] not in RUNS]
    gated = ledger.state(name).gates.get(model.model_version or 0)
    promotion = gated.payload.model_dump() if gated is not None else {}
    metrics = _metrics(evaluation / "metrics.json", promotion)
    page = render(
        settings,
        target / "index.html",
        batches=batches,
        images=images,
        gates=promotion,
        metrics=metrics,
        history=history,
        plots=evaluation / "plots" if (evaluation / "plots").is_dir() else None,
        reference=bundle / "reference.parquet",
        source=workspace / "data" / "raw" / "source.json",
        links=_links(model.run_id),
        weighed=_weighed(settings, workspace),
    )
    write_json(target / "metrics.json", metrics)
    say(f"report: {page}")
    return {
        "report": str(page),
        "metrics": str(target / "metrics.json"),
        "batches": [str(folder) for folder in batches],
    }


def _batches(home: Home, version: int | None, folders: Sequence[Path] | None) -> tuple[list[Path], dict[Path, Path]]:
    """Folders of verdicts, oldest first, and the folder of input images for each that came through the inbox."""
    if folders is not None:
        return list(folders), {}
    assert version is not None
    scored = {verdict_folder(name, version): home.inbox / name for name in inbox_batches()}
    there = [folder for folder in scored if (folder / "verdicts.parquet").exists()]
    there.sort(key=lambda folder: (folder / "verdicts.parquet").stat().st_mtime)
    return there, {folder: scored[folder] for folder in there}


def _metrics(file: Path, promotion: Mapping[str, Any]) -> dict[str, float]:
    """Held-out figures of the evaluation, and those that only the gates measure (speed, memory)."""
    figures: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for gate in promotion.get("gates", []):
        value = gate.get("challenger")
        if isinstance(value, int | float):
            figures.setdefault(str(gate["metric"]), float(value))
    return figures


def _weighed(settings: Settings, workspace: Path) -> Weighed | None:
    """What decisions of the champion cost; None, with a word why, where that cannot be said."""
    from packshot.evaluation.decision_costs import NothingToWeigh, weigh_workspace
    from packshot.evaluation.thresholds import RatedUnusable

    try:
        return weigh_workspace(settings, workspace)
    except (NothingToWeigh, RatedUnusable) as error:
        say(f"the report says nothing of the cost of decisions: {error}")
        return None


def _links(run_id: str | None) -> dict[str, str]:
    """Pages that `make up` opens; only where their addresses are known."""
    links: dict[str, str] = {}
    if run_id and os.environ.get("PACKSHOT_MLFLOW_URL"):
        links["MLflow run"] = f"{os.environ['PACKSHOT_MLFLOW_URL'].rstrip('/')}/#/runs/{run_id}"
    if os.environ.get("PACKSHOT_AIRFLOW_URL"):
        links["Airflow"] = os.environ["PACKSHOT_AIRFLOW_URL"]
    return links
