"""Where MLflow is, and one MLflow run for each run key, resumed after a kill."""

from __future__ import annotations

import base64
import json
import os
import platform
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import OutputNotWritable
from packshot.home import Home, project_root
from packshot.lock import held, locks_like
from packshot.progress import say
from packshot.registry.run_tags import begun_tags
from packshot.relocation import settle
from packshot.revision import RunKey

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROBE_TIMEOUT_S = 5.0
LOCK_WAIT_S = 3.0
"""Longer than the reaper holds the lock of a run, which is the only other use of it that is short."""
USER_VARIABLE, PASSWORD_VARIABLE = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
TOKEN_VARIABLE = "MLFLOW_TRACKING_TOKEN"
VARIANT_TAG = "packshot.variant"
FAILURE_TAG = "packshot.failure"
PARAM_LIMIT = 6000
"""Longest value of a parameter that MLflow's stores take, in characters."""

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


class TrackingUnreachable(PackshotError):
    """MLflow does not answer."""

    exit_code = 69

    def __init__(self, address: str, cause: object) -> None:
        super().__init__(
            f"MLflow at {address} does not answer: {cause}. Start it, or point MLFLOW_TRACKING_URI "
            "(or registry.tracking_uri in params.yaml) at one that runs; unset, a local SQLite file is used. "
            "Then run the same command again."
        )


class ArtefactPlaceMissing(PackshotError):
    """A tracking store in a database elsewhere does not say where artefacts shall lie."""

    exit_code = 2

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the tracking store {address} is a database: name a folder or an address for its artefacts in "
            "registry.artifact_root of params.yaml (PACKSHOT__REGISTRY__ARTIFACT_ROOT), the same on every machine"
        )


class RunBusy(PackshotError):
    """Another process is at work on the same run key."""

    exit_code = 75

    def __init__(self, key: RunKey) -> None:
        super().__init__(
            f"another process is training the same data, code and parameters (run key {key.short}); "
            "wait for it to end, its result is yours too"
        )


def tracking_uri(settings: Settings) -> str:
    """`MLFLOW_TRACKING_URI`, else `registry.tracking_uri`, else SQLite under PACKSHOT_HOME.

    A server's address comes without user and password: MLflow would print them with every run. `configure` hands them
    on by environment.
    """
    named = _named_uri(settings)
    if named is None:
        return f"sqlite:///{Home.from_environment().mlflow_db}"
    return without_login(named) if named.startswith(("http://", "https://")) else named


def _named_uri(settings: Settings) -> str | None:
    return (os.environ.get("MLFLOW_TRACKING_URI") or settings.registry.tracking_uri or "").strip() or None


def configure(settings: Settings) -> str:
    """Point MLflow of this process at its server or file, with telemetry off, and return the address.

    Raises TrackingUnreachable (within 15 s) where a server does not answer, OutputNotWritable where the SQLite
    file cannot be made.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    settle()
    uri = tracking_uri(settings)
    if uri.startswith(("http://", "https://")):
        _log_in(_named_uri(settings) or uri, uri)
        _probe(uri)
    elif uri.startswith("sqlite:///"):
        _make_folder(Path(uri.removeprefix("sqlite:///")).parent)
    import mlflow

    named = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if named is None:
        # MLflow writes the address into the environment, where it would outrank the settings from then on.
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    return uri


def authorization(settings: Settings) -> str | None:
    """The value of an Authorization header for the server of the settings, None where no login is known."""
    uri = tracking_uri(settings)
    _log_in(_named_uri(settings) or uri, uri)
    if os.environ.get(USER_VARIABLE):
        login = f"{os.environ[USER_VARIABLE]}:{os.environ.get(PASSWORD_VARIABLE, '')}"
        return f"Basic {base64.b64encode(login.encode()).decode()}"
    token = os.environ.get(TOKEN_VARIABLE)
    return f"Bearer {token}" if token else None


def _log_in(named: str, uri: str) -> None:
    """Hand user and password on to MLflow: those of the address, else of the environment, else of `make up`."""
    for name in (USER_VARIABLE, PASSWORD_VARIABLE, TOKEN_VARIABLE):
        if name in os.environ:
            os.environ[name] = os.environ[name].strip()
    parts = urlsplit(named)
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    if login is None and not any(os.environ.get(name) for name in (USER_VARIABLE, TOKEN_VARIABLE)):
        login = _login_of_our_server(uri)
    if login is not None:
        os.environ[USER_VARIABLE], os.environ[PASSWORD_VARIABLE] = login


def _login_of_our_server(uri: str) -> tuple[str, str] | None:
    home = Home.from_environment()
    try:
        ours = json.loads(home.services.read_text(encoding="utf-8"))["mlflow_url"]
        logins: dict[str, str] = json.loads(home.passwords.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # whatever is wrong with these files, the server then says that it wants a login
    return next(iter(logins.items()), None) if ours == uri.rstrip("/") else None


def without_login(address: str) -> str:
    """An address as it may be shown: no user, no password."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def client(settings: Settings) -> MlflowClient:
    """A client of the configured tracking store and registry. Raises what `configure` raises."""
    uri = configure(settings)
    from mlflow import MlflowClient

    with reaching(uri), _first_use(uri):
        return MlflowClient()


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn a lost connection inside the block into TrackingUnreachable; other errors pass through."""
    import requests
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (requests.exceptions.RequestException, sqlalchemy.exc.OperationalError) as error:
        raise TrackingUnreachable(uri, error) from error
    except MlflowException as error:
        if _lost_connection(error):
            raise TrackingUnreachable(uri, error) from error
        raise


def experiment_id(settings: Settings, mlflow_client: MlflowClient) -> str:
    """The id of the experiment in the settings; made where it is missing, with a stated place for its artefacts.

    Raises ArtefactPlaceMissing where it has to be made in a database elsewhere and nothing states one.
    """
    from mlflow.exceptions import MlflowException

    name = settings.registry.experiment
    found = mlflow_client.get_experiment_by_name(name)
    if found is None:
        place = _artefact_place(settings)
        try:
            return str(mlflow_client.create_experiment(name, place))
        except MlflowException:
            # Another process made it in between.
            found = mlflow_client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _artefact_place(settings: Settings) -> str | None:
    """Where artefacts of a new experiment go, as an address; None where a server decides."""
    uri, home, stated = tracking_uri(settings), Home.from_environment(), settings.registry.artifact_root
    if uri.startswith(("http://", "https://")):
        return None
    if uri == f"sqlite:///{home.mlflow_db}":
        folder = home.mlflow_artifacts
    elif stated is None:
        raise ArtefactPlaceMissing(uri)
    elif "://" in stated:
        return stated
    else:
        folder = (project_root() / stated).absolute()
    _make_folder(folder)
    return folder.as_uri()


def runs_of(settings: Settings, mlflow_client: MlflowClient, key: RunKey, variant: str = "") -> list[Any]:
    """The runs of a key, newest first; `variant` tells a registered bundle that training did not make."""
    tags = {**key.tags(), VARIANT_TAG: variant} if variant else key.tags()
    where = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    found = mlflow_client.search_runs(
        [experiment_id(settings, mlflow_client)], where, order_by=["attributes.start_time DESC"], max_results=100
    )
    return [run for run in found if run.data.tags.get(VARIANT_TAG, "") == variant]


def registered_versions(settings: Settings) -> set[int]:
    """The numbers of all versions that MLflow has of the model. Raises TrackingUnreachable."""
    mlflow_client = client(settings)
    with reaching(tracking_uri(settings)):
        found = mlflow_client.search_model_versions(f"name = '{settings.registry.model_name}'", max_results=1000)
    return {int(version.version) for version in found}


def create_run(settings: Settings, mlflow_client: MlflowClient, key: RunKey, variant: str = "") -> str:
    """A new run tagged with the key and the facts of the system; returns its id."""
    tags = {**key.tags(), **_system_tags(), **begun_tags(settings, key)}
    if variant:
        tags[VARIANT_TAG] = variant
    name = f"{settings.training.recipe}-{variant or key.short}"
    run = mlflow_client.create_run(experiment_id(settings, mlflow_client), tags=tags, run_name=name)
    return str(run.info.run_id)


class MlflowRecorder:
    """Parameters, metrics and files of one MLflow run; what is already recorded is not recorded twice."""

    def __init__(self, mlflow_client: MlflowClient, run_id: str, uri: str) -> None:
        self.run_id = run_id
        self._client = mlflow_client
        self._uri = uri
        with reaching(uri):
            run = mlflow_client.get_run(run_id)
            self.latest: dict[str, float] = dict(run.data.metrics)
            """What the run's metrics were when it was opened."""
            self._params = dict(run.data.params)
            self._last_step = {
                name: max(point.step for point in mlflow_client.get_metric_history(run_id, name))
                for name in run.data.metrics
            }

    def last_step(self, name: str) -> int:
        """The last step at which a metric was recorded, -1 where it never was."""
        return int(self._last_step.get(name, -1))

    def params(self, values: Mapping[str, Any]) -> None:
        """Record parameters; MLflow keeps the first value of one that an earlier start recorded otherwise."""
        from mlflow.entities import Param

        for name, value in values.items():
            text = str(value)[:PARAM_LIMIT]
            known = self._params.setdefault(name, text)
            if known != text:
                say(f"parameter {name} was recorded as {known!r} before; MLflow keeps that, not {text!r}")
        with reaching(self._uri):
            recorded = self._client.get_run(self.run_id).data.params
            fresh = [Param(name, self._params[name]) for name in values if name not in recorded]
            for start in range(0, len(fresh), 100):
                self._client.log_batch(self.run_id, params=fresh[start : start + 100])

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record metrics at a step. A step that a killed start of the same run recorded is left as it is."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        fresh = [(name, float(value)) for name, value in values.items() if step > self.last_step(name)]
        for name, _ in fresh:
            self._last_step[name] = step
        points = [Metric(name, value, now, step) for name, value in fresh]
        with reaching(self._uri):
            for start in range(0, len(points), 500):
                self._client.log_batch(self.run_id, metrics=points[start : start + 500])

    def artifact(self, path: Path, folder: str) -> None:
        """Upload a file, or all below a directory, into `folder` of the run's artefacts."""
        with reaching(self._uri):
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), folder)
            else:
                self._client.log_artifact(self.run_id, str(path), folder)


@contextmanager
def open_run(settings: Settings, key: RunKey) -> Iterator[MlflowRecorder]:
    """The recorder of the run of `key`, whatever state an earlier start left it in; made where there is none.

    A key has one run: a start that was killed after the run was closed left no other sign that it had ended.
    The run ends FINISHED, or FAILED where the block raises. Raises RunBusy where another process holds the key,
    TrackingUnreachable where MLflow does not answer.
    """
    with alone(key):
        mlflow_client = client(settings)
        uri = tracking_uri(settings)
        with reaching(uri):
            earlier = runs_of(settings, mlflow_client, key)
            if earlier:
                run_id = str(earlier[0].info.run_id)
                mlflow_client.update_run(run_id, status="RUNNING")
                if FAILURE_TAG in earlier[0].data.tags:
                    mlflow_client.delete_tag(run_id, FAILURE_TAG)
                say(f"resuming MLflow run {run_id}")
            else:
                run_id = create_run(settings, mlflow_client, key)
                say(f"MLflow run {run_id}")
            recorder = MlflowRecorder(mlflow_client, run_id, uri)
        try:
            yield recorder
        except BaseException as error:
            _mark_failed(mlflow_client, run_id, error)
            raise
        with reaching(uri):
            mlflow_client.set_terminated(run_id, "FINISHED")


def _mark_failed(mlflow_client: MlflowClient, run_id: str, error: BaseException) -> None:
    try:
        mlflow_client.set_tag(run_id, FAILURE_TAG, f"{type(error).__name__}: {error}"[:500])
        mlflow_client.set_terminated(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
    except Exception as second:
        # The error of the block is the one to show; it is raised by the caller.
        say(f"MLflow run {run_id} could not be marked as failed: {second}")


@contextmanager
def alone(key: RunKey, variant: str = "") -> Iterator[None]:
    """Hold a run key (and variant) for this process; that it is held tells the reaper that its runs are alive.

    Raises RunBusy where another process holds it.
    """
    with held(f"run-{key.short}{variant and '.'}{variant}", LOCK_WAIT_S, RunBusy(key)):
        yield


def locks_of(key: RunKey) -> list[Path]:
    """The lock files of all that was ever begun in this PACKSHOT_HOME under a run key; none: nothing was."""
    return locks_like(f"run-{key.short}*")


@contextmanager
def _first_use(uri: str) -> Iterator[None]:
    """Two processes must not create the schema of one SQLite file at once."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    import filelock

    with filelock.FileLock(Path(uri.removeprefix("sqlite:///")).with_suffix(".lock"), timeout=120):
        yield


def _system_tags() -> dict[str, str]:
    import torch

    return {
        "packshot.python": platform.python_version(),
        "packshot.torch": torch.__version__,
        "packshot.platform": platform.platform(),
        "packshot.cpus": str(os.cpu_count()),
        "packshot.gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
    }


def _probe(uri: str) -> None:
    request = urllib.request.Request(uri.rstrip("/") + "/health")
    try:
        urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        # A server that asks for a login, or serves no health page, is there; a broken gateway is not.
        if error.code >= 500:
            raise TrackingUnreachable(uri, error) from error
    except (OSError, ValueError) as error:
        raise TrackingUnreachable(uri, getattr(error, "reason", None) or error) from error


def _lost_connection(error: Exception) -> bool:
    text = str(error)
    return "API request to" in text and "failed with exception" in text


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritable(folder, error) from error
