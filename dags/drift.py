"""Compare scored batches with the data the champion learned from."""

from airflow.sdk import DAG, AssetOrTimeSchedule, task
from airflow.sdk.exceptions import AirflowSkipException

from packshot_tasks import DEFAULTS, DRIFT_ALARM, NO_CHAMPION, VERDICTS, PackshotCommand, cron

DOC = """
### drift: are these still the images the model knows?

**What it does.** Compares every scored batch that was not checked yet with the reference of the champion's training
data and writes a report beside the verdicts.

**When.** Every day at 06:00 UTC, on the event `verdicts`, or by hand.

**How to read it.** `raise_alarm` skipped: no drift. `raise_alarm` green: the event `drift_alarm` was sent and `retrain`
starts by itself. An alarm does not say that the verdicts are wrong; it says that the model was never tested on
images like these. Bring such images, with labels, into the catalogue.
"""

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
    check = PackshotCommand.partial(task_id="check", max_active_tis_per_dag=1).expand(
        arguments=plan.output.map(lambda batch: ["inbox", "drift", batch])
    )

    @task(outlets=[DRIFT_ALARM], trigger_rule="all_done_min_one_success")
    def raise_alarm(results, outlet_events) -> dict:
        """Send the alarm where there is drift; else be skipped, so that nothing follows."""
        checked = [result for result in results if result]
        drifted = [result for result in checked if result["alarm"]]
        for result in checked:
            print(
                f"batch {result['batch']}: {'DRIFT' if result['alarm'] else 'no drift'} (p = {result['p_value']:.3g})"
            )
        if not drifted:
            raise AirflowSkipException("no drift")
        extra = {
            "batches": [result["batch"] for result in drifted],
            "model_version": drifted[0]["model_version"],
            "p_value": min(result["p_value"] for result in drifted),
        }
        outlet_events[DRIFT_ALARM].extra = extra
        return extra

    report = PackshotCommand(
        task_id="report", arguments=["report", "--latest"], trigger_rule="all_done_min_one_success"
    )

    @task(retries=0)
    def every_batch_checked() -> None:
        """Green only where every batch is: the state of the run hangs on it."""

    check >> report
    report >> raise_alarm(check.output)
    [check, report] >> every_batch_checked()
