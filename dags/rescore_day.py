"""Verdicts for the batches of a past day."""

from airflow.sdk import DAG, CronDataIntervalTimetable, Param

from packshot_tasks import DEFAULTS, NO_CHAMPION, PackshotCommand, score_in_parts

DOC = """
### rescore_day: what a day brought has its verdicts

**What it does.** Finds the batches that arrived on one day (UTC) and have no verdicts by the champion of that time, and
scores them with that version; the ledger says which it was. A version gives the same verdicts whenever it is asked.

**When.** Every night for the day before, as a check that nothing was forgotten; by hand; and for days that have passed:
`airflow backfill create --dag-id rescore_day --from-date 2026-01-05 --to-date 2026-01-07`. `score` itself starts on
events too, whose runs have no date, so it is not the one to backfill.

**Parameters.** `day`: that day; empty: the day of the run. `champion`: `then` for the champion of that time, `now` for
today's, to judge old batches anew.

**How to read it.** As `score`: `cut`, `score` and `merge` for each batch. `plan` skipped: every batch of that day has
its verdicts. Verdicts of an earlier champion stand beside those of the present one and change neither report nor drift.
"""


def day_of(params: dict, dag_run) -> str:
    """The day that this run is for; empty where a person started it and named none."""
    if params["day"]:
        return params["day"]
    return dag_run.logical_date.strftime("%Y-%m-%d") if dag_run.logical_date else ""


with DAG(
    dag_id="rescore_day",
    description="Verdicts for the batches of a past day, by the champion of then",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["packshot", "scoring"],
    doc_md=DOC,
    user_defined_macros={"day_of": day_of},
    params={
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description="Day of arrival, UTC; empty: the day of the run",
        ),
        "champion": Param(
            "then", enum=["then", "now"], type="string", title="Champion", description="The champion of then, or of now"
        ),
    },
):
    plan = PackshotCommand(
        task_id="plan",
        arguments=["inbox", "plan", "--day={{ day_of(params, dag_run) }}", "--champion", "{{ params.champion }}"],
        returns="batches",
        also_skip=(NO_CHAMPION,),
    )
    score_in_parts(plan.output.map(lambda one: ["inbox", "cut", one["batch"], "--model", str(one["model_version"])]))
