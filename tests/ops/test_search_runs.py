"""A search is one MLflow run with a nested run for each trial; going on adds to it."""

import numpy as np
import pandas as pd
import pytest
from small_workspace import make_settings, make_workspace

from packshot.config import SearchDimension, SearchSettings
from packshot.evaluation import search as evaluation
from packshot.ops import search as module
from packshot.registry.tracking import client, experiment_id


@pytest.fixture
def settings():
    space = {"recipe.learning_rate": SearchDimension(low=1e-4, high=1e-2, log=True)}
    return make_settings().model_copy(update={"search": SearchSettings(trials=2, space=space)})


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # what a trial measures is tested elsewhere
    monkeypatch.setattr(module, "load_pairs", lambda *given: None)
    monkeypatch.setattr(module, "load_dataset", lambda *given: Rows())
    monkeypatch.setattr(evaluation, "cross_validated", lambda changed, *rest: changed)
    monkeypatch.setattr(
        evaluation,
        "fold_figures",
        lambda changed, profile: {
            "quality/srcc_folds/own": -abs(np.log10(changed.training.chosen.learning_rate) + 2.2)
        },
    )
    return make_workspace(tmp_path / "workspace", 4)


class Rows:
    index = pd.DataFrame()

    def of_splits(self, *splits):
        return np.zeros(0, dtype=np.int64)

    def only(self, rows):
        return self


def nested(settings, run_id):
    mlflow_client = client(settings)
    runs = mlflow_client.search_runs(
        [experiment_id(settings, mlflow_client)], f"tags.`mlflow.parentRunId` = '{run_id}'", max_results=50
    )
    return sorted(runs, key=lambda run: run.info.start_time)


def test_each_trial_is_a_nested_run_and_going_on_adds_to_the_same(settings, workspace):
    first = module.run(settings, workspace)
    runs = nested(settings, first["run_id"])
    assert len(runs) == first["trials"] == 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert float(runs[0].data.params["recipe.learning_rate"]) == settings.training.chosen.learning_rate
    assert runs[0].data.metrics["search/score"] == pytest.approx(first["as_it_is"])
    more = module.run(settings, workspace, trials=4)
    assert more["run_id"] == first["run_id"] and len(nested(settings, more["run_id"])) == 4
    assert more["score"] == max(run.data.metrics["search/score"] for run in nested(settings, more["run_id"]))
    parent = client(settings).get_run(first["run_id"])
    assert parent.info.status == "FINISHED"
    assert float(parent.data.tags["best.recipe.learning_rate"]) == more["best"]["recipe.learning_rate"]


def test_a_failed_search_leaves_no_running_run(settings, workspace, monkeypatch):
    def broken(*given):
        raise RuntimeError("no")

    monkeypatch.setattr(evaluation, "cross_validated", broken)
    with pytest.raises(RuntimeError):
        module.run(settings, workspace)
    mlflow_client = client(settings)
    runs = mlflow_client.search_runs([experiment_id(settings, mlflow_client)])
    assert [run.info.status for run in runs] == ["FAILED"]
