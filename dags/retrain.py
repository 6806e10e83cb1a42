"""Train, evaluate and register a challenger on the newest data."""

from airflow.sdk import DAG, AssetOrTimeSchedule, Param

from packshot_tasks import (
    CATALOG_READY,
    CHALLENGER,
    DEFAULTS,
    DRIFT_ALARM,
    GPU_POOL,
    GPU_QUEUE,
    MACROS,
    ModelCommand,
    PackshotCommand,
    cron,
)

DOC = """
### retrain: train a challenger

**What it does.** Trains and evaluates the model on the newest data revision in a workspace of its own, then registers
it in MLflow as `challenger`. A model of the same data, code and parameters is never trained twice: the run then ends
with `train` skipped, and its log says which version it found.

**When.** Sundays at 03:00 UTC, when new data was published (`catalog_ready`), when a batch looked different from the
data the champion learned from (`drift_alarm`), or by hand.

**Parameters.** `force`: train although this was trained before. `reason`: who asks and why; it is kept with the run.

**What follows.** The event `challenger` starts `promote`.

**When it fails.** Run it again: training goes on from its last checkpoint, in the same MLflow run. Only one training
runs at a time (pool `gpu`).
"""

with DAG(
    dag_id="retrain",
    description="Train and evaluate on the newest data; register a challenger",
    schedule=AssetOrTimeSchedule(timetable=cron("0 3 * * 0"), assets=(CATALOG_READY | DRIFT_ALARM)),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["packshot", "model"],
    doc_md=DOC,
    user_defined_macros=MACROS,
    params={
        "force": Param(
            False, type="boolean", title="Force", description="Train although this data and code were trained"
        ),
        "reason": Param(None, type=["null", "string"], maxLength=200, title="Reason", description="Who asks, and why"),
    },
):
    train = PackshotCommand(
        task_id="train",
        arguments=[
            "retrain",
            "{{ '--force' if params.force else '' }}",
            "--reason",
            "{{ params.reason or trigger_reason(triggering_asset_events) }}",
        ],
        pool=GPU_POOL,
        queue=GPU_QUEUE,
        retries=1,
    )
    register = ModelCommand(
        task_id="register",
        version="version",
        arguments=["register", "--workspace", "{{ ti.xcom_pull(task_ids='train')['workspace'] }}"],
        outlets=[CHALLENGER],
        event={"model_version": "version", "run_id": "run_id"},
        event_also={"data_rev": "{{ ti.xcom_pull(task_ids='train')['data_rev'] }}"},
    )
    train >> register
