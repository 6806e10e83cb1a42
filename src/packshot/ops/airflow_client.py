"""A small client of Airflow's REST API: trigger, follow, read results."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from packshot.errors import PackshotError

TIMEOUT_S = 60.0
TRIES = 4
"""Attempts at a call that Airflow answers with a server error: a busy database refuses before it writes."""
FINISHED = ("success", "failed")


class AirflowUnreachable(PackshotError):
    """Airflow's API server does not answer."""


class AirflowRefused(PackshotError):
    """Airflow's API server answered with an error."""


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    run_after: datetime
    started: datetime | None
    ended: datetime | None

    @property
    def finished(self) -> bool:
        """Success or failed."""
        return self.state in FINISHED


@dataclass(frozen=True)
class TaskRun:
    """One task instance of a run; `map_index` is -1 where the task is not mapped."""

    task_id: str
    map_index: int
    state: str
    attempt: int
    started: datetime | None
    ended: datetime | None

    @property
    def label(self) -> str:
        """The task's name, with the index of a mapped one."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


class AirflowClient:
    """Talks to one API server as one user; logs in on first use and again when the token has expired."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._credentials = {"username": user, "password": password}
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)
        self._token: str | None = None

    def healthy(self, components: Iterable[str]) -> bool:
        """Whether the metadata database and these components say that they are healthy."""
        try:
            answer = self._http.get("/api/v2/monitor/health", timeout=10.0)
            status = answer.json() if answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError):
            return False
        return all((status.get(name) or {}).get("status") == "healthy" for name in ("metadatabase", *components))

    def dags(self) -> dict[str, bool]:
        """DAG names to whether they are paused."""
        found = self._call("GET", "/dags", params={"limit": 100})["dags"]
        return {dag["dag_id"]: dag["is_paused"] for dag in found}

    def import_errors(self) -> list[str]:
        """DAG files that could not be loaded, with the last line of the error."""
        try:
            found = self._call("GET", "/importErrors")["import_errors"]
        except PackshotError:
            return []
        return [f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}" for e in found]

    def unpause(self, dag_id: str) -> None:
        """Let a DAG's schedule and events start runs."""
        self._call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def ensure_pool(self, name: str, slots: int, description: str) -> None:
        """Make a pool; one that exists keeps the slots its owner gave it."""
        pool = {"name": name, "slots": slots, "description": description, "include_deferred": False}
        self._call("POST", "/pools", json=pool, accept=(201, 409))

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run with these parameters; return its run id."""
        body = {"logical_date": None, "conf": dict(conf or {})}
        return str(self._call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def send_event(self, asset: str, extra: Mapping[str, Any]) -> None:
        """Send an asset's event by hand. Raises AirflowRefused where no DAG uses such an asset."""
        found = self._call("GET", "/assets", params={"name_pattern": asset, "limit": 100})["assets"]
        for candidate in found:
            if candidate["name"] == asset:
                self._call("POST", "/assets/events", json={"asset_id": candidate["id"], "extra": dict(extra)})
                return
        raise AirflowRefused(f"Airflow knows no asset {asset!r}; known: {sorted(a['name'] for a in found)}")

    def run(self, dag_id: str, run_id: str) -> DagRun:
        """One run."""
        return _dag_run(self._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def runs(self, dag_id: str = "~", since: datetime | None = None) -> list[DagRun]:
        """Runs of one DAG, or of all, that were due at or after `since`; newest first."""
        params: dict[str, Any] = {"order_by": "-run_after", "limit": 50}
        if since is not None:
            params["run_after_gte"] = since.astimezone(UTC).isoformat()
        return [_dag_run(found) for found in self._call("GET", f"/dags/{dag_id}/dagRuns", params=params)["dag_runs"]]

    def tasks(self, run: DagRun) -> list[TaskRun]:
        """The task instances of a run, in the order they started; those not started come last."""
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances"
        found = [_task_run(record) for record in self._call("GET", path, params={"limit": 100})["task_instances"]]
        never = datetime.max.replace(tzinfo=UTC)
        return sorted(found, key=lambda task: (task.started or never, task.map_index))

    def result(self, run: DagRun, task_id: str, map_index: int = -1) -> Any:
        """What a task handed on, or None where it handed on nothing."""
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        params = {"map_index": map_index, "deserialize": "false", "stringify": "false"}
        return self._call("GET", path, params=params, accept=(200, 404)).get("value")

    def log(self, run: DagRun, task: TaskRun) -> list[str]:
        """The messages of a task's newest attempt."""
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task.task_id}/logs/{max(task.attempt, 1)}"
        answer = self._call("GET", path, params={"map_index": task.map_index, "full_content": "true"})
        return [str(line["event"] if isinstance(line, dict) else line) for line in answer.get("content", [])]

    def _call(self, method: str, path: str, accept: tuple[int, ...] = (200, 201), **arguments: Any) -> dict[str, Any]:
        for attempt in range(TRIES):
            answer = self._request(method, path, **arguments)
            if answer.status_code == 401:
                self._token = None
            elif answer.status_code < 500:
                break
            time.sleep(attempt)
        if answer.status_code not in accept:
            raise AirflowRefused(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:500]}")
        body: dict[str, Any] = answer.json()
        return body

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            if self._token is None:
                answer = self._http.post("/auth/token", json=self._credentials)
                if answer.status_code != 201:
                    raise AirflowUnreachable(f"cannot log in to {self.url}: {answer.status_code} {answer.text[:200]}")
                self._token = answer.json()["access_token"]
            headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
            return self._http.request(method, f"/api/v2{path}", headers=headers, **arguments)
        except httpx.HTTPError as error:
            raise AirflowUnreachable(f"Airflow at {self.url} does not answer: {error!r}") from error


def task_log_file(airflow_home: Path, run: DagRun, task: TaskRun) -> Path:
    """Where LocalExecutor writes the log of a task's newest attempt."""
    mapped = f"map_index={task.map_index}/" if task.map_index >= 0 else ""
    folder = f"dag_id={run.dag_id}/run_id={run.run_id}/task_id={task.task_id}/{mapped}"
    return airflow_home / "logs" / folder / f"attempt={max(task.attempt, 1)}.log"


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _dag_run(record: Mapping[str, Any]) -> DagRun:
    run_after = _time(record["run_after"])
    assert run_after is not None
    return DagRun(
        dag_id=record["dag_id"],
        run_id=record["dag_run_id"],
        state=record["state"],
        run_type=record["run_type"],
        run_after=run_after,
        started=_time(record["start_date"]),
        ended=_time(record["end_date"]),
    )


def _task_run(record: Mapping[str, Any]) -> TaskRun:
    return TaskRun(
        task_id=record["task_id"],
        map_index=record["map_index"],
        state=record["state"] or "waiting",
        attempt=record["try_number"],
        started=_time(record["start_date"]),
        ended=_time(record["end_date"]),
    )
