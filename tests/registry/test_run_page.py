"""What a person reads on the MLflow pages: author, source, data, and what the gates said of run and version."""

import json

import pytest
from skilled_models import Shop

from packshot.registry.ledger import Ledger
from packshot.registry.promote import promote
from packshot.registry.run_page import note_dataset
from packshot.registry.tracking import client, open_run
from packshot.revision import run_key


def test_a_run_says_who_began_it_what_from_and_in_which_task(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_ACTOR", "ada")
    monkeypatch.setenv("PACKSHOT_TASK_URL", "http://airflow/dags/retrain/runs/1")
    shop.bundle(0.9)
    key = run_key(shop.settings, shop.workspace)
    for _ in range(2):
        with open_run(shop.settings, key) as recorder:
            note_dataset(shop.settings, recorder.run_id, key, shop.workspace)
    run = client(shop.settings).get_run(recorder.run_id)
    tags = run.data.tags
    assert tags["mlflow.user"] == "ada" and tags["mlflow.source.name"] == f"packshot {key.code_rev}"
    assert tags["packshot.airflow_task"] == "http://airflow/dags/retrain/runs/1"
    assert key.data_rev in tags["mlflow.note.content"] and shop.settings.training.recipe in tags["mlflow.note.content"]
    (given,) = run.inputs.dataset_inputs
    assert given.dataset.digest == key.data_rev and given.tags[0].value == "training"
    profile = json.loads(given.dataset.profile)
    assert profile["num_rows"] == sum(count for name, count in profile.items() if name != "num_rows") > 0


def test_what_the_gates_said_stands_on_version_and_run(shop: Shop, ledger: Ledger) -> None:
    shop.register(0.85)
    promote(shop.settings, workspace=shop.workspace, challenger=1)
    shop.register(0.7)
    refused = promote(shop.settings, workspace=shop.workspace, challenger=2)
    mlflow_client = client(shop.settings)
    first, second = (mlflow_client.get_model_version("packshot", number) for number in ("1", "2"))
    assert first.tags["packshot.gates"] == "promoted" and first.tags["packshot.gates.against"] == "no champion"
    assert first.tags["packshot.gates.reason"] == "every gate passed"
    assert second.tags["packshot.gates"] == "refused" == refused.outcome
    assert second.tags["packshot.gates.against"] == "version 1"
    assert "worse than the champion" in second.tags["packshot.gates.reason"]
    run = mlflow_client.get_run(second.run_id).data.tags
    assert run["packshot.gates"] == "refused"
    note = run["mlflow.note.content"]
    assert note.startswith("Recipe **") and note.count("### Gates of version 2") == 1
    assert "`quality/srcc/shop`" in note and "**fail**" in note
    again = promote(shop.settings, workspace=shop.workspace, challenger=2)
    assert again.outcome == "refused"
    assert mlflow_client.get_run(second.run_id).data.tags["mlflow.note.content"].count("### Gates of version 2") == 1
