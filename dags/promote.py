"""Let the gates decide whether the challenger becomes the champion."""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import AirflowFailException

from packshot.config import load_settings
from packshot.ops.command import Command
from packshot_tasks import CHALLENGER, CHAMPION, DEFAULTS, MACROS, ModelCommand, environment, started_by

DOC = """
### promote: may the challenger replace the champion?

**What it does.** Compares the challenger with the floors in `params.yaml` and, where there is a champion, with the
champion on the same held-out images. Only when every gate passes does the alias `champion` move; the decision and
all its figures are written to the ledger first (`packshot registry history`).

**When.** On the event `challenger`, or by hand.

**Parameters.** `challenger`: a version number, else the newest challenger. `approval`: ask a person after the gates
even where `registry.approval` in `params.yaml` does not; it cannot waive what is set there. `rescore`: judge the whole
inbox again with a new champion.

**How to read it.** Of `promoted`, `refused`, `not_enough_evidence` and `rejected` (by a person) the one that happened
is green and says why, the others are skipped; all are where the version was champion already. None of them is a
failure. The log of `decide`, or of `judge` with approval, has the table of gates, and its button *MLflow version*
leads to the version with its figures; only `promoted` leads to
`announce_champion`. With approval, find the question with the table under *Required actions*; those in
`registry.approvers` may answer it, but nobody about a version that they had trained or a run that they started. Without
an answer within `registry.approval_timeout_hours` the answer is *Reject*. Answers are in the ledger.

**What follows.** A new champion sends the event `champion`, which starts `score`.
"""

REFUSED, NOT_ENOUGH_EVIDENCE = 3, 4
OUTCOMES = ("promoted", "refused", "not_enough_evidence", "rejected")
ASKED_FOR = "params.challenger or event_value(triggering_asset_events, 'model_version', '')"
JUDGED = f"(ti.xcom_pull(task_ids='judge') or {{}}).get('challenger') or {ASKED_FOR}"


def challenger_flag(version: str) -> list[str]:
    """`--challenger` with the version that a template expression gives, or nothing where it gives none."""
    return [f"{{{{ '--challenger' if {version} else '' }}}}", f"{{{{ {version} }}}}"]


class PersonsAnswer(ApprovalOperator):
    """Ask those in `registry.approvers`, and write what they answer to the ledger.

    Fails where somebody approves who may not; cleared, it asks again.
    """

    def execute(self, context: Any) -> Any:
        """Put the question."""
        from packshot.registry.people import accounts_of, person

        settings = load_settings()
        registry = settings.registry
        asker = started_by(context)
        others = [name for name in registry.approvers if not asker or person(settings, name) != person(settings, asker)]
        self.assigned_users = [{"id": n, "name": n} for name in others for n in accounts_of(settings, name)]
        if registry.approvers and not self.assigned_users:
            raise AirflowFailException(
                f"{asker} started this run and is the only one in registry.approvers; name somebody else, since nobody "
                "approves their own"
            )
        self.response_timeout = timedelta(hours=registry.approval_timeout_hours)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Record the answer, then go on or skip what follows."""
        if "error" not in event:
            version = context["ti"].xcom_pull(task_ids="judge")["challenger"]
            said = "--approve" if event["chosen_options"] == [self.APPROVE] else "--reject"
            who = {"--by": (event["responded_by_user"] or {}).get("name"), "--started-by": started_by(context)}
            named = [word for flag, name in who.items() if name for word in (flag, name)]
            command = Command(["registry", "answer", str(version), said, *named], environment(context))
            finished = command.run(self.log.info)
            if finished.exit_code != 0:
                raise AirflowFailException(finished.cause())
        return super().execute_complete(context, event)


with DAG(
    dag_id="promote",
    description="Gates, optional approval, ledger, alias",
    schedule=[CHALLENGER],
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    tags=["packshot", "model"],
    doc_md=DOC,
    user_defined_macros=MACROS,
    params={
        "challenger": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Challenger",
            description="Version to judge; empty: the newest",
        ),
        "approval": Param(
            False, type="boolean", title="Approval", description="Ask a person even where params.yaml does not"
        ),
        "rescore": Param(
            False,
            type="boolean",
            title="Rescore",
            description="Judge the whole inbox again with a new champion",
        ),
    },
):

    @task.branch
    def who_decides(params: dict) -> str:
        """The gates alone, or the gates and then a person."""
        return "judge" if load_settings().registry.approval or params["approval"] else "gates_alone"

    judge = ModelCommand(
        task_id="judge",
        version="challenger",
        arguments=["promote", "--check", *challenger_flag(ASKED_FOR), "--json"],
        also_ok=(REFUSED, NOT_ENOUGH_EVIDENCE),
    )

    @task(retries=0)
    def gates_alone() -> None:
        """Nobody is asked."""

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def gates_passed(judged: dict) -> bool:
        """Nobody is asked about a challenger that the gates refuse."""
        return judged["outcome"] not in ("refused", "not_enough_evidence")

    approve = PersonsAnswer(
        task_id="approve",
        subject="Shall version {{ ti.xcom_pull(task_ids='judge')['challenger'] }} become the champion?",
        body="{{ ti.xcom_pull(task_ids='judge')['table'] }}",
        defaults="Reject",
        response_timeout=timedelta(hours=load_settings().registry.approval_timeout_hours),
    )
    decide = ModelCommand(
        task_id="decide",
        version="challenger",
        arguments=["promote", *challenger_flag(JUDGED), "--json"],
        also_ok=(REFUSED, NOT_ENOUGH_EVIDENCE),
        trigger_rule="none_failed_min_one_success",
    )

    @task.branch(retries=0, trigger_rule="none_failed")
    def outcome(ti: Any = None) -> str | None:
        """What came of the challenger is the name of the task that goes on."""
        judged, answer, decided = (ti.xcom_pull(task_ids=name) for name in ("judge", "approve", "decide"))
        if decided is None and answer is not None and PersonsAnswer.APPROVE not in answer["chosen_options"]:
            return "rejected"
        found = (decided or judged or {}).get("outcome")
        return found if found in OUTCOMES else None

    @task(retries=0)
    def came_to(ti: Any = None) -> str:
        """Green where this is what came of the challenger; says of which version, and why."""
        said = ti.xcom_pull(task_ids="decide") or ti.xcom_pull(task_ids="judge") or {}
        told = f"version {said.get('challenger')}: {ti.task_id.replace('_', ' ')}. {said.get('reason') or ''}".strip()
        print(told)
        return told

    @task(outlets=[CHAMPION])
    def announce_champion(decided: dict, *, params: dict, triggering_asset_events, outlet_events) -> dict:
        """Tell everyone who waits for a champion which version it is and which data it learned from."""
        from packshot_tasks import event_value

        extra = {"model_version": decided["challenger"], "rescore": params["rescore"]}
        extra["data_rev"] = decided.get("data_rev") or event_value(triggering_asset_events, "data_rev")
        outlet_events[CHAMPION].extra = {key: value for key, value in extra.items() if value is not None}
        return extra

    asked, decided = who_decides(), outcome()
    asked >> judge
    gates_passed(judge.output) >> approve >> decide
    asked >> gates_alone() >> decide
    [judge, decide] >> decided
    ends = {name: came_to.override(task_id=name)() for name in OUTCOMES}
    decided >> list(ends.values())
    ends["promoted"] >> announce_champion(decide.output)
