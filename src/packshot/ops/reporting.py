"""The report on a model: its batches, its gates, its held-out figures, gathered from where they live."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import write_json
from packshot.home import Home, project_root
from packshot.ops.pipeline import inbox_batches, verdict_folder
from packshot.progress import say

if TYPE_CHECKING:
    from packshot.evaluation.decision_costs import Weighed
    from packshot.registry.lineage import Lineage


class PageElsewhere(PackshotError):
    """The page of a batch in an object store cannot be opened."""

    exit_code = 2


def write_report(
    settings: Settings, *, out: Path | None = None, folders: Sequence[Path] | None = None
) -> dict[str, Any]:
    """Write index.html and metrics.json to `out` (default: reports/latest of the project); return their paths.

    `folders`: folders with verdicts.parquet; default: every batch of the inbox that the champion scored. Gates and
    figures are those of the version that gave the verdicts (of the last folder, where versions differ), by the lineage
    of their rows; of one that this registry does not know none are shown. metrics.json maps the name of each held-out
    figure (task/measure/set/subset) to its value. Raises NothingToReport without a scored batch, VerdictsUnreadable.
    """
    from packshot.evaluation.digest import bundle_digest
    from packshot.ops.drills import damage_folder
    from packshot.registry.events import RUNS
    from packshot.registry.ledger import Ledger
    from packshot.serving.report import render

    home = Home.from_environment()
    target = out if out is not None else project_root() / "reports" / "latest"
    judge = _champion(settings) if folders is None else _judge_of(settings, folders)
    evaluation = judge.workspace / "reports" / "evaluation" if judge.workspace is not None else None
    batches, images = _batches(home, judge.version, folders)
    ledger, name = Ledger.from_environment(), settings.registry.model_name
    history = [entry for entry in ledger.history(name) if entry["kind"] not in RUNS]
    gated = ledger.state(name).gates.get(judge.version) if judge.version is not None else None
    promotion = gated.payload.model_dump() if gated is not None else {}
    metrics = _metrics(evaluation / "metrics.json" if evaluation is not None else None, promotion)
    page = render(
        settings,
        target / "index.html",
        batches=batches,
        images=images,
        gates=promotion,
        metrics=metrics,
        history=history,
        plots=evaluation / "plots" if evaluation is not None and (evaluation / "plots").is_dir() else None,
        reference=judge.bundle / "reference.parquet" if judge.bundle is not None else None,
        source=judge.workspace / "data" / "raw" / "source.json" if judge.workspace is not None else None,
        links=_links(judge.run_id),
        weighed=_weighed(settings, judge.workspace) if judge.workspace is not None else None,
        damage=damage_folder(bundle_digest(judge.bundle)) if judge.bundle is not None else None,
    )
    write_json(target / "metrics.json", metrics)
    say(f"report: {page}")
    return {
        "report": str(page),
        "metrics": str(target / "metrics.json"),
        "batches": [str(folder) for folder in batches],
    }


def page_of(out: str) -> Path:
    """Where the page of a scored batch goes. Raises PageElsewhere where the batch does not lie on this machine."""
    from packshot.scoring.bucket import is_address

    if is_address(out):
        raise PageElsewhere(f"the verdicts go to {out}, and a page is written from a folder: leave --open out")
    return Path(out).resolve() / "report" / "index.html"


def command_for(out: str) -> str:
    """The command, for a shell, that writes the page of a scored batch."""
    return f"packshot report --verdicts {shlex.quote(out)} --out {shlex.quote(f'{out}/report')}"


def open_report(settings: Settings, page: Path, out: str) -> None:
    """Write the page of a scored batch and show it in the browser; where there is none, only its address is said."""
    import webbrowser

    write_report(settings, out=page.parent, folders=[Path(out)])
    if not webbrowser.open(page.as_uri()):
        say(f"no browser opens here; the page is {page.as_uri()}")


@dataclass(frozen=True)
class _JudgeOfBatches:
    """The model that gave the verdicts of a report. `version` None: this registry knows no such version, and nothing
    is on record of it; of the other fields each is None where there is no such thing any more."""

    version: int | None = None
    run_id: str | None = None
    bundle: Path | None = None
    workspace: Path | None = None


def _champion(settings: Settings) -> _JudgeOfBatches:
    from packshot.registry.models import bundle_path

    bundle, model = bundle_path(settings, "champion")
    return _JudgeOfBatches(model.model_version, model.run_id, bundle, _workspace(model))


def _judge_of(settings: Settings, folders: Sequence[Path]) -> _JudgeOfBatches:
    """By the lineage that the rows carry, not by who is champion now."""
    from packshot.registry.ledger import Ledger
    from packshot.registry.models import STARTER, ArtefactsDamaged, NoSuchModel, bundle_path, recorded
    from packshot.registry.tracking import TrackingUnreachable
    from packshot.scoring.verdicts import read_verdicts

    columns = ("model_name", "model_version", "run_id")
    rows = [read_verdicts(folder / "verdicts.parquet", columns).slice(0, 1).to_pylist() for folder in folders]
    scored_by = [tuple(row[name] for name in columns) for several in rows for row in several]
    if not scored_by:
        return _JudgeOfBatches()
    name, version, run_id = scored_by[-1]
    if len(set(scored_by)) > 1:
        say(f"the folders were scored by several models; gates and figures are those of the last, {name} {version}")
    if name == STARTER:
        return _JudgeOfBatches()  # its card says what there is to say: it never went through gates
    try:
        if version is None or name != settings.registry.model_name:
            raise NoSuchModel(f"{name} version {version} is no version of {settings.registry.model_name}")
        entry = recorded(settings, int(version), Ledger.from_environment())
        if entry.lineage.run_id != run_id:
            raise NoSuchModel(f"{entry.named} is of run {entry.lineage.run_id}, the verdicts are of run {run_id}")
    except NoSuchModel as error:
        say(f"the report says nothing of gates and figures: {error}")
        return _JudgeOfBatches()
    try:
        bundle = bundle_path(settings, str(entry.version))[0]
    except (ArtefactsDamaged, NoSuchModel, TrackingUnreachable) as error:
        say(f"the report leaves out what the model learned from: {error}")
        bundle = None
    return _JudgeOfBatches(entry.version, run_id, bundle, _workspace(entry.lineage))


def _workspace(model: Lineage) -> Path | None:
    """Where the version was trained; None where it is not on record what it was made from."""
    from packshot.registry.lineage import LineageUnknown

    try:
        return Home.from_environment().workspaces / f"train-{model.key.short}"
    except LineageUnknown as error:
        say(f"the report leaves out the held-out figures: {error}")
        return None


def _batches(home: Home, version: int | None, folders: Sequence[Path] | None) -> tuple[list[Path], dict[Path, Path]]:
    """Folders of verdicts, oldest first, and the folder of input images for each that came through the inbox."""
    if folders is not None:
        return list(folders), {}
    assert version is not None
    scored = {verdict_folder(name, version): home.inbox / name for name in inbox_batches()}
    there = [folder for folder in scored if (folder / "verdicts.parquet").exists()]
    there.sort(key=lambda folder: (folder / "verdicts.parquet").stat().st_mtime)
    return there, {folder: scored[folder] for folder in there}


def _metrics(file: Path | None, promotion: Mapping[str, Any]) -> dict[str, float]:
    """Held-out figures of the evaluation, and those that only the gates measure (speed, memory)."""
    figures: dict[str, float] = {}
    if file is not None and file.exists():
        figures = json.loads(file.read_text(encoding="utf-8"))
    for gate in promotion.get("gates", []):
        value = gate.get("challenger")
        if isinstance(value, int | float):
            figures.setdefault(str(gate["metric"]), float(value))
    return figures


def _weighed(settings: Settings, workspace: Path) -> Weighed | None:
    """What decisions of the model cost; None, with a word why, where that cannot be said."""
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
