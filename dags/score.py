"""Judge new batches of images with the champion."""

from airflow.sdk import DAG, AssetOrTimeSchedule, Param, task
from airflow.sdk.exceptions import AirflowSkipException

from packshot_tasks import (
    CHALLENGER,
    CHAMPION,
    DEFAULTS,
    MACROS,
    NO_CHAMPION,
    VERDICTS,
    PackshotCommand,
    cron,
    score_in_parts,
)

DOC = """
### score: judge new images

**What it does.** Finds the batches that wait in the inbox (a folder each), judges every image with the champion, writes
the verdicts with their full lineage, repairs what can be repaired, and renders the report.

**When.** Every hour, when there is a new champion, or by hand.

**Parameters.** `batch`: only this batch. `rescore`: also batches that an earlier champion has judged. `engine`: `local`
or `ray`, on the cluster that `scoring.ray_address` names; empty: as `scoring.engine` says.

**How to read it.** `cut` makes shards of each batch, `score` is a mapped task for each part of them, `merge` makes the
verdicts of each batch. At most `scoring.tasks_at_once` parts are scored at a time, on any worker that sees
PACKSHOT_HOME; a part that fails is tried again by itself and does over only the shards that are not finished. `score`
skipped: all shards were. A bad image is a row with its error, never a failed batch. No batch waiting, or no champion
yet: `plan` is skipped. One failed batch does not hold up the others: they are announced and reported, and
`every_batch_scored` makes the run red; the next run goes on with it.

**What follows.** The event `verdicts` starts `drift`. Where a challenger is in shadow (`packshot registry shadow`), it
scores the champion's new batches too (`shadow`, into a folder of its own); it decides nothing and its failure fails
nothing. After its last batch the event `challenger` starts `promote` again.
"""

with DAG(
    dag_id="score",
    description="New images to verdicts, repaired images and the report",
    schedule=AssetOrTimeSchedule(timetable=cron("0 * * * *"), assets=[CHAMPION]),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["packshot", "scoring"],
    doc_md=DOC,
    user_defined_macros=MACROS,
    params={
        "batch": Param(
            None,
            type=["null", "string"],
            pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$",
            maxLength=100,
            title="Batch",
            description="Only this batch; empty: all that wait",
        ),
        "rescore": Param(
            False, type="boolean", title="Rescore", description="Also batches that an earlier champion judged"
        ),
        "engine": Param(
            None,
            type=["null", "string"],
            enum=[None, "local", "ray"],
            title="Engine",
            description="What scores: the workers, or a Ray cluster; empty: as in params.yaml",
        ),
    },
):
    plan = PackshotCommand(
        task_id="plan",
        arguments=[
            "inbox",
            "plan",
            "{{ '--batch' if params.batch else '' }}",
            "{{ params.batch or '' }}",
            "{{ '--rescore' if params.rescore or event_value(triggering_asset_events, 'rescore') else '' }}",
        ],
        returns="batches",
        also_skip=(NO_CHAMPION,),
    )
    merge, every_batch_scored = score_in_parts(plan.output.map(lambda batch: ["inbox", "cut", batch]))

    @task(outlets=[VERDICTS], trigger_rule="all_done_min_one_success")
    def announce_verdicts(results, outlet_events) -> dict:
        """Tell which batches have verdicts now, and by which model version."""
        scored = [result for result in results if result]
        extra = {"batches": [result["batch"] for result in scored], "model_version": scored[0]["model_version"]}
        outlet_events[VERDICTS].extra = extra
        return extra

    report = PackshotCommand(
        task_id="report", arguments=["report", "--latest"], trigger_rule="all_done_min_one_success"
    )

    plan_shadow = PackshotCommand(
        task_id="plan_shadow",
        arguments=["inbox", "plan", "--shadow"],
        returns="batches",
        also_skip=(NO_CHAMPION,),
        trigger_rule="all_done",
    )
    shadow = PackshotCommand.partial(task_id="shadow", max_active_tis_per_dag=1).expand(
        arguments=plan_shadow.output.map(lambda batch: ["inbox", "shadow", batch])
    )

    @task(outlets=[CHALLENGER], trigger_rule="all_done", retries=0)
    def judge_again(results, outlet_events) -> dict:
        """Send the challenger back to the gates once it has seen all its batches; else be skipped."""
        complete = [result for result in results or () if result and result.get("complete")]
        if not complete:
            raise AirflowSkipException("no challenger has seen all its batches in shadow just now")
        extra = {"model_version": complete[-1]["model_version"], "shadow": True}
        outlet_events[CHALLENGER].extra = extra
        return extra

    merge >> report
    merge >> plan_shadow
    judge_again(shadow.output)
    report >> announce_verdicts(merge.output)
    report >> every_batch_scored
