"""Put right what killed processes left behind."""

from airflow.sdk import DAG

from packshot_tasks import DEFAULTS, PackshotCommand, cron

DOC = """
### maintenance: put right what killed processes left behind

**What it does.** `reap`: MLflow runs that say RUNNING though no process works on them become KILLED, with a tag that
says why. A training that is resumed later goes on in the same run. `notices`: what could not be sent is tried again.

**When.** Every day at 04:00 UTC, or by hand.

**How to read it.** A skipped task found nothing to put right.
"""

with DAG(
    dag_id="maintenance",
    description="Put right what killed processes left behind",
    schedule=cron("0 4 * * *"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["packshot", "monitoring"],
    doc_md=DOC,
):
    PackshotCommand(task_id="reap", arguments=["reap"])
    PackshotCommand(task_id="notices", arguments=["notices", "send"])
