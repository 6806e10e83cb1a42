"""MLflow runs that a kill left RUNNING."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from packshot.config import Settings
from packshot.lock import held
from packshot.progress import say
from packshot.registry.alias import exclusive
from packshot.registry.tracking import RunBusy, client, experiment_id, locks_of, reaching, tracking_uri
from packshot.revision import RunKey

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "packshot.reaped"
RUNNING = "RUNNING"
SIGN_OF_LIFE = "cost/wall_s"
"""The metric that a training writes after every epoch."""


@dataclass(frozen=True)
class Reaped:
    """A run that was set to KILLED, and why."""

    run_id: str
    why: str

    def as_record(self) -> dict[str, str]:
        """Plain data for JSON."""
        return asdict(self)


def reap(settings: Settings) -> list[Reaped]:
    """Set to KILLED, with a tag that says why, every run that says RUNNING though no process works on it.

    A run is left alone while any lock of its run key is held, until `reaper.after_hours` after its last sign of life,
    and where this PACKSHOT_HOME never worked on its key: its locks are elsewhere then. Nothing is lost by it: training
    that is resumed goes on in the same run. Raises RegistryBusy, TrackingUnreachable.
    """
    # whoever registers has a run RUNNING without holding its key
    with exclusive():
        mlflow_client = client(settings)
        with reaching(tracking_uri(settings)):
            found = (_reap_one(settings, mlflow_client, run) for run in list(_running(settings, mlflow_client)))
            return [reaped for reaped in found if reaped is not None]


def _running(settings: Settings, mlflow_client: MlflowClient) -> Iterator[Any]:
    experiment, token = experiment_id(settings, mlflow_client), None
    while True:
        page = mlflow_client.search_runs([experiment], f"attributes.status = '{RUNNING}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _reap_one(settings: Settings, mlflow_client: MlflowClient, run: Any) -> Reaped | None:
    key = _key(run)
    locks = locks_of(key) if key is not None else []
    if key is None or not locks:
        say(f"MLflow run {run.info.run_id} is not of this PACKSHOT_HOME; left as it is")
        return None
    with ExitStack() as all_of_them:
        try:
            for path in locks:
                all_of_them.enter_context(held(path.stem, 0, RunBusy(key)))
        except RunBusy:
            return None
        return _mark(settings, mlflow_client, run.info.run_id)


def _mark(settings: Settings, mlflow_client: MlflowClient, run_id: str) -> Reaped | None:
    """Judge the run as it is now, with its locks held: it may have ended since it was listed."""
    run = mlflow_client.get_run(run_id)
    signs = [point.timestamp for point in mlflow_client.get_metric_history(run_id, SIGN_OF_LIFE)]
    last_ms = max([run.info.start_time, *signs])
    last = datetime.fromtimestamp(last_ms / 1000, UTC)
    now = datetime.now(UTC)
    if run.info.status != RUNNING or now - last < timedelta(hours=settings.reaper.after_hours):
        return None
    why = f"{now:%Y-%m-%d %H:%M} UTC: no process works on it; its last sign of life was of {last:%Y-%m-%d %H:%M} UTC"
    mlflow_client.set_tag(run_id, TAG, why)
    mlflow_client.set_terminated(run_id, "KILLED", end_time=last_ms)
    say(f"MLflow run {run_id} is KILLED now: {why}")
    return Reaped(run_id, why)


def _key(run: Any) -> RunKey | None:
    try:
        return RunKey(*(run.data.tags[name] for name in RunKey("", "", "").tags()))
    except KeyError:
        return None
