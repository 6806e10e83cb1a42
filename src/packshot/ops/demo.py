"""The main job, end to end, in a real Airflow: what `make demo` runs.

Every step first asks whether its result exists. A second run with nothing changed finds that out before any
service is started; a run after an interruption or a change does what is missing and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from packshot.config import Settings
from packshot.cost import Meter, metered
from packshot.errors import PackshotError
from packshot.home import Home, project_root
from packshot.ops import doctor
from packshot.ops.airflow_client import DagRun
from packshot.ops.command import Command, Finished
from packshot.ops.demo_state import DemoState, figures, load_state, save_state, stamp
from packshot.ops.follow import Follower, NothingHappened
from packshot.ops.services import DAGS, Running, services

EVENT_WITHIN_S = 120.0
RUN_WITHIN_S = 1800.0
TRAINING_WITHIN_S = 4 * 3600.0
LOG_WIDTH = 150
REFUSED = 3
REFUSALS = ("refused", "not_enough_evidence")


class DemoFailed(PackshotError):
    """A step of the demo did not end as it must."""


@dataclass
class Step:
    """One line of the summary."""

    name: str
    seconds: float
    outcome: str


@dataclass
class Demo:
    """One run of the main job."""

    settings: Settings
    console: Console
    running: Running
    follower: Follower
    steps: list[Step] = field(default_factory=list)

    @property
    def client(self) -> Any:
        """The REST client."""
        return self.follower.client

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Announce a step, time it, and keep its outcome for the summary."""
        self.console.print(f"\n[bold]{name}[/]")
        record = Step(name, 0.0, "")
        begun = time.monotonic()
        yield record
        record.seconds = time.monotonic() - begun
        self.steps.append(record)
        self.console.print(f"  [green]✓[/] {record.outcome}", highlight=False)

    def packshot(self, *arguments: str) -> Finished:
        """Run one `packshot` command, its output shown. Raises DemoFailed unless it succeeded or had nothing to do."""
        show = lambda line: self.console.print(f"    {line[:160]}", markup=False, highlight=False)  # noqa: E731
        finished = Command(arguments).run(show)
        if finished.exit_code != 0 and not finished.nothing_to_do:
            raise DemoFailed(finished.cause())
        return finished


def run(settings: Settings) -> int:
    """Do what is missing of the main job; return the exit code: 0, or 3 where the gates refused the first model."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=LOG_WIDTH)
    home = Home.from_environment()
    begun = time.monotonic()
    state = load_state(home)
    if state is not None and state.is_current(settings, home):
        console.print("Nothing has changed since the last demo: data, code, parameters, champion, verdicts and report")
        console.print(f"are what they were, so nothing was done again ({time.monotonic() - begun:.0f} s).\n")
        _print_summary(console, state.summary)
        return 0
    if doctor.run(settings):
        return 1
    console.print("starting Airflow on loopback ...")
    with services(settings) as running:
        console.print(f"Airflow is at {running.airflow_url}   user {running.user}, password in {home.passwords}")
        demo = Demo(settings, console, running, Follower(running.client(), home.airflow, console))
        demo.steps.append(Step("start Airflow", time.monotonic() - begun, running.airflow_url))
        with metered() as meter:
            code = _main_job(demo, home, begun, meter)
        console.print("\nstopping Airflow ...")
    return code


def _main_job(demo: Demo, home: Home, begun: float, meter: Meter) -> int:
    for dag_id in DAGS:
        demo.client.unpause(dag_id)
    intake = _take_in(demo)
    version, trained = _train(demo, intake)
    champion = _promote(demo, version, announced=trained)
    if champion is None:
        demo.console.print("\n[red]The gates refused the model and there is no champion.[/] See the table above.")
        return REFUSED
    drill = _drill(demo, champion)
    batches = {kind: _batch_name(home, kind) for kind in ("same", "foreign")}
    _score_and_check(demo, home, champion, "same", batches["same"], alarm_expected=False)
    _score_and_check(demo, home, champion, "foreign", batches["foreign"], alarm_expected=True)
    _planted_damage(demo)
    _report(demo)
    summary = _summary(demo, home, champion, time.monotonic() - begun, meter.so_far().peak_mb)
    save_state(home, DemoState(stamp(demo.settings), champion, drill, tuple(batches.values()), summary))
    _print_summary(demo.console, summary)
    return 0


# --- the steps ----------------------------------------------------------------------------------------


def _take_in(demo: Demo) -> datetime:
    """Intake; return the time from which an event of it may have started a training."""
    since = datetime.now(UTC)
    with demo.step("intake: collect, validate, split, publish") as step:
        run = demo.follower.finished("intake", demo.client.trigger("intake"), RUN_WITHIN_S)
        published = demo.client.result(run, "publish")
        if published:
            step.outcome = f"data revision {published['data_rev'][:12]} with {published['rows']} rows"
            _await_event(demo, "retrain", since)
        else:
            step.outcome = "the data has not changed; no new revision"
    return since


def _train(demo: Demo, since: datetime) -> tuple[int, bool]:
    """The registered version for the data, code and parameters in force, and whether it was trained just now."""
    from packshot.ops.pipeline import current_key
    from packshot.registry.register import find_version

    with demo.step("retrain: train, evaluate, register") as step:
        key = current_key(demo.settings)
        started = [run for run in demo.client.runs("retrain", since) if not run.finished]
        if not started and find_version(demo.settings, key) is None:
            demo.client.trigger("retrain", {"reason": "make demo"})
        idle: Callable[[], bool] = lambda: all(r.finished for r in demo.client.runs("retrain", since))  # noqa: E731
        demo.follower.until(idle, "the end of the training", TRAINING_WITHIN_S)
        version = find_version(demo.settings, key)
        if version is None:
            raise DemoFailed(f"training ended, but no version of run key {key.short} is registered")
        trained = any(r.state == "success" and demo.client.result(r, "register") for r in _runs(demo, "retrain", since))
        step.outcome = f"version {version}" + (
            "" if trained else ": this data, code and parameters were trained before"
        )
    return version, trained


def _promote(demo: Demo, version: int, *, announced: bool) -> int | None:
    """The gates on the new version; return the champion after them."""
    from packshot.registry.alias_check import alias_version

    settings = demo.settings
    with demo.step("promote: the gates") as step:
        outcome = _decided(settings, version)
        if outcome is None:
            outcome = _decide(demo, version, announced)
        champion = alias_version(settings, "champion")
        step.outcome = f"version {version}: {outcome.replace('_', ' ')}; the champion is {champion or 'none'}"
    return champion


def _decide(demo: Demo, version: int, announced: bool) -> str:
    """What the gates say: in the run that the event `challenger` starts, else in one started by hand."""
    decided = None
    if announced:
        _await_event(demo, "promote", demo.follower.since)
        runs = _runs(demo, "promote", demo.follower.since)
        if runs:
            decided = demo.client.result(demo.follower.finished("promote", runs[0].run_id, RUN_WITHIN_S), "decide")
    if decided is None or decided["challenger"] != version:
        run_id = demo.client.trigger("promote", {"challenger": version})
        decided = demo.client.result(demo.follower.finished("promote", run_id, RUN_WITHIN_S), "decide")
    _print_gates(demo.console, decided)
    return str(decided["outcome"]) if decided else _decided(demo.settings, version) or "nothing to do"


def _drill(demo: Demo, champion: int) -> int:
    """A deliberately bad challenger, which the gates must refuse."""
    from packshot.registry.alias_check import alias_version

    with demo.step("drill: a challenger with damaged weights") as step:
        version = int(demo.packshot("drill", "bad-challenger").result["version"])
        outcome = _decided(demo.settings, version)
        if outcome is None:
            since = datetime.now(UTC)
            demo.client.send_event("challenger", {"model_version": version})
            run = demo.follower.started_by_event("promote", since, EVENT_WITHIN_S)
            run = demo.follower.finished("promote", run.run_id, RUN_WITHIN_S)
            decided = demo.client.result(run, "decide") or {}
            _print_gates(demo.console, decided)
            outcome = str(decided.get("outcome"))
        now = alias_version(demo.settings, "champion")
        if outcome not in REFUSALS or now != champion:
            raise DemoFailed(f"the damaged version {version} was {outcome}, and the champion is {now}, not {champion}")
        step.outcome = f"version {version}: {outcome.replace('_', ' ')}; the champion is still {champion}"
    return version


def _score_and_check(demo: Demo, home: Home, champion: int, kind: str, batch: str, *, alarm_expected: bool) -> None:
    """A new batch through scoring and the drift check."""
    from packshot.ops.pipeline import verdict_folder

    folder = verdict_folder(batch, champion)
    what = {"same": "images of the same kind", "foreign": "images of another kind"}[kind]
    with demo.step(f"score and drift: {what}") as step:
        since = datetime.now(UTC)
        demo.packshot("inbox", "put", str(_held_back(home) / kind), "--batch", batch)
        if not (folder / "verdicts.parquet").exists():
            run = demo.follower.finished("score", demo.client.trigger("score", {"batch": batch}), RUN_WITHIN_S)
            if not (folder / "verdicts.parquet").exists():
                raise DemoFailed(f"{run.run_id} of score ended without {folder / 'verdicts.parquet'}")
        fresh = not (folder / "drift.json").exists()
        if fresh:
            _drift_checked(demo, folder, since)
        alarm, p_value = _drift_verdict(folder)
        if alarm != alarm_expected:
            raise DemoFailed(f"batch {batch}: drift alarm {alarm}, expected {alarm_expected} (p = {p_value:.3g})")
        step.outcome = f"{batch}: {'DRIFT' if alarm else 'no drift'} (p = {p_value:.3g})"
        if alarm and fresh:
            step.outcome += f"; {_answer(demo, since)}"


def _drift_checked(demo: Demo, folder: Path, since: datetime) -> None:
    """Wait for the drift check that the event `verdicts` starts, and for the end of its run."""
    exists = (folder / "drift.json").exists
    try:
        demo.follower.until(exists, f"the drift check of {folder.parent.name}", EVENT_WITHIN_S + RUN_WITHIN_S / 6)
    except NothingHappened:
        demo.follower.finished("drift", demo.client.trigger("drift"), RUN_WITHIN_S)
    idle: Callable[[], bool] = lambda: all(r.finished for r in demo.client.runs("drift", since))  # noqa: E731
    demo.follower.until(idle, "the end of drift", RUN_WITHIN_S)


def _answer(demo: Demo, since: datetime) -> str:
    """What was answered to the alarm: pictures to label, and a training where there is something new to learn."""
    from packshot.registry.ledger import Ledger

    answers = Ledger.from_environment().history(demo.settings.registry.model_name, "drift_response")
    if not answers:
        raise DemoFailed("the alarm was not answered; see the log of the task respond of drift")
    answer = answers[-1]["payload"]
    queued = f"{answer['waiting']} pictures wait for a label in {answer['queue']}"
    if not answer["retrain"]:
        return f"{queued}; no retraining: {answer['reason']}"
    run = demo.follower.started_by_event("retrain", since, EVENT_WITHIN_S)
    demo.follower.finished("retrain", run.run_id, TRAINING_WITHIN_S)
    return f"{queued}; the alarm started retrain: {answer['reason']}"


def _planted_damage(demo: Demo) -> None:
    with demo.step("drill: everyday damage planted on good pictures") as step:
        figures = {each["damage"]: each for each in demo.packshot("drill", "damage").result["figures"]}
        broken, clean = figures["damaged"], figures["clean"]
        step.outcome = (
            f"{broken['rescued']:.0%} of the damaged rescued, {broken['accept']:.0%} accepted as they are; "
            f"{clean['accept']:.0%} of the undamaged accepted"
        )


def _report(demo: Demo) -> None:
    with demo.step("report") as step:
        step.outcome = str(demo.packshot("report").result["report"])


# --- what the steps ask -------------------------------------------------------------------------------


def _await_event(demo: Demo, dag_id: str, since: datetime) -> None:
    """Wait until an event has started `dag_id`; an event is a hint, so a lost one is not a failure."""
    try:
        demo.follower.started_by_event(dag_id, since, EVENT_WITHIN_S)
    except NothingHappened:
        demo.console.print(f"  no event has started {dag_id}; starting it by hand", highlight=False)


def _runs(demo: Demo, dag_id: str, since: datetime) -> list[DagRun]:
    runs: list[DagRun] = demo.client.runs(dag_id, since)
    return runs


def _decided(settings: Settings, version: int) -> str | None:
    """What the ledger says became of a version: promoted, refused, not_enough_evidence, or None."""
    from packshot.registry.ledger import Ledger

    return Ledger.from_environment().state(settings.registry.model_name).outcomes.get(version)


def _held_back(home: Home) -> Path:
    return home.workspaces / "catalog" / "data" / "heldback"


def _batch_name(home: Home, kind: str) -> str:
    """Named by the source's content, so that another source makes another batch."""
    from packshot.catalog.source_record import read_source

    return f"{kind}-{read_source(home.workspaces / 'catalog').fingerprint[:8]}"


def _drift_verdict(folder: Path) -> tuple[bool, float]:
    import json

    record = json.loads((folder / "drift.json").read_text(encoding="utf-8"))
    return bool(record["alarm"]), float(record["p_value"])


# --- the summary --------------------------------------------------------------------------------------


def _summary(demo: Demo, home: Home, champion: int, seconds: float, peak_mb: float) -> dict[str, Any]:
    from packshot.catalog.source_record import read_source

    source = read_source(home.workspaces / "catalog")
    reports = project_root() / "reports" / "latest"
    return {
        "source": f"{source.chosen}: {source.why}",
        "champion": champion,
        "steps": [[step.name, round(step.seconds, 1), step.outcome] for step in demo.steps],
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(peak_mb),
        "figures": figures(demo.settings.profiles[source.profile], reports / "metrics.json"),  # type: ignore[index]
        "paths": {
            "report": str(reports / "index.html"),
            "figures": str(reports / "metrics.json"),
            "verdicts": str(home.verdicts),
            "Airflow's logs": str(home.airflow / "logs"),
        },
    }


def _print_gates(console: Console, decided: dict[str, Any] | None) -> None:
    if not decided or not decided.get("gates"):
        return
    columns = ("metric", "kind", "challenger", "champion", "threshold", "low", "verdict")
    table = Table(*columns, title=f"gates of version {decided['challenger']}")
    for gate in decided["gates"]:
        table.add_row(*(_cell(gate.get(name)) for name in columns))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_summary(console: Console, summary: dict[str, Any]) -> None:
    steps = Table("step", "seconds", "outcome", title="what ran")
    steps.columns[1].justify = "right"
    for name, seconds, outcome in summary["steps"]:
        steps.add_row(name, f"{seconds:.0f}", outcome)
    steps.add_row(
        "all",
        f"{summary['seconds']:.0f}",
        f"champion: version {summary['champion']}, peak memory {summary['peak_memory_mb'] / 1000:.1f} GB",
        style="bold",
    )
    console.print(steps)
    table = Table("held-out figure", "value", "floor", title="key figures")
    for name, value, floor in summary["figures"]:
        table.add_row(name, f"{value:.3f}", "" if floor is None else f"{floor:.3f}")
    console.print(table)
    console.print(f"source          {summary['source']}", highlight=False)
    for name, path in summary["paths"].items():
        console.print(f"{name:<15} {path}", highlight=False)
