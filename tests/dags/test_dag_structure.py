"""What every DAG must have, and which event leads where."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from packshot.config import load_settings

DAGS = Path(__file__).resolve().parents[2] / "dags"

EVENTS = {
    "catalog_ready": ("intake", {"retrain"}),
    "verdicts": ("score", {"drift"}),
    "drift_alarm": ("drift", {"intake", "retrain"}),
}
PARAMS = {
    "intake": set(),
    "retrain": {"force", "reason"},
    "promote": {"challenger", "approval", "rescore"},
    "score": {"batch", "rescore", "engine"},
    "drift": set(),
    "reconcile": set(),
    "rescore_day": {"day", "champion"},
    "rollback": {"to"},
    "maintenance": set(),
}


def asset_names(condition):
    if condition is None:
        return set()
    if hasattr(condition, "objects"):
        return set().union(*(asset_names(part) for part in condition.objects))
    return {condition.name}


def consumers(dagbag, name):
    conditions = {dag.dag_id: getattr(dag.timetable, "asset_condition", None) for dag in dagbag.dags.values()}
    return {dag_id for dag_id, condition in conditions.items() if name in asset_names(condition)}


def producers(dagbag, name):
    return {
        dag.dag_id
        for dag in dagbag.dags.values()
        for task in dag.tasks
        if any(getattr(outlet, "name", None) == name for outlet in task.outlets)
    }


def test_all_load_without_an_error(dagbag):
    assert dagbag.import_errors == {}
    assert set(dagbag.dags) == set(PARAMS)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_each_event_has_one_producer_beside_the_reconciler_and_its_consumers(dagbag, name):
    producer, consumer = EVENTS[name]
    assert producers(dagbag, name) == {producer, "reconcile"}
    assert consumers(dagbag, name) == consumer


def test_a_challenger_comes_from_training_or_out_of_the_shadow_and_goes_to_the_gates(dagbag):
    assert producers(dagbag, "challenger") == {"retrain", "score", "reconcile"}
    assert consumers(dagbag, "challenger") == {"promote"}


def test_a_new_champion_is_announced_by_promotion_or_rollback_and_starts_scoring(dagbag):
    assert producers(dagbag, "champion") == {"promote", "rollback", "reconcile"}
    assert consumers(dagbag, "champion") == {"score"}


@pytest.mark.parametrize("dag_id", sorted(PARAMS))
def test_each_dag_can_be_read_and_run_by_its_owner(dagbag, dag_id):
    dag = dagbag.dags[dag_id]
    assert "What it does" in dag.doc_md and "**When.**" in dag.doc_md
    assert "packshot" in dag.tags
    assert dag.max_active_runs == 1 and dag.catchup is False
    assert {task.owner for task in dag.tasks} == {"catalogue"}
    assert set(dag.params) == PARAMS[dag_id]
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.description and param.schema.get("type"), name


def test_a_command_that_may_fail_for_the_machine_is_tried_again(dagbag):
    for dag_id, task_id in (
        ("intake", "collect"),
        ("retrain", "register"),
        ("score", "score"),
        ("score", "merge"),
        ("drift", "check"),
    ):
        assert dagbag.dags[dag_id].get_task(task_id).retries >= 1


def test_as_many_parts_are_scored_at_once_as_the_settings_say(airflow_home, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("PACKSHOT__SCORING__TASKS_AT_ONCE", "5")
    loaded = DagBag(str(DAGS))
    for dag_id in ("score", "rescore_day"):
        assert loaded.dags[dag_id].get_task("score").max_active_tis_per_dag == 5
        assert loaded.dags[dag_id].get_task("merge").max_active_tis_per_dag == 1


def test_every_task_ends_in_time(dagbag):
    """Mapped tasks too; the one that asks a person waits for as long as people have."""
    for dag in dagbag.dags.values():
        for task in dag.tasks:
            assert task.execution_timeout is not None, (dag.dag_id, task.task_id)
    assert dagbag.dags["promote"].get_task("approve").response_timeout is not None


def test_how_long_a_task_may_take_is_a_setting(airflow_home, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    named = load_settings().dags.timeouts_hours
    monkeypatch.setenv("PACKSHOT__DAGS__TIMEOUT_HOURS", "0.5")
    monkeypatch.setenv("PACKSHOT__DAGS__TIMEOUTS_HOURS", '{"score": 7}')
    loaded = DagBag(str(DAGS)).dags
    assert loaded["score"].get_task("score").execution_timeout == timedelta(hours=7)
    assert loaded["rescore_day"].get_task("score").execution_timeout == timedelta(hours=7)
    assert loaded["retrain"].get_task("train").execution_timeout == timedelta(minutes=30)
    assert set(named) <= {task.task_id for dag in loaded.values() for task in dag.tasks}


def test_training_waits_for_the_gpu_pool(dagbag):
    assert dagbag.dags["retrain"].get_task("train").pool == "gpu"


@pytest.mark.parametrize(
    ("dag_id", "conf"),
    [
        ("retrain", {"force": "yes"}),
        ("rollback", {"to": 0}),
        ("score", {"batch": "../etc"}),
        ("score", {"engine": "spark"}),
        ("rescore_day", {"day": "yesterday"}),
        ("rescore_day", {"champion": "next"}),
        ("promote", {"challenger": "x"}),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(dagbag, dag_id, conf):
    from airflow.sdk.exceptions import ParamValidationError

    params = dagbag.dags[dag_id].params
    with pytest.raises((ParamValidationError, ValueError)):
        for name, value in conf.items():
            params.get_param(name).resolve(value=value)
