"""`packshot search`: the search as one MLflow run with a nested run for each trial."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packshot.config import Settings
from packshot.evaluation.heldout import profile_of
from packshot.evaluation.search import Values, as_environment, search
from packshot.home import Home
from packshot.registry.tracking import MlflowRecorder, alone, client, create_run, reaching, runs_of, tracking_uri
from packshot.revision import RunKey, run_key
from packshot.training.dataset import load_dataset, load_pairs


def run(settings: Settings, workspace: Path, trials: int | None = None) -> dict[str, Any]:
    """Search in the features of a workspace; the same data, code, settings and space go on with the same search.

    Raises FeaturesMissing, SettingsError, TrackingUnreachable, RunBusy.
    """
    key = run_key(settings, workspace)
    space = settings.search.model_dump_json(include={"space"})
    variant = f"search-{hashlib.sha256(space.encode()).hexdigest()[:8]}"
    with alone(key, variant):
        return _run(settings, workspace, key, variant, trials)


def _run(settings: Settings, workspace: Path, key: RunKey, variant: str, trials: int | None) -> dict[str, Any]:
    profile = profile_of(settings, workspace)
    data, pairs = load_dataset(workspace, profile, settings.training.chosen), load_pairs(workspace)
    mlflow_client, uri = client(settings), tracking_uri(settings)
    with reaching(uri):
        known = runs_of(settings, mlflow_client, key, variant)
        parent = str(known[0].info.run_id) if known else create_run(settings, mlflow_client, key, variant)
        mlflow_client.update_run(parent, status="RUNNING")

    def note(number: int, values: Values, figures: Mapping[str, float], score: float) -> None:
        with reaching(uri):
            child = create_run(settings, mlflow_client, key, f"{variant}-{number + 1}")
            mlflow_client.set_tag(child, "mlflow.parentRunId", parent)
            recorder = MlflowRecorder(mlflow_client, child, uri)
            recorder.params(values)
            recorder.metrics({**figures, "search/score": score}, 0)
            mlflow_client.set_terminated(child, "FINISHED")

    count = trials or settings.search.trials
    journal = Home.from_environment().root / "search" / f"{key.short}-{variant}.journal"
    try:
        best, score, first = search(settings, data, pairs, profile, journal, count, note)
    except BaseException:
        mlflow_client.set_terminated(parent, "FAILED")
        raise
    with reaching(uri):
        recorder = MlflowRecorder(mlflow_client, parent, uri)
        recorder.metrics({"search/best": score, "search/as_it_is": first}, count)
        for name, value in best.items():
            mlflow_client.set_tag(parent, f"best.{name}", str(value))
        mlflow_client.set_terminated(parent, "FINISHED")
    return {
        "best": best,
        "score": score,
        "as_it_is": first,
        "trials": count,
        "run_id": parent,
        "environment": as_environment(settings, best),
    }
