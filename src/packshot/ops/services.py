"""Airflow and MLflow on loopback: started, watched and stopped as plain processes of this machine.

Airflow's whole configuration comes by environment variables, so no generated file can disagree with this one.
Every process carries PACKSHOT_SERVICES in its environment; whatever still carries it after a shutdown is an
orphan of ours and is ended too. A process id alone is no evidence: the kernel gives it to others, and a copy of the
state folder names processes of the original.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import make_folder, write_json, write_text
from packshot.home import PRIVATE_UMASK, UMASK_VARIABLE, Home, project_root
from packshot.ops.airflow_client import AirflowClient, AirflowUnreachable
from packshot.progress import say
from packshot.redaction import is_secret

MARKER = "PACKSHOT_SERVICES"
HOST = "127.0.0.1"
USER = "admin"
PORTS = {"airflow": ("PACKSHOT_AIRFLOW_PORT", 8080), "mlflow": ("PACKSHOT_MLFLOW_PORT", 5000)}
PORTS_TRIED = 50
AIRFLOW_COMPONENTS = {
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "api-server": ("api-server",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
DAGS = ("intake", "retrain", "promote", "score", "rescore_day", "drift", "reconcile", "rollback", "maintenance")
DATABASE_WAITS_S = 60
"""How long a writer waits for another one: SQLite has one writer at a time."""
HEALTHY_WITHIN_S = 180.0
MLFLOW_WITHIN_S = 90.0
SAME_START_S = 1.0
"""Two readings of when one process was started differ by less: the clock may have been set in between."""
SIGNALS = ((signal.SIGINT, 15.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


class PortTaken(PackshotError):
    """A port that was asked for is in use."""

    def __init__(self, name: str, port: int, user: str, variable: str) -> None:
        super().__init__(
            f"port {port} for {name} is in use by {user}. End that process or set {variable} to a free port."
        )


class ServiceFailed(PackshotError):
    """A service ended while it was starting, or did not become healthy in time."""

    def __init__(self, name: str, what: str, log: Path) -> None:
        tail = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else ["(no log)"]
        super().__init__(f"{name} {what}. The end of {log}:\n" + "\n".join(tail))


class OtherSettingsRunning(PackshotError):
    """Services of this home run already, with other PACKSHOT_ variables than these."""


class ServicesUnknown(PackshotError):
    """What says which services run cannot be read."""

    def __init__(self, path: Path, cause: object) -> None:
        super().__init__(
            f"{path}, which says what services run, cannot be read ({cause}). `make down` ends those that carry the "
            "mark of this home and removes the file; then start them again"
        )


@dataclass(frozen=True)
class Running:
    """Services that are up: addresses, and how to log in."""

    airflow_url: str
    mlflow_url: str | None
    user: str
    password: str

    def client(self) -> AirflowClient:
        """A logged-in REST client."""
        return AirflowClient(self.airflow_url, self.user, self.password)


# --- ports --------------------------------------------------------------------------------------------


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def port_user(port: int) -> str:
    """The process that listens on a port, as `name (pid N)`, or `a process of another user`."""
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return "a process of another user"


def choose_port(name: str, taken: Sequence[int] = ()) -> int:
    """The port for `airflow` or `mlflow`: the one its variable names, else the first free one from its default.

    Raises PortTaken naming the port's user.
    """
    variable, default = PORTS[name]
    named = os.environ.get(variable)
    if named:
        if not named.isdigit() or not 0 < int(named) < 65536:
            raise PackshotError(f"{variable} must be a port number from 1 to 65535, found {named!r}")
        if not is_free(int(named)):
            raise PortTaken(name, int(named), port_user(int(named)), variable)
        return int(named)
    for port in range(default, default + PORTS_TRIED):
        if port not in taken and is_free(port):
            return port
    raise PortTaken(name, default, port_user(default), variable)


# --- configuration --------------------------------------------------------------------------------------


def stored_secrets(home: Home) -> dict[str, str]:
    """Secrets of this installation: made once, kept in a file that only its owner can read."""
    path = home.airflow / "secrets.json"
    if not path.exists():
        make_folder(path.parent)
        made = {
            "jwt": secrets.token_hex(64),
            "api": secrets.token_hex(32),
            "fernet": _fernet_key(),
            "password": secrets.token_urlsafe(12),
        }
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            json.dump(made, file)
    stored: dict[str, str] = json.loads(path.read_text())
    passwords = home.passwords
    for private in (path, passwords):
        if private.exists():
            private.chmod(0o600)  # state of an earlier version, or put back from a backup
    if not passwords.exists():
        with os.fdopen(os.open(passwords, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            json.dump({USER: stored["password"]}, file)
    return stored


def _fernet_key() -> str:
    import base64

    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def airflow_environment(home: Home, port: int) -> dict[str, str]:
    """Airflow's configuration: LocalExecutor on SQLite, everything on loopback, events followed within seconds."""
    secret = stored_secrets(home)
    url = f"http://{HOST}:{port}"
    bundles = [
        {
            "name": "packshot",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(project_root() / "dags"), "refresh_interval": 30},
        }
    ]
    options = {
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__FERNET_KEY": secret["fernet"],
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home.passwords),
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home.airflow}/airflow.db?timeout={DATABASE_WAITS_S}",
        "API__HOST": HOST,
        "API__PORT": str(port),
        "API__BASE_URL": url,
        "API__SECRET_KEY": secret["api"],
        "API__WORKERS": "1",
        "API_AUTH__JWT_SECRET": secret["jwt"],
        "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "300",
        "LOGGING__LOGGING_LEVEL": "INFO",
        "LOGGING__BASE_LOG_FOLDER": str(home.airflow / "logs"),
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home.airflow / "logs" / "dag_processor"),
        "LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
        "LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
        "LOGGING__COLORED_CONSOLE_LOG": "False",
        "METRICS__STATSD_ON": "False",
        "TRACES__OTEL_ON": "False",
        "WORKERS__EXECUTION_API_TIMEOUT": "30.0",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    }
    return {f"AIRFLOW__{key}": value for key, value in options.items()} | {"AIRFLOW_HOME": str(home.airflow)}


def base_environment(home: Home) -> dict[str, str]:
    """What every service and all that it starts share."""
    return os.environ | {
        MARKER: str(home.root),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PACKSHOT_HOME": str(home.root),
        "PACKSHOT_PROJECT": str(project_root()),
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "DVC_NO_ANALYTICS": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "SCARF_ANALYTICS": "false",
        "DO_NOT_TRACK": "1",
        "AIRFLOW_USAGE_DATA_COLLECTION_ENABLED": "false",
    }


def overrides(home: Home) -> dict[str, str]:
    """The PACKSHOT_ variables that change what a task does; services keep those they were started with.

    Of a secret there is only a keyed digest: enough to tell another one from the same.
    """
    ignored = {"PACKSHOT_HOME", "PACKSHOT_PROJECT", "PACKSHOT_RESULT", MARKER, UMASK_VARIABLE}
    ignored |= {variable for variable, _ in PORTS.values()}
    named = {k: v for k, v in sorted(os.environ.items()) if k.startswith("PACKSHOT_") and k not in ignored}
    return {name: _sealed(home, value) if is_secret(name, value) else value for name, value in named.items()}


def _sealed(home: Home, value: str) -> str:
    return f"secret:{_derived(stored_secrets(home), value)[:16]}"


def _derived(secret: Mapping[str, str], purpose: str) -> str:
    return hmac.new(secret["jwt"].encode(), purpose.encode(), hashlib.sha256).hexdigest()


# --- processes ------------------------------------------------------------------------------------------


def read_state(home: Home) -> dict[str, Any] | None:
    """What the running services wrote down, or None where none of them lives. Raises ServicesUnknown."""
    state = _recorded(home)
    return state if state is not None and _sessions(state) else None


def _recorded(home: Home) -> dict[str, Any] | None:
    """What was written down of the services of this very home, None where nothing was. Raises ServicesUnknown."""
    path = home.services
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        pids = {str(name): (int(pid), float(created)) for name, (pid, created) in state["pids"].items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ServicesUnknown(path, f"{type(error).__name__}: {error}") from error
    of = Path(state.get("home", home.root))
    if of != home.root and of.exists():
        return None  # the copy of a home whose services are its own
    return {**state, "pids": pids}


def _sessions(state: Mapping[str, Any]) -> set[int]:
    """Process ids of the services that still live; each is also the id of its session."""
    return {pid for pid, created in state["pids"].values() if _lives(pid, created)}


def _lives(pid: int, created: float) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and _is_same(process, created))
    except psutil.Error:
        return False


def _is_same(process: psutil.Process, created: float) -> bool:
    return bool(abs(process.create_time() - created) < SAME_START_S)


def _marks(home: Home, state: Mapping[str, Any] | None) -> set[str]:
    """What processes of this home carry: where it is, and where it was when they were started."""
    return {str(home.root)} | ({str(state["home"])} if state and "home" in state else set())


def _carries_mark(process: psutil.Process, marks: set[str]) -> bool:
    try:
        return process.environ().get(MARKER) in marks
    except psutil.Error:
        return False


def _in_session(process: psutil.Process, started: Mapping[int, float], marks: set[str]) -> bool:
    """Whether a process is in a session that a service began, and not in one that has got its number since."""
    try:
        session = os.getsid(process.pid)
        if session not in started:
            return False
        if psutil.pid_exists(session):
            return _is_same(psutil.Process(session), started[session])
        # its leader is gone: its other members stay where it was started, whatever else they changed
        return process.cwd() in marks and process.create_time() >= started[session] - SAME_START_S
    except (OSError, psutil.Error):
        return False


def our_processes(home: Home) -> list[psutil.Process]:
    """Every living process of the services of this home, except this one and its ancestors.

    Those in a service's session (Airflow's processes rename themselves, which wipes their environment), and
    those that carry the marker (tasks run commands in sessions of their own).
    """
    try:
        state = _recorded(home)
    except ServicesUnknown:
        state = None
    started = dict(state["pids"].values()) if state else {}
    marks = _marks(home, state)
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter(["status"])
        if process.pid not in own
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and (_in_session(process, started, marks) or _carries_mark(process, marks))
    ]


def _spawn(name: str, command: Sequence[str], environment: Mapping[str, str], home: Home) -> subprocess.Popen[bytes]:
    make_folder(home.logs)
    appended = os.open(home.logs / f"{name}.log", os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    with os.fdopen(appended, "ab") as log:
        process = subprocess.Popen(
            command,
            cwd=home.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=PRIVATE_UMASK,
        )
    write_text(home.logs / f"{name}.pid", f"{process.pid}\n")
    return process


def _prepare_database(home: Home, environment: Mapping[str, str]) -> None:
    """Make or migrate Airflow's database, once for each Airflow version."""
    stamp = home.airflow / "migrated"
    current = version("apache-airflow-core")
    if stamp.exists() and stamp.read_text() == current:
        return
    say("preparing Airflow's database (once) ...")
    log = home.logs / "migrate.log"
    process = _spawn("migrate", [*_airflow(), "db", "migrate"], environment, home)
    if process.wait() != 0:
        raise ServiceFailed("airflow db migrate", f"ended with exit code {process.returncode}", log)
    database = home.airflow / "airflow.db"
    database.chmod(0o600)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # readers and the writer do not wait for one another
    stamp.write_text(current)


def _airflow() -> list[str]:
    return [sys.executable, "-m", "airflow"]


def _mlflow_command(home: Home, port: int) -> list[str]:
    make_folder(home.mlflow_artifacts)
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--app-name", "basic-auth"),
        *("--backend-store-uri", f"sqlite:///{home.mlflow_db}"),
        *("--default-artifact-root", str(home.mlflow_artifacts)),
    ]


def mlflow_environment(home: Home) -> dict[str, str]:
    """MLflow's login: the user and the password of Airflow's page; who is added there may do nothing by default."""
    secret = stored_secrets(home)
    logins = home.mlflow_db.parent / "logins.db"
    options = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": f"sqlite:///{logins}".replace("%", "%%"),
        "admin_username": USER,
    }
    config = home.mlflow_db.parent / "logins.ini"
    write_text(config, "\n".join(["[mlflow]", *(f"{name} = {value}" for name, value in options.items()), ""]))
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": secret["password"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": _derived(secret, "mlflow sessions"),
    }


def start(settings: Settings, components: Sequence[str], *, mlflow: bool) -> Running:
    """Start Airflow's `components` (and an MLflow server), wait until all are healthy, and return their addresses.

    Services of this home that run already are used as they are. Raises PortTaken, ServiceFailed,
    OtherSettingsRunning.
    """
    home = Home.from_environment()
    existing = read_state(home)
    if existing is not None:
        if existing["overrides"] != overrides(home):
            raise OtherSettingsRunning(
                f"Airflow of {home.root} runs already, started with other PACKSHOT_ variables "
                f"({existing['overrides']}, now {overrides(home)}). Run `make down` first."
            )
        return _running(home, existing)
    airflow_port = choose_port("airflow")
    mlflow_port = choose_port("mlflow", (airflow_port,)) if mlflow and not _tracking_server(settings) else None
    environment = base_environment(home) | airflow_environment(home, airflow_port)
    commands = {name: ([*_airflow(), *AIRFLOW_COMPONENTS[name]], environment) for name in components}
    if mlflow_port is not None:
        commands["mlflow"] = (_mlflow_command(home, mlflow_port), base_environment(home) | mlflow_environment(home))
    state: dict[str, Any] = {
        "home": str(home.root),
        "pids": {},
        "airflow_url": f"http://{HOST}:{airflow_port}",
        "mlflow_url": _tracking_server(settings) or (f"http://{HOST}:{mlflow_port}" if mlflow_port else None),
        "overrides": overrides(home),
    }
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        _prepare_database(home, environment)
        for name, (command, own) in commands.items():
            processes[name] = _spawn(name, command, own, home)
            state["pids"][name] = (processes[name].pid, psutil.Process(processes[name].pid).create_time())
            write_json(home.services, state)
        running = _running(home, state)
        _wait_until_healthy(running, processes, home)
    except BaseException:
        stop()
        raise
    return running


def _tracking_server(settings: Settings) -> str | None:
    """The address of an MLflow server that was configured, if any."""
    address = os.environ.get("MLFLOW_TRACKING_URI") or settings.registry.tracking_uri or ""
    return address if address.startswith(("http://", "https://")) else None


def _running(home: Home, state: Mapping[str, Any]) -> Running:
    return Running(state["airflow_url"], state["mlflow_url"], USER, stored_secrets(home)["password"])


def _wait_until_healthy(running: Running, processes: Mapping[str, subprocess.Popen[bytes]], home: Home) -> None:
    begun = time.monotonic()
    client = running.client()
    wanted = [name.replace("-", "_") for name in processes if name not in ("api-server", "mlflow")]
    while time.monotonic() - begun < HEALTHY_WITHIN_S:
        _raise_if_ended(processes, home)
        try:
            if client.healthy(wanted) and set(DAGS) <= set(client.dags()):
                client.ensure_pool("gpu", 1, "training runs, one at a time")
                _wait_for_mlflow(running, processes, home)
                return
        except AirflowUnreachable:
            pass
        time.sleep(1.0)
    errors = client.import_errors()
    what = f"was not healthy within {HEALTHY_WITHIN_S:.0f} s"
    raise ServiceFailed(
        "Airflow", what + (f"; DAG files that fail: {errors}" if errors else ""), home.logs / "api-server.log"
    )


def _wait_for_mlflow(running: Running, processes: Mapping[str, subprocess.Popen[bytes]], home: Home) -> None:
    import httpx

    begun = time.monotonic()
    while "mlflow" in processes:
        _raise_if_ended(processes, home)
        try:
            if httpx.get(f"{running.mlflow_url}/health", timeout=5.0).status_code == 200:
                _check_login(running, home)
                return
        except httpx.HTTPError:
            pass
        if time.monotonic() - begun > MLFLOW_WITHIN_S:
            raise ServiceFailed("MLflow", f"was not healthy within {MLFLOW_WITHIN_S:.0f} s", home.logs / "mlflow.log")
        time.sleep(0.5)


def _check_login(running: Running, home: Home) -> None:
    """Raise ServiceFailed unless MLflow lets nobody in but who knows the password."""
    import httpx

    page = f"{running.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1"
    answers = [
        httpx.get(page, auth=login, timeout=30.0).status_code for login in (None, (running.user, running.password))
    ]
    if answers != [401, 200]:
        raise ServiceFailed(
            "MLflow",
            f"answered {answers[0]} without a login and {answers[1]} with the one in {home.passwords}, expected were "
            "401 and 200; where its password was changed, end it, remove logins.db beside its store and start it again",
            home.logs / "mlflow.log",
        )


def _raise_if_ended(processes: Mapping[str, subprocess.Popen[bytes]], home: Home) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            raise ServiceFailed(name, f"ended with exit code {process.returncode}", home.logs / f"{name}.log")


def stop() -> int:
    """Stop the services of this home and every process that they left; return how many were ended.

    Nothing else: a process that only has the number of one is named and left alone.
    """
    home = Home.from_environment()
    try:
        state = _recorded(home)
    except ServicesUnknown as error:
        say(str(error))
        state = None
    if state is not None:
        _name_strangers(state)
    found = our_processes(home)
    for number, wait_s in SIGNALS:
        first = _sessions(state) if state and number == signal.SIGINT else None
        for process in our_processes(home):
            if first is None or process.pid in first:
                _send(process, number)
        if _all_gone(home, wait_s):
            break
    home.services.unlink(missing_ok=True)
    for pid_file in home.logs.glob("*.pid"):
        pid_file.unlink(missing_ok=True)
    return len(found)


def _name_strangers(state: Mapping[str, Any]) -> None:
    for name, (pid, created) in state["pids"].items():
        try:
            process = psutil.Process(pid)
            if not _is_same(process, created):
                say(f"process {pid} was {name}, and is {process.name()} by now: it is left alone")
        except psutil.Error:
            continue


def _send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)  # raises where the number has got another process since
    except psutil.Error:
        return


def _all_gone(home: Home, wait_s: float) -> bool:
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        _reap()
        if not our_processes(home):
            return True
        time.sleep(0.25)
    return False


def _reap() -> None:
    """Collect children of this process that have ended, so that they do not count as living."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


@contextmanager
def services(settings: Settings) -> Iterator[Running]:
    """Airflow for the length of a block; left alone where it was running before."""
    home = Home.from_environment()
    was_running = read_state(home) is not None
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield start(settings, ("scheduler", "dag-processor", "api-server"), mlflow=False)
    finally:
        if not was_running:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stop()
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def up(settings: Settings) -> None:
    """Start Airflow and MLflow, and say where they are and how to log in."""
    home = Home.from_environment()
    running = start(settings, tuple(AIRFLOW_COMPONENTS), mlflow=True)
    client = running.client()
    paused = [name for name in DAGS if client.dags().get(name, True)]
    same = "   the same login" if "mlflow" in (read_state(home) or {"pids": {}})["pids"] else ""
    say(f"Airflow  {running.airflow_url}   user {running.user}, password in {home.passwords}")
    say(f"MLflow   {running.mlflow_url or 'not started: the tracking store is ' + str(home.mlflow_db)}{same}")
    say(f"logs     {home.logs}")
    if paused:
        say(f"paused   {', '.join(paused)}; switch them on in Airflow's page to let their schedules run")
    say("`make down` stops both.")


def down() -> None:
    """Stop what `up` started."""
    ended = stop()
    say(f"stopped {ended} processes" if ended else "nothing was running")
