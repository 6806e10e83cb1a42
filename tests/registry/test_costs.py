from __future__ import annotations

import pytest
from killed_training import start_training
from skilled_models import Shop

from packshot.config import Settings
from packshot.cost import Usage, as_record, metered
from packshot.home import Home
from packshot.registry.costs import costed, record_evaluation, table, totals
from packshot.registry.ledger import Ledger
from packshot.registry.promote import promote
from packshot.registry.tracking import client, open_run
from packshot.revision import RunKey, run_key


def test_a_training_that_was_killed_and_resumed_has_cost_both(settings: Settings, home: Home) -> None:
    training = start_training("params")
    training.kill()
    before = client(settings).get_run(training.run_id).data.metrics
    assert before["cost/cpu_s"] >= 1.0 and before["cost/gpu_s"] == 0
    with (
        metered() as meter,
        open_run(settings, RunKey("data", "code", "params")) as recorder,
        costed(recorder, meter, settings.cost) as told,
    ):
        assert recorder.run_id == training.run_id
        told.metrics({"loss": 2.0}, 1)
    after = client(settings).get_run(training.run_id).data.metrics
    for name in ("cpu_s", "wall_s", "price"):
        assert after[f"cost/{name}"] > before[f"cost/{name}"] > 0, name
    assert after["cost/peak_mb"] >= before["cost/peak_mb"] > 10
    assert after["loss"] == 2.0


def test_an_evaluation_adds_to_the_run_of_its_training_and_makes_none(shop: Shop) -> None:
    with metered() as meter:
        record_evaluation(shop.settings, shop.workspace, meter)
        assert client(shop.settings).search_runs(["0", "1"]) == []
        with open_run(shop.settings, run_key(shop.settings, shop.workspace)) as recorder:
            pass
        for _ in range(2):
            record_evaluation(shop.settings, shop.workspace, meter)
    run = client(shop.settings).get_run(recorder.run_id)
    history = client(shop.settings).get_metric_history(recorder.run_id, "cost/evaluation/wall_s")
    assert len(history) == 2 and history[1].value > history[0].value > 0
    assert "cost/wall_s" not in run.data.metrics


def test_registering_and_judging_leave_their_cost(shop: Shop, ledger: Ledger) -> None:
    version = shop.register(0.9)
    promote(shop.settings, challenger=version, workspace=shop.workspace)
    found = {total.kind: total for total in totals(ledger, "version")}
    assert set(found) == {"register", "gate"}
    assert {total.group for total in found.values()} == {str(version)}
    assert found["register"].usage.cpu_s > 0 and found["register"].price > 0


def test_sums_by_month_and_by_the_version_that_came_of_a_retraining(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = as_record(Usage(3600, 3600, 0, 0), settings.cost.model_copy(update={"cpu_core_hour": 2.0}))
    made_of = {"data_rev": "d", "code_rev": "c", "params_hash": "p"}
    ledger.record("retrain", payload={"cost": hour}, **made_of)
    ledger.record("retrain", payload={"cost": hour, "failure": "killed"}, **made_of | {"data_rev": "other"})
    ledger.record("register", to_version=12, payload={"cost": hour}, **made_of)
    ledger.record("register", to_version=13, payload={"note": "drill"}, **made_of)
    ledger.record("register", to_version=2, payload={}, data_rev="before", code_rev="costs", params_hash="were kept")
    ledger.record("score", to_version=12, payload={"cost": hour | {"currency": "USD"}})
    by_version = [(total.group, total.kind, total.runs, total.price) for total in totals(ledger, "version")]
    assert by_version == [
        ("", "retrain", 1, 2.0),
        ("12", "register", 1, 2.0),
        ("12", "retrain", 1, 2.0),
        ("12", "score", 1, 2.0),
    ]
    month = ledger.history()[0]["at"][:7]
    found = totals(ledger, "month")
    assert [(total.group, total.kind, total.runs, total.price) for total in found] == [
        (month, "register", 1, 2.0),
        (month, "retrain", 2, 4.0),
        (month, "score", 1, 2.0),
    ]
    shown = table(found, "month").splitlines()
    assert shown[-2].split() == ["all", "3", "3.00", "3.00", "0.00", "0.0", "6.00", "EUR"], "currencies do not add up"
    assert shown[-1].split()[-2:] == ["2.00", "USD"]
