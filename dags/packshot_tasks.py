"""What the DAG files share: the assets that wire them, and the operator that runs one `packshot` command.

Nothing heavy is imported here. All work happens in processes that the tasks start.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, BaseOperator, BaseOperatorLink, CronTriggerTimetable, XComArg, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from packshot.config import load_settings
from packshot.ops.command import Command
from packshot.redaction import redacted

CATALOG_READY = Asset(name="catalog_ready", uri="packshot://catalog/ready", group="packshot")
CHALLENGER = Asset(name="challenger", uri="packshot://registry/challenger", group="packshot")
CHAMPION = Asset(name="champion", uri="packshot://registry/champion", group="packshot")
VERDICTS = Asset(name="verdicts", uri="packshot://scoring/verdicts", group="packshot")
DRIFT_ALARM = Asset(name="drift_alarm", uri="packshot://drift/alarm", group="packshot")

GPU_POOL = "gpu"
GPU_QUEUE = "gpu"
NO_CHAMPION = 66
OWNER = "catalogue"
LONGEST_CAUSE = 2000


def cron(expression: str) -> CronTriggerTimetable:
    """A time-based schedule in UTC that never runs at once for a time that has passed."""
    return CronTriggerTimetable(expression, timezone="UTC", run_immediately=timedelta(0))


def event_value(events: Mapping[Any, Sequence[Any]], key: str, default: Any = None) -> Any:
    """The value that the newest triggering asset event carries under `key`, else `default`."""
    found = [event for several in events.values() for event in several if key in (event.extra or {})]
    return max(found, key=lambda event: event.timestamp).extra[key] if found else default


def trigger_reason(events: Mapping[Any, Sequence[Any]]) -> str:
    """What started this run, in words: the assets whose events did, else the schedule or a person."""
    return " and ".join(sorted({asset.name for asset in events})) or "schedule or a person"


def started_by(context: Mapping[str, Any]) -> str | None:
    """The user who started this run; None where a schedule or an event did."""
    return getattr(context.get("dag_run"), "triggering_user_name", None)


def environment(context: Mapping[str, Any]) -> dict[str, str]:
    """What a command is told of its task, for the ledger: whoever started the run, where a person did, and its page."""
    told = {"PACKSHOT_ACTOR": started_by(context), "PACKSHOT_TASK_URL": getattr(context.get("ti"), "log_url", None)}
    return {name: value for name, value in told.items() if value}


def tell_of_failure(context: Mapping[str, Any]) -> None:
    """Have people told that a task failed for good."""
    ti = context["ti"]
    task = ti.task_id if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"
    cause = redacted(str(context.get("exception") or "no cause was given"))[-LONGEST_CAUSE:]
    about = {"--dag": ti.dag_id, "--run": ti.run_id, "--task": task, "--attempt": ti.try_number, "--cause": cause}
    # one word each, so that a cause that begins with a dash is not taken for a flag
    words = [f"{flag}={value}" for flag, value in about.items()]
    finished = Command(["notices", "failed", *words], environment(context)).run(logging.getLogger(__name__).info)
    if finished.exit_code != 0:
        logging.getLogger(__name__).warning("nobody was told of this failure: %s", finished.cause())


def timeout_of(task_id: str) -> timedelta:
    """How long one try of a task may take, by `dags` of params.yaml."""
    dags = load_settings().dags
    return timedelta(hours=dags.timeouts_hours.get(task_id, dags.timeout_hours))


DEFAULTS: dict[str, Any] = {
    "owner": OWNER,
    "execution_timeout": timeout_of(""),
    "retries": 2,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    "on_failure_callback": tell_of_failure,
}
ENGINE = "{{ '--engine=' ~ params.engine if params.get('engine') else '' }}"
"""Flag of the commands that score."""
HEADLINE = "{{ headline }}"
MACROS = {"event_value": event_value, "trigger_reason": trigger_reason}


class PackshotCommand(BaseOperator):
    """Run `packshot ARGUMENTS` as a process of its own and hand on the JSON object it prints.

    Exit code 0 and those in `also_ok` are success; 99 (nothing to do) skips the task, so that no event is sent for
    work that was not done; 2 (wrong use or settings) fails at once; any other code fails and is tried again. The
    message of a failure holds the last lines that the command said. Empty arguments are left out, so a template may
    render a flag or nothing. Where the result has a `headline`, a mapped task with `map_index_template=HEADLINE` is
    called by it.

    :param also_ok: exit codes that are decisions, not failures.
    :param also_skip: exit codes by which a command says that it cannot have anything to do yet.
    :param arguments: subcommand, arguments and flags; templated.
    :param flags: what follows the arguments; templated, also where those come from mapping and so are not.
    :param returns: hand on only this key of the result.
    :param event: what the event of the outlet carries: its key to the key of the result.
    :param event_also: further values that the event carries; templated.
    """

    template_fields = ("arguments", "flags", "event_also")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        arguments: list[str],
        flags: Sequence[str] = (),
        returns: str | None = None,
        also_ok: Sequence[int] = (),
        also_skip: Sequence[int] = (),
        event: Mapping[str, str] | None = None,
        event_also: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "execution_timeout": timeout_of(kwargs["task_id"])})
        self.arguments = arguments
        self.flags = list(flags)
        self.returns = returns
        self.also_ok = tuple(also_ok)
        self.also_skip = tuple(also_skip)
        self.event = dict(event or {})
        self.event_also = dict(event_also or {})
        self._command: Command | None = None

    @classmethod
    def partial(cls, *, task_id: str, **kwargs: Any) -> Any:
        """As for any operator; how long each mapped task may take is seen before it is made."""
        return super().partial(task_id=task_id, execution_timeout=timeout_of(task_id), **kwargs)

    def execute(self, context: Any) -> Any:
        """Run the command; see the class. The ledger names whoever started the run, where a person did."""
        arguments = [str(argument) for argument in [*self.arguments, *self.flags] if argument not in ("", None)]
        self._command = Command(arguments, environment(context))
        finished = self._command.run(self.log.info)
        if finished.nothing_to_do or finished.exit_code in self.also_skip:
            raise AirflowSkipException(f"`{finished.command}` found nothing to do")
        if finished.exit_code != 0 and finished.exit_code not in self.also_ok:
            failure = AirflowException if finished.worth_retrying else AirflowFailException
            raise failure(finished.cause())
        # what the name of a mapped task shows of its outcome
        context["headline"] = finished.result.get("headline", "")
        carried = {key: finished.result.get(name) for key, name in self.event.items()} | self.event_also
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = {k: v for k, v in carried.items() if v is not None}
        return finished.result[self.returns] if self.returns else finished.result

    def on_kill(self) -> None:
        """End the command when the task is ended."""
        if self._command is not None:
            self._command.stop()


class VersionPage(BaseOperatorLink):
    """The button of a task that leads to MLflow's page of the version it was about."""

    name = "MLflow version"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address; empty where the task named no version, or no MLflow with pages is known."""
        from packshot.registry.addresses import version_page

        return ("" if operator.version is None else version_page(load_settings(), operator.version)) or ""


class ModelCommand(PackshotCommand):
    """A command about one version of the model, which `version` of its result names; its task links to that version."""

    operator_extra_links = (VersionPage(),)

    def __init__(self, *, version: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version_key = version
        self.version: int | None = None

    def execute(self, context: Any) -> Any:
        """Run the command; keep which version it was about."""
        result = super().execute(context)
        self.version = result.get(self.version_key)
        return result


def score_in_parts(cuts: XComArg) -> tuple[Any, Any]:
    """Tasks that score batches shard by shard. Returns `merge`, which hands on one record for each batch that has its
    verdicts now, and a task that is green only where every batch has.

    `cuts` are the arguments of `inbox cut`, a list for each batch. `score` is one task for each part of a batch,
    `scoring.tasks_at_once` of them at a time; a part that fails is tried again by itself, and holds up its own batch
    alone. The version that a batch is cut for scores it to the end, by the engine that the parameter `engine` of the
    DAG names, where it has one.
    """
    cut = PackshotCommand.partial(task_id="cut", flags=[ENGINE], max_active_tis_per_dag=1).expand(arguments=cuts)

    @task(trigger_rule="all_done_min_one_success")
    def share_out(planned: Sequence[dict[str, Any]]) -> list[list[str]]:
        """The command for each part of each batch that was cut."""
        return [
            ["inbox", "score-part", one["batch"], str(first), str(end), "--model", str(one["model_version"])]
            for one in planned
            if one
            for first, end in one["parts"]
        ]

    at_once = load_settings().scoring.tasks_at_once
    score = PackshotCommand.partial(task_id="score", flags=[ENGINE], max_active_tis_per_dag=at_once).expand(
        arguments=share_out(cut.output)
    )
    merge = PackshotCommand.partial(task_id="merge", trigger_rule="all_done", max_active_tis_per_dag=1).expand(
        arguments=cut.output.map(lambda one: ["inbox", "merge", one["batch"], "--model", str(one["model_version"])])
    )

    @task(retries=0)
    def every_batch_scored() -> None:
        """Green only where every batch is: the state of the run hangs on it."""

    complete = every_batch_scored()
    score >> merge
    [cut, merge] >> complete
    return merge, complete
