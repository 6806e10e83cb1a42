"""Compare scored batches with the data the champion learned from."""

from typing import Any

from airflow.sdk import DAG, AssetOrTimeSchedule, task
from airflow.sdk.exceptions import AirflowSkipException

from packshot_tasks import DEFAULTS, DRIFT_ALARM, HEADLINE, NO_CHAMPION, VERDICTS, PackshotCommand, cron

DOC = """
### drift: are these still the images the model knows?

**What it does.** Compares every scored batch that was not checked yet with the reference of the champion's training
data and writes a report beside the verdicts; compares the champion on newly labelled pictures with its held-out
figures; and answers alarms.

**When.** Every day at 06:00 UTC, on the event `verdicts`, or by hand.

**How to read it.** Of `alarm` and `no_alarm` one is green and the other skipped, both where nothing was checked. The
tasks of `check` are called by their batch and what was found; the log of `alarm` lists what every alarm is for.
`respond` queues the pictures most worth a label and decides whether a training is worth it (`drift.retrain` in
`params.yaml`). Green: the event `drift_alarm` was sent, `intake` and `retrain` start by themselves. Skipped: no alarm,
or nothing new to learn from; its log says which, and where the queue is. An alarm does not say that the verdicts are
wrong; it says that the model was never tested on images like these.
"""


def found_by_the_checks(ti: Any) -> list[dict[str, Any]]:
    """What each batch's check and that of the labels handed on; of a failed or skipped one there is nothing."""
    planned = ti.xcom_pull(task_ids="plan") or []
    checks = [ti.xcom_pull(task_ids="check", map_indexes=index) for index in range(len(planned))]
    return [one for one in [*checks, ti.xcom_pull(task_ids="labels")] if one]


with DAG(
    dag_id="drift",
    description="New images against the reference of the champion's training data",
    schedule=AssetOrTimeSchedule(timetable=cron("0 6 * * *"), assets=[VERDICTS]),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["packshot", "monitoring"],
    doc_md=DOC,
):
    plan = PackshotCommand(
        task_id="plan", arguments=["inbox", "plan", "--drift"], returns="batches", also_skip=(NO_CHAMPION,)
    )
    check = PackshotCommand.partial(task_id="check", max_active_tis_per_dag=1, map_index_template=HEADLINE).expand(
        arguments=plan.output.map(lambda batch: ["inbox", "drift", batch])
    )

    labels = PackshotCommand(task_id="labels", arguments=["labels", "check"], also_skip=(NO_CHAMPION,))
    report = PackshotCommand(
        task_id="report", arguments=["report", "--latest"], trigger_rule="all_done_min_one_success"
    )

    @task(retries=0, trigger_rule="none_failed")
    def every_batch_checked() -> None:
        """Red where a batch, or the check of labels, is: the state of the run hangs on it."""

    @task.branch(retries=0, trigger_rule="all_done")
    def outcome(ti: Any = None) -> str | None:
        """Alarm or none; neither where a batch could not be checked and no other alarms."""
        found = found_by_the_checks(ti)
        if not found:
            raise AirflowSkipException("nothing was checked")
        if any(one.get("alarm") for one in found):
            return "alarm"
        checked = sum("batch" in one for one in found)
        return "no_alarm" if checked == len(ti.xcom_pull(task_ids="plan") or []) else None

    @task(task_id="alarm", retries=0)
    def alarm(ti: Any = None) -> list[str]:
        """Green where a batch drifted or labels broke the champion's promise: what each alarm is for."""
        found = found_by_the_checks(ti)
        said = [f"{one.get('batch', 'labels')}: {one.get('reason')}" for one in found if one.get("alarm")]
        print("\n".join(said))
        return said

    @task(task_id="no_alarm", retries=0)
    def no_alarm() -> None:
        """Green where all that was checked is within the limits."""

    respond = PackshotCommand(
        task_id="respond",
        arguments=["inbox", "respond"],
        also_skip=(NO_CHAMPION,),
        trigger_rule="all_done",
        outlets=[DRIFT_ALARM],
        event={name: name for name in ("batches", "model_version", "p_value", "reason")},
    )

    [check, labels] >> outcome() >> [alarm(), no_alarm()]
    check >> report
    [report, labels] >> respond
    [check, report, labels, respond] >> every_batch_checked()
