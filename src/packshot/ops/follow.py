"""Following Airflow live: what runs, for how long, and the newest line of its log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.status import Status

from packshot.errors import PackshotError
from packshot.ops.airflow_client import AirflowClient, DagRun, TaskRun, task_log_file

POLL_S = 2.0
LINE_EVERY_S = 15.0
OUR_LOGGER = "packshot_tasks"
TAIL_BYTES = 65536
MARKS = {"success": "[green]done[/]", "failed": "[red]failed[/]", "skipped": "[dim]skipped[/]"}
MARKS |= {"upstream_failed": "[red]not run[/]", "up_for_retry": "[yellow]will be tried again[/]"}


class RunFailed(PackshotError):
    """A DAG run that was waited for has failed; the message ends with the failed task's own last lines."""


class NothingHappened(PackshotError):
    """What was waited for did not come in time."""


class Follower:
    """Prints each change of state, and a living line for what runs now (on a log: a line every 15 s)."""

    def __init__(self, client: AirflowClient, airflow_home: Path, console: Console) -> None:
        self.client = client
        self.since = datetime.now(UTC)
        self._home = airflow_home
        self._console = console
        self._shown: dict[tuple[str, str, str], str] = {}
        self._status: Status | None = None
        self._last_line = time.monotonic()

    def until(self, met: Callable[[], bool], what: str, within_s: float) -> None:
        """Follow all runs until `met()`.

        Raises RunFailed when one fails that was started by hand or by an event (those on a schedule are not what
        anyone waits for), NothingHappened after `within_s`.
        """
        begun = time.monotonic()
        try:
            while True:
                self._show()
                if met():
                    return
                if time.monotonic() - begun > within_s:
                    raise NothingHappened(f"{what} did not happen within {within_s:.0f} s")
                time.sleep(POLL_S)
        finally:
            if self._status is not None:
                self._status.stop()
                self._status = None

    def finished(self, dag_id: str, run_id: str, within_s: float) -> DagRun:
        """Follow until this run has ended."""
        self.until(lambda: self.client.run(dag_id, run_id).finished, f"the end of {dag_id}", within_s)
        return self.client.run(dag_id, run_id)

    def started_by_event(self, dag_id: str, since: datetime, within_s: float) -> DagRun:
        """Follow until an asset event has started a run of `dag_id` after `since`; return that run."""
        found: list[DagRun] = []

        def met() -> bool:
            found[:] = [r for r in self.client.runs(dag_id, since) if r.run_type == "asset_triggered"]
            return bool(found)

        self.until(met, f"an event that starts {dag_id}", within_s)
        return found[-1]

    def said(self, run: DagRun, task_id: str, containing: str) -> str | None:
        """The first line of a task's own output that contains a text."""
        for task in self.client.tasks(run):
            if task.task_id == task_id:
                return next((line for line in self._own_lines(run, task) if containing in line), None)
        return None

    def _show(self) -> None:
        active: list[str] = []
        for run in reversed(self.client.runs(since=self.since)):
            if self._shown.get((run.dag_id, run.run_id, "")) in ("success", "failed"):
                continue
            for task in self.client.tasks(run):
                self._show_task(run, task)
                if task.state == "running":
                    active.append(self._line(run, task))
            self._shown[(run.dag_id, run.run_id, "")] = run.state
            if run.state == "failed" and run.run_type != "scheduled":
                raise RunFailed(self._why(run))
        self._show_active(active)

    def _show_task(self, run: DagRun, task: TaskRun) -> None:
        key = (run.dag_id, run.run_id, task.label)
        if task.state not in MARKS or self._shown.get(key) == task.state:
            return
        self._shown[key] = task.state
        if task.state == "skipped" and _seconds(task.started, task.ended) < 0.5:
            return  # skipped with what came before it
        took = f"  {_seconds(task.started, task.ended):.0f} s" if task.started and task.ended else ""
        self._console.print(f"  {_clock()}  {run.dag_id}.{task.label}  {MARKS[task.state]}{took}", highlight=False)

    def _line(self, run: DagRun, task: TaskRun) -> str:
        own = self._own_lines(run, task)
        newest = next((line for line in reversed(own) if not line.startswith("{")), "")
        return f"{run.dag_id}.{task.label}  {_seconds(task.started, None):.0f} s  {newest[:110]}".rstrip()

    def _show_active(self, active: list[str]) -> None:
        text = "   |   ".join(active) or "waiting for the scheduler"
        if self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status("", spinner="dots")
                self._status.start()
            self._status.update(text.replace("[", r"\["))
        elif active and time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._console.print(f"  {_clock()}  ... {text}", markup=False, highlight=False)

    def _own_lines(self, run: DagRun, task: TaskRun) -> list[str]:
        """What the task's command has said, from the end of its log."""
        path = task_log_file(self._home, run, task)
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            raw = file.read().decode(errors="replace").splitlines()
        lines = []
        for entry in raw:
            try:
                record = json.loads(entry)
            except ValueError:
                continue
            if OUR_LOGGER in str(record.get("logger", "")):
                lines.append(str(record["event"]))
        return lines

    def _why(self, run: DagRun) -> str:
        for task in self.client.tasks(run):
            if task.state == "failed":
                said = "\n".join(self._own_lines(run, task)[-15:]) or "(it said nothing; see its log in Airflow)"
                log = task_log_file(self._home, run, task)
                return f"{run.dag_id}.{task.label} failed. It said last:\n{said}\nThe whole log: {log}"
        return f"{run.dag_id} failed; see {self.client.url}/dags/{run.dag_id}/runs/{run.run_id}"


def _seconds(begun: datetime | None, ended: datetime | None) -> float:
    return ((ended or datetime.now(UTC)) - begun).total_seconds() if begun else 0.0


def _clock() -> str:
    return datetime.now().strftime("%H:%M:%S")
