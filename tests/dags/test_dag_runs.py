"""The DAGs run in a real Airflow, in this process; only the `packshot` command is a stand-in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

PLANNED = {"result": {"batches": ["one", "two"], "model_version": 7}}


def cut(batch, version, *parts):
    return {"result": {"batch": batch, "model_version": version, "parts": parts}}


SCORED = {
    "inbox__plan": PLANNED,
    "inbox__cut__one": cut("one", 7, (0, 16), (16, 20)),
    "inbox__cut__two": cut("two", 7, (0, 1)),
    "inbox__merge__one": {"result": {"batch": "one", "model_version": 7}},
    "inbox__merge__two": {"result": {"batch": "two", "model_version": 7}},
}
NO_SHADOW = {"inbox__plan__--shadow": {"exit": 99, "result": {"batches": []}}}


@pytest.fixture
def run(dagbag):
    """Run a DAG once; return its state, its tasks' states, and the events it sent as {asset: [extra]}."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    def once(dag_id, conf=None, logical_date=None):
        done = dagbag.dags[dag_id].test(run_conf=conf or {}, logical_date=logical_date)
        states = {(ti.task_id, ti.map_index): str(ti.state) for ti in done.get_task_instances()}
        plain = {task: state for (task, index), state in states.items() if index < 0}
        mapped = {f"{task}[{index}]": state for (task, index), state in states.items() if index >= 0}
        with create_session() as session:
            sent = session.query(AssetEvent).filter(AssetEvent.source_run_id == done.run_id).all()
            events = {event.asset.name: event.extra for event in sent}
        return str(done.state), plain | mapped, events

    return once


def test_intake_announces_the_new_revision(run, packshot):
    packshot(data__publish={"result": {"data_rev": "abc", "rows": 9, "changed": True}})
    state, tasks, events = run("intake")
    assert state == "success" and tasks["publish"] == "success"
    assert events == {"catalog_ready": {"data_rev": "abc", "rows": 9}}
    assert packshot.calls() == ["data step collect", "data step validate", "data step split", "data publish"]


def test_intake_sends_nothing_where_nothing_changed(run, packshot):
    packshot(data__publish={"exit": 99, "result": {"changed": False}})
    state, tasks, events = run("intake")
    assert (state, tasks["publish"], events) == ("success", "skipped", {})


def test_a_refused_delivery_stops_the_intake(run, packshot):
    packshot(data__step__validate={"exit": 65, "says": ["packshot: BatchRefused: 40 % of the rows are bad"]})
    state, tasks, events = run("intake")
    assert state == "failed" and tasks["validate"] == "failed"
    assert tasks["split"] == tasks["publish"] == "upstream_failed"
    assert events == {}


def test_people_are_told_of_a_task_that_failed_for_good_and_of_no_other(run, packshot):
    packshot(
        data__step__validate={"exit": 65, "says": ["packshot: BatchRefused: 40 % of the rows are bad"]},
        notices__failed={"exit": 74, "says": ["packshot: LedgerError: the disk is full"]},
    )
    state, tasks, _ = run("intake")
    assert (state, tasks["validate"]) == ("failed", "failed")
    told = [call for call in packshot.calls() if call.startswith("notices failed")]
    assert len(told) == 1 and "--dag=intake" in told[0] and "--task=validate" in told[0]
    assert "--run=" in told[0] and "--attempt=1" in told[0]


def test_maintenance_does_each_chore_whether_or_not_another_finds_something(run, packshot):
    packshot(reap={"exit": 99, "result": {"reaped": []}}, notices__send={"result": {"sent": 2}})
    state, tasks, _ = run("maintenance")
    assert (state, tasks) == ("success", {"reap": "skipped", "notices": "success"})


def test_retrain_passes_on_who_asks_and_announces_the_version(run, packshot):
    packshot(
        retrain={"result": {"workspace": "train-1", "data_rev": "abc"}},
        register={"result": {"version": 4, "run_id": "r", "new": True}},
    )
    state, _, events = run("retrain", {"force": True, "reason": "new camera"})
    assert state == "success"
    assert packshot.calls() == ["retrain --force --reason new camera", "register --workspace train-1"]
    assert events == {"challenger": {"model_version": 4, "run_id": "r", "data_rev": "abc"}}


def test_retrain_ends_quietly_where_this_was_trained_before(run, packshot):
    packshot(retrain={"exit": 99, "result": {"version": 3}})
    state, tasks, events = run("retrain")
    assert (state, tasks, events) == ("success", {"train": "skipped", "register": "skipped"}, {})


def ended(tasks):
    """The tasks that stand for an outcome of `promote` and are green."""
    return [name for name in ("promoted", "refused", "not_enough_evidence", "rejected") if tasks.get(name) == "success"]


def test_a_promotion_that_has_nothing_to_do_has_no_outcome(run, packshot):
    packshot(promote={"exit": 99, "result": {"outcome": "nothing_to_do", "challenger": 4}})
    for approval in (False, True):
        state, tasks, events = run("promote", {"approval": approval})
        assert state == "success" and ended(tasks) == [] and events == {}
        assert tasks["approve"] == tasks["announce_champion"] == "skipped"
    assert len([call for call in packshot.calls() if "--check" not in call]) == 1, "nobody's answer is gone round"


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        ({"approve": {"chosen_options": ["Reject"]}, "judge": {"outcome": "promoted"}}, "rejected"),
        ({"approve": {"chosen_options": ["Approve"]}, "judge": {"outcome": "promoted"}, "decide": None}, "promoted"),
        (
            {
                "approve": {"chosen_options": ["Approve"]},
                "judge": {"outcome": "promoted"},
                "decide": {"outcome": "refused"},
            },
            "refused",
        ),
        ({"judge": {"outcome": "not_enough_evidence"}}, "not_enough_evidence"),
        ({}, None),
    ],
)
def test_a_persons_answer_is_an_outcome_of_its_own(dagbag, found, outcome):
    asked = SimpleNamespace(xcom_pull=lambda task_ids: found.get(task_ids))
    assert dagbag.dags["promote"].get_task("outcome").python_callable(ti=asked) == outcome


def test_promote_announces_a_new_champion(run, packshot):
    packshot(promote={"result": {"outcome": "promoted", "challenger": 4, "data_rev": "abc"}})
    state, tasks, events = run("promote", {"challenger": 4, "approval": False})
    assert state == "success" and tasks["approve"] == "skipped"
    assert ended(tasks) == ["promoted"]
    assert packshot.calls() == ["promote --challenger 4 --json"]
    assert events == {"champion": {"model_version": 4, "rescore": False, "data_rev": "abc"}}


@pytest.mark.parametrize(("code", "outcome"), [(3, "refused"), (4, "not_enough_evidence")])
def test_a_refusal_is_a_decision_and_no_failure(run, packshot, code, outcome):
    packshot(promote={"exit": code, "result": {"outcome": outcome, "challenger": 5}})
    state, tasks, events = run("promote", {"approval": False})
    assert state == "success" and tasks["decide"] == "success"
    assert ended(tasks) == [outcome], "the page tells it from a promotion at a glance"
    assert tasks["announce_champion"] == "skipped" and events == {}


def test_nobody_is_asked_about_a_challenger_that_the_gates_refuse(run, packshot):
    packshot(**{"promote --check": {"exit": 3, "result": {"outcome": "refused", "challenger": 5}}})
    state, tasks, events = run("promote", {"approval": True})
    assert state == "success" and tasks["judge"] == "success"
    assert ended(tasks) == ["refused"]
    assert tasks["approve"] == tasks["decide"] == "skipped" and events == {}
    assert [call for call in packshot.calls() if "--check" not in call] == []


def test_a_run_cannot_waive_the_approval_that_is_set(run, packshot, monkeypatch):
    monkeypatch.setenv("PACKSHOT__REGISTRY__APPROVAL", "true")
    packshot(**{"promote --check": {"exit": 3, "result": {"outcome": "refused", "challenger": 5}}})
    state, _, _ = run("promote", {"approval": False})
    assert state == "success" and all("--check" in call for call in packshot.calls()) and packshot.calls()


@pytest.fixture
def question(dagbag, monkeypatch):
    """The task that asks a person, as a task runner holds it, and what it put to Airflow."""
    from airflow.providers.standard.operators import hitl

    put = []
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **asked: put.append(asked))
    return dagbag.dags["promote"].task_dict["approve"], put


def asked_by(person):
    instance = SimpleNamespace(id="1", xcom_pull=lambda task_ids: {"challenger": 4, "table": "| gate |"})
    return {"ti": instance, "task_instance": instance, "dag_run": SimpleNamespace(triggering_user_name=person)}


def test_the_question_goes_to_the_approvers_but_for_who_asks(question, monkeypatch):
    from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput

    task, put = question
    monkeypatch.setenv("PACKSHOT__REGISTRY__APPROVERS", '["ann", "bo"]')
    monkeypatch.setenv("PACKSHOT__REGISTRY__APPROVAL_TIMEOUT_HOURS", "5")
    with pytest.raises(TaskAwaitingInput) as waiting:
        task.execute(asked_by("ann"))
    assert put[-1]["assigned_users"] == [{"id": "bo", "name": "bo"}]
    assert put[-1]["defaults"] == ["Reject"] and "table" in put[-1]["body"]
    assert waiting.value.timeout == timedelta(hours=5)
    monkeypatch.setenv("PACKSHOT__REGISTRY__APPROVERS", '["ann"]')
    with pytest.raises(AirflowFailException, match="approves their own"):
        task.execute(asked_by("ann"))


def test_an_answer_is_written_down_before_anything_follows(question, packshot, monkeypatch):
    from airflow.sdk.exceptions import AirflowFailException

    task, _ = question
    skipped = []
    monkeypatch.setattr(type(task), "skip", lambda *_, tasks, **__: skipped.append(tasks))
    answer = {"params_input": {}, "responded_at": datetime.now(UTC), "responded_by_user": {"id": "bo", "name": "bo"}}
    task.execute_complete(asked_by("ann"), answer | {"chosen_options": ["Approve"]})
    assert not skipped
    task.execute_complete(asked_by(None), answer | {"chosen_options": ["Reject"], "responded_by_user": None})
    assert skipped, "nothing follows a rejection"
    assert packshot.calls() == [
        "registry answer 4 --approve --by bo --started-by ann",
        "registry answer 4 --reject",
    ]
    packshot(registry__answer={"exit": 2, "says": ["packshot: NotYoursToApprove: bo had the version trained"]})
    with pytest.raises(AirflowFailException, match="had the version trained"):
        task.execute_complete(asked_by("ann"), answer | {"chosen_options": ["Approve"]})


def test_score_maps_over_the_parts_of_the_waiting_batches_and_announces_them(run, packshot):
    packshot(**SCORED, **NO_SHADOW)
    state, tasks, events = run("score")
    assert state == "success" and {tasks[f"score[{n}]"] for n in range(3)} == {"success"}
    calls = packshot.calls()
    assert {call for call in calls if call.startswith("inbox score-part")} == {
        "inbox score-part one 0 16 --model 7",
        "inbox score-part one 16 20 --model 7",
        "inbox score-part two 0 1 --model 7",
    }
    assert calls.index("inbox merge one --model 7") > max(calls.index(c) for c in calls if "score-part" in c)
    assert tasks["plan_shadow"] == tasks["judge_again"] == "skipped"
    assert events == {"verdicts": {"batches": ["one", "two"], "model_version": 7}}
    assert packshot.calls().count("report --latest") == 1


def test_score_hands_its_engine_to_the_commands_that_score(run, packshot):
    packshot(**SCORED, **NO_SHADOW)
    state, _, _ = run("score", {"engine": "ray"})
    told = {call for call in packshot.calls() if "--engine" in call}
    assert state == "success" and told == {
        "inbox cut one --engine=ray",
        "inbox cut two --engine=ray",
        "inbox score-part one 0 16 --model 7 --engine=ray",
        "inbox score-part one 16 20 --model 7 --engine=ray",
        "inbox score-part two 0 1 --model 7 --engine=ray",
    }


@pytest.mark.parametrize(
    ("second", "sent"),
    [
        ({"result": {"batch": "two", "model_version": 8, "complete": True}}, {"model_version": 8, "shadow": True}),
        ({"result": {"batch": "two", "model_version": 8, "complete": False}}, None),
        ({"exit": 2, "says": ["packshot: NoSuchModel: gone"]}, None),
    ],
    ids=["complete", "incomplete", "failed"],
)
def test_the_shadow_sees_the_scored_batches_and_fails_nothing(run, packshot, second, sent):
    shadow = {"inbox__shadow__one": {"result": {"batch": "one", "model_version": 8, "complete": False}}}
    packshot(**SCORED, **shadow, inbox__shadow__two=second)
    state, tasks, events = run("score")
    assert state == "success"
    assert events["verdicts"] == {"batches": ["one", "two"], "model_version": 7}
    assert events.get("challenger") == sent
    assert tasks["judge_again"] == ("success" if sent else "skipped")


def test_a_shadow_that_fails_on_every_batch_fails_nothing(run, packshot):
    packshot(**SCORED, inbox__shadow={"exit": 2, "says": ["packshot: NoSuchModel: gone"]})
    state, tasks, _ = run("score")
    assert state == "success" and tasks["shadow[0]"] == tasks["shadow[1]"] == "failed"


@pytest.mark.parametrize(
    "failing",
    [
        {"inbox__cut__one": {"exit": 2, "says": ["packshot: BatchUnknown: no batch 'one'"]}},
        {
            "inbox__score-part__one__16": {"exit": 2, "says": ["packshot: JudgeFailed: no weights"]},
            "inbox__merge__one": {"exit": 2, "says": ["packshot: ShardsMissing: 4 of 20 shards"]},
        },
    ],
    ids=["cut", "part"],
)
def test_one_failed_batch_makes_the_run_red_and_does_not_hold_up_the_other(run, packshot, failing):
    packshot(
        **(SCORED | failing),
        **NO_SHADOW,
    )
    state, tasks, events = run("score")
    assert state == "failed" and tasks["report"] == "success"
    assert tasks["every_batch_scored"] == "upstream_failed"
    assert events == {"verdicts": {"batches": ["two"], "model_version": 7}}


def test_shards_that_are_all_finished_are_merged(run, packshot):
    packshot(**(SCORED | {"inbox__cut__one": cut("one", 7), "inbox__cut__two": cut("two", 7)}), **NO_SHADOW)
    state, tasks, events = run("score")
    assert state == "success" and tasks["score"] == "skipped" and tasks["merge[1]"] == "success"
    assert events["verdicts"]["batches"] == ["one", "two"]


def test_score_has_nothing_to_do_with_an_empty_inbox(run, packshot):
    packshot(inbox__plan={"exit": 99, "result": {"batches": []}})
    state, tasks, events = run("score")
    assert state == "success" and set(tasks.values()) == {"skipped"} and events == {}


OLD = {"batches": [{"batch": "one", "model_version": 3}, {"batch": "two", "model_version": 4}]}


def test_each_batch_of_a_day_is_scored_by_its_own_version(run, packshot):
    packshot(
        inbox__plan={"result": OLD},
        inbox__cut__one=cut("one", 3, (0, 1)),
        inbox__cut__two=cut("two", 4, (0, 1)),
        inbox__merge={"result": {}},
    )
    state, tasks, events = run("rescore_day", logical_date=datetime(2026, 1, 5, tzinfo=UTC))
    assert state == "success" and tasks["score[0]"] == tasks["score[1]"] == "success" and events == {}
    planned, *scored = packshot.calls()
    assert planned == "inbox plan --day=2026-01-05 --champion then"
    versions = {"one": 3, "two": 4}
    steps = ("cut {}", "score-part {} 0 1", "merge {}")
    assert sorted(scored) == sorted(
        f"inbox {step.format(batch)} --model {version}" for step in steps for batch, version in versions.items()
    )


def test_a_batch_of_a_day_that_cannot_be_cut_makes_the_run_red(run, packshot):
    gone = {"exit": 2, "says": ["packshot: BatchUnknown: no batch 'one'"]}
    packshot(inbox__plan={"result": OLD}, inbox__cut__one=gone, inbox__cut__two=cut("two", 4, (0, 1)))
    state, tasks, _ = run("rescore_day", logical_date=datetime(2026, 1, 5, tzinfo=UTC))
    assert state == "failed" and tasks["merge[0]"] == "success"


def test_a_person_names_the_day_and_the_champion(run, packshot):
    packshot(inbox__plan={"exit": 99, "result": {"batches": []}})
    run("rescore_day", {"day": "2026-01-07", "champion": "now"})
    assert packshot.calls() == ["inbox plan --day=2026-01-07 --champion now"]


def test_airflow_backfills_a_past_day_as_a_run_of_that_day(dagbag):
    from airflow.models.backfill import _get_info_list
    from airflow.serialization.serialized_objects import DagSerialization

    stored = DagSerialization.from_dict(DagSerialization.to_dict(dagbag.dags["rescore_day"]))
    assert stored.timetable.periodic, "Airflow backfills nothing else"
    days = {"from_date": datetime(2026, 1, 5, tzinfo=UTC), "to_date": datetime(2026, 1, 7, tzinfo=UTC)}
    runs = _get_info_list(**days, reverse=False, dag=stored)
    assert [str(one.logical_date)[:10] for one in runs] == ["2026-01-05", "2026-01-06", "2026-01-07"]


@pytest.mark.parametrize("dag_id", ["score", "drift", "rescore_day"])
def test_before_the_first_champion_the_schedule_has_nothing_to_do(run, packshot, dag_id):
    nobody = {"exit": 66, "says": ["packshot: NoSuchModel: model 'packshot' has no champion yet"]}
    packshot(inbox=nobody, labels=nobody)
    state, tasks, _ = run(dag_id)
    tasks.pop("every_batch_checked", None)
    assert state == "success" and set(tasks.values()) == {"skipped"}


def test_an_alarm_that_is_worth_a_training_is_announced(run, packshot):
    answer = {"batches": ["two"], "model_version": 7, "p_value": 0.001, "retrain": True, "reason": "60 labels"}
    packshot(
        inbox__plan=PLANNED,
        inbox__drift__one={"result": {"batch": "one", "model_version": 7, "alarm": False, "p_value": 0.4}},
        inbox__drift__two={"result": {"batch": "two", "model_version": 7, "alarm": True, "p_value": 0.001}},
        inbox__respond={"result": answer},
    )
    state, tasks, events = run("drift")
    assert state == "success" and packshot.calls()[-1] == "inbox respond"
    assert (tasks["alarm"], tasks["no_alarm"]) == ("success", "skipped")
    assert events == {"drift_alarm": {name: answer[name] for name in ("batches", "model_version", "p_value", "reason")}}


@pytest.mark.parametrize(
    ("two", "labels", "seen"),
    [
        ({"result": {"batch": "two", "alarm": False}}, {"exit": 99}, ("skipped", "success")),
        ({"result": {"batch": "two", "alarm": False}}, {"result": {"alarm": True}}, ("success", "skipped")),
        ({"exit": 2, "says": ["packshot: VerdictsUnusable: no rows"]}, {"exit": 99}, ("skipped", "skipped")),
    ],
    ids=["none", "labels", "failed"],
)
def test_a_run_of_drift_shows_at_a_glance_whether_there_is_an_alarm(run, packshot, two, labels, seen):
    one = {"result": {"batch": "one", "alarm": False, "headline": "one: no alarm"}}
    packshot(
        inbox__plan=PLANNED,
        inbox__drift__one=one,
        inbox__drift__two=two,
        labels__check=labels,
        inbox__respond={"exit": 99},
    )
    _, tasks, _ = run("drift")
    assert (tasks["alarm"], tasks["no_alarm"]) == seen


def test_a_check_is_called_by_its_batch_and_what_was_found(dagbag, run, packshot):
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    found = {"batch": "one", "alarm": True, "reason": "quality +2.0", "headline": "one: ALARM"}
    packshot(
        inbox__plan={"result": {"batches": ["one"], "model_version": 7}},
        inbox__drift__one={"result": found},
        inbox__respond={"exit": 99},
    )
    run("drift")
    with create_session() as session:
        checks = session.query(TaskInstance).filter_by(dag_id="drift", task_id="check").all()
        assert "one: ALARM" in [check.rendered_map_index for check in checks]


def test_an_alarm_without_new_labels_sends_nothing(run, packshot):
    packshot(
        inbox__plan={"result": {"batches": ["one"], "model_version": 7}},
        inbox__drift__one={"result": {"batch": "one", "model_version": 7, "alarm": True, "p_value": 0.001}},
        inbox__respond={"exit": 99, "result": {"retrain": False, "reason": "0 newly labelled pictures"}},
    )
    state, tasks, events = run("drift")
    assert (state, tasks["respond"], events) == ("success", "skipped", {})


def test_labels_are_checked_and_alarms_answered_where_no_batch_waits(run, packshot):
    packshot(inbox__plan={"exit": 99, "result": {"batches": []}}, inbox__respond={"exit": 99})
    state, tasks, _ = run("drift")
    assert (state, tasks["plan"], tasks["labels"]) == ("success", "skipped", "success")
    assert packshot.calls()[-1] == "inbox respond"


def test_a_batch_that_cannot_be_checked_makes_the_run_red_and_alarms_are_answered_all_the_same(run, packshot):
    packshot(
        inbox__plan=PLANNED,
        inbox__drift__one={"exit": 2, "says": ["packshot: VerdictsUnusable: no rows"]},
        inbox__drift__two={"result": {"batch": "two", "model_version": 7, "alarm": True, "p_value": 0.001}},
        inbox__respond={"exit": 99},
    )
    state, tasks, _ = run("drift")
    assert state == "failed" and tasks["respond"] == "skipped"
    assert packshot.calls()[-1] == "inbox respond"


def test_what_was_forgotten_is_announced_again_and_nothing_else(run, packshot):
    waiting = {"batches": ["one", "two"], "model_version": 7, "reconciled": True}
    packshot(reconcile={"result": {"open": [{}], "events": {"champion": waiting, "challenger": {"model_version": 8}}}})
    state, tasks, events = run("reconcile")
    assert state == "success"
    assert events == {"champion": waiting, "challenger": {"model_version": 8}}
    assert tasks["send_verdicts"] == tasks["send_catalog_ready"] == tasks["send_drift_alarm"] == "skipped"
    assert packshot.calls() == ["reconcile --claim"]


def test_where_nothing_is_open_the_reconciler_sends_nothing(run, packshot):
    packshot(reconcile={"exit": 99, "result": {"open": [], "events": {}}})
    state, tasks, events = run("reconcile")
    assert state == "success" and set(tasks.values()) == {"skipped"} and events == {}


def test_rollback_names_the_version_it_returned_to(run, packshot):
    packshot(registry__rollback={"result": {"from_version": 4, "to_version": 2}})
    _, _, events = run("rollback", {"to": 2})
    assert packshot.calls() == ["registry rollback --to 2"]
    assert events == {"champion": {"model_version": 2, "rollback": True}}


def test_a_command_knows_who_asked_and_where_its_task_is_shown(airflow_home):
    from packshot_tasks import environment

    asked = {
        "ti": SimpleNamespace(log_url="http://here/dags/x"),
        "dag_run": SimpleNamespace(triggering_user_name="ann"),
    }
    assert environment(asked) == {"PACKSHOT_ACTOR": "ann", "PACKSHOT_TASK_URL": "http://here/dags/x"}
    assert environment({}) == {}


def test_a_failure_names_the_command_and_its_cause(airflow_home, packshot):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    from packshot_tasks import PackshotCommand

    packshot(
        report={"exit": 74, "says": ["rendering", "packshot: OutputNotWritable: cannot write /full: No space left"]}
    )
    with pytest.raises(
        AirflowException, match=r"`packshot report` ended with exit code 74[\s\S]*No space left"
    ) as caught:
        PackshotCommand(task_id="t", arguments=["report"]).execute({})
    assert not isinstance(caught.value, AirflowFailException), "a full disk is worth another try"
    packshot(report={"exit": 2, "says": ["packshot: SettingsError: params.yaml: unknown key"]})
    with pytest.raises(AirflowFailException, match="unknown key"):
        PackshotCommand(task_id="t", arguments=["report"]).execute({})


def links_of(done):
    """{task: address} of the buttons that tasks of a run have; a task without an address has none."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.query(XComModel).filter(XComModel.run_id == done.run_id, XComModel.key == "_link_VersionPage")
        return {row.task_id: XComModel.deserialize_value(row) for row in rows}


@pytest.mark.parametrize(
    ("dag_id", "answers", "task", "number"),
    [
        ("retrain", {"register": {"result": {"version": 4, "run_id": "r", "new": True}}}, "register", 4),
        ("promote", {"promote": {"exit": 3, "result": {"outcome": "refused", "challenger": 5}}}, "decide", 5),
        ("rollback", {"registry__rollback": {"result": {"to_version": 2}}}, "rollback", 2),
    ],
)
def test_a_task_about_a_version_leads_to_its_page_in_mlflow(
    dagbag, packshot, monkeypatch, dag_id, answers, task, number
):
    packshot(retrain={"result": {"workspace": "train-1", "data_rev": "abc"}}, **answers)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:secret@mlflow.shop.example/")
    links = links_of(dagbag.dags[dag_id].test(run_conf={}))
    assert links[task] == f"https://mlflow.shop.example/#/models/packshot/versions/{number}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///nowhere.db")
    assert not links_of(dagbag.dags[dag_id].test(run_conf={}))[task], "a store without pages"


def test_the_button_is_there_for_a_page_that_knows_only_what_is_serialized(dagbag):
    from airflow.serialization.serialized_objects import DagSerialization

    known = DagSerialization.from_dict(DagSerialization.to_dict(dagbag.dags["promote"]))
    assert known.task_dict["decide"].extra_links == ["MLflow version"]
