"""Collect, validate and split the catalogue; publish a new data revision."""

from airflow.sdk import DAG, AssetOrTimeSchedule, chain

from packshot_tasks import CATALOG_READY, DEFAULTS, DRIFT_ALARM, PackshotCommand, cron

DOC = """
### intake: take in the catalogue

**What it does.** Looks at the catalogue's source, judges every row and image (Great Expectations), puts aside the
bad ones with their reasons, groups near-duplicates so that they never meet across training and test, and publishes
the result as a new *data revision*.

**When.** Every night at 02:00 UTC, when a drift alarm found new labels to take in (`drift_alarm`), or by hand.

**What follows.** When the data changed, the event `catalog_ready` starts `retrain`. When nothing changed, `publish`
is skipped and nothing follows.

**When it fails.** `validate` fails when more than the allowed share of a delivery is bad (`validation.max_bad_share`
in `params.yaml`): the task log names the worst reasons, the quarantine lists every row. The published data stays as
it was. Mend the delivery and run again; every step may be repeated.
"""

with DAG(
    dag_id="intake",
    description="Collect, validate, quarantine, split: a new data revision",
    schedule=AssetOrTimeSchedule(timetable=cron("0 2 * * *"), assets=[DRIFT_ALARM]),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["packshot", "data"],
    doc_md=DOC,
):
    collect = PackshotCommand(task_id="collect", arguments=["data", "step", "collect"])
    validate = PackshotCommand(task_id="validate", arguments=["data", "step", "validate"], retries=0)
    split = PackshotCommand(task_id="split", arguments=["data", "step", "split"])
    publish = PackshotCommand(
        task_id="publish",
        arguments=["data", "publish"],
        outlets=[CATALOG_READY],
        event={"data_rev": "data_rev", "rows": "rows"},
    )
    chain(collect, validate, split, publish)
