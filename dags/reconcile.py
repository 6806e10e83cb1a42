"""Find what an event that was lost has left undone, and send the event again."""

from airflow.sdk import DAG, Asset, XComArg, task
from airflow.sdk.exceptions import AirflowSkipException

from packshot_tasks import CATALOG_READY, CHALLENGER, CHAMPION, DEFAULTS, DRIFT_ALARM, VERDICTS, PackshotCommand, cron

DOC = """
### reconcile: was anything forgotten?

**What it does.** Looks at data revisions, versions, batches and the ledger, and finds what should have happened and did
not: data never trained on, challengers never judged, batches never scored or checked, alarms never answered, a move of
the champion that was cut off. For each it sends the event again that starts the right DAG, once; the ledger keeps that
(`packshot registry history`).

**When.** Every hour at :40, or by hand. What is open for less than `reconcile.min_age_minutes` may be at work and is
left alone.

**How to read it.** `find` skipped: nothing is open. Its log has the table of what is, `packshot reconcile` shows it
again. What stays there with its event marked as sent needs a person, and so does an alias that was moved by hand.
"""


def send(asset: Asset, wanted: XComArg) -> None:
    """A task that sends this event where `find` asks for it."""

    @task(task_id=f"send_{asset.name}", outlets=[asset], retries=0)
    def again(events: dict, outlet_events) -> dict:
        if asset.name not in events:
            raise AirflowSkipException(f"nothing waits for {asset.name}")
        outlet_events[asset].extra = events[asset.name]
        return events[asset.name]

    again(wanted)


with DAG(
    dag_id="reconcile",
    description="What should have happened and did not",
    schedule=cron("40 * * * *"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["packshot", "monitoring"],
    doc_md=DOC,
):
    find = PackshotCommand(task_id="find", arguments=["reconcile", "--claim"], returns="events")
    for each in (CATALOG_READY, CHALLENGER, CHAMPION, VERDICTS, DRIFT_ALARM):
        send(each, find.output)
