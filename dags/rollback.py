"""Make an earlier champion the champion again."""

from airflow.sdk import DAG, Param

from packshot_tasks import CHAMPION, DEFAULTS, ModelCommand

DOC = """
### rollback: the previous champion again

**What it does.** Moves the alias `champion` back to the version the ledger names as the one before, or to the version
given, and writes that to the ledger. The model that was champion stays registered.

**When.** Only by hand, when a champion does harm.

**Parameters.** `to`: the version to return to; empty: the one before.

**What follows.** The event `champion` starts `score` for what waits in the inbox. Verdicts already given stay; to
judge them again, run `score` with `rescore`.
"""

with DAG(
    dag_id="rollback",
    description="The ledger's previous champion again",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["packshot", "model"],
    doc_md=DOC,
    params={
        "to": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="To version",
            description="Empty: the champion before this one",
        ),
    },
):
    ModelCommand(
        task_id="rollback",
        version="to_version",
        arguments=["registry", "rollback", "{{ '--to' if params.to else '' }}", "{{ params.to or '' }}"],
        outlets=[CHAMPION],
        event={"model_version": "to_version"},
        event_also={"rollback": True},
    )
