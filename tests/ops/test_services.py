"""Ports, secrets and shutdown of the services."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

import psutil
import pytest

from packshot.config import load_settings
from packshot.files import write_json
from packshot.home import Home
from packshot.ops import doctor, services
from packshot.registry.tracking import client


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    found = Home.from_environment()
    found.logs.mkdir(parents=True)
    return found


@pytest.fixture
def taken_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_named_port_in_use_is_refused_and_its_user_named(taken_port, monkeypatch):
    monkeypatch.setenv("PACKSHOT_AIRFLOW_PORT", str(taken_port))
    with pytest.raises(services.PortTaken, match=rf"port {taken_port} for airflow is in use by .*pid {os.getpid()}"):
        services.choose_port("airflow")


def test_without_a_named_port_the_next_free_one_is_taken(taken_port, monkeypatch):
    monkeypatch.delenv("PACKSHOT_MLFLOW_PORT", raising=False)
    monkeypatch.setitem(services.PORTS, "mlflow", ("PACKSHOT_MLFLOW_PORT", taken_port))
    assert taken_port < services.choose_port("mlflow") <= taken_port + services.PORTS_TRIED


def test_secrets_are_made_once_are_long_enough_and_private(home):
    made = services.stored_secrets(home)
    assert made == services.stored_secrets(home)
    assert len(made["jwt"]) >= 64
    for name in ("secrets.json", "passwords.json"):
        assert stat.S_IMODE((home.airflow / name).stat().st_mode) == 0o600
    assert json.loads((home.airflow / "passwords.json").read_text()) == {"admin": made["password"]}


def test_everything_listens_on_loopback_and_tasks_find_the_changed_port(home):
    environment = services.airflow_environment(home, 18080)
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18080/execution/"
    assert "--skip-serve-logs" in services.AIRFLOW_COMPONENTS["scheduler"]
    assert "--skip-serve-logs" in services.AIRFLOW_COMPONENTS["triggerer"]


def test_stop_ends_a_stubborn_service_and_the_orphan_it_left(home, monkeypatch):
    monkeypatch.setattr(services, "SIGNALS", tuple((number, 1.0) for number, _ in services.SIGNALS))
    code = (
        "import signal, subprocess, sys, time\n"
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(90)'], start_new_session=True)\n"
        "print('ready', flush=True); time.sleep(90)\n"
    )
    environment = services.base_environment(home)
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == b"ready\n"
    created = psutil.Process(process.pid).create_time()
    state = {"pids": {"stubborn": (process.pid, created)}, "overrides": {}, "airflow_url": "", "mlflow_url": None}
    write_json(home.root / "services.json", state)
    assert len(services.our_processes(home)) == 2
    assert services.stop() == 2
    assert services.our_processes(home) == [] and services.read_state(home) is None


@pytest.fixture
def stranger():
    """A process of somebody else, at the head of a session, with a child in it."""
    code = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(90)'])\n"
        "print('ready', flush=True); time.sleep(90)\n"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == b"ready\n"
    yield psutil.Process(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_process_that_got_the_number_of_a_service_is_named_and_left_alone(home, stranger, capsys):
    child = stranger.children()[0]
    pids = {"scheduler": (stranger.pid, stranger.create_time() - 60)}
    write_json(home.root / "services.json", {"home": str(home.root), "pids": pids})
    assert services.read_state(home) is None and services.our_processes(home) == []
    assert services.stop() == 0
    assert stranger.is_running() and child.is_running()
    assert f"process {stranger.pid} was scheduler" in capsys.readouterr().err


def test_orphans_of_a_service_are_known_by_where_they_were_started(home, tmp_path):
    def left_behind(folder):
        code = "import os, subprocess, sys\np = subprocess.Popen(['sleep', '90'])\nprint(p.pid, flush=True)\n"
        done = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=folder, start_new_session=True
        )
        orphan = int(done.stdout.readline())
        done.wait()
        return done.pid, psutil.Process(orphan)

    before = time.time() - 1
    ours, theirs = left_behind(home.root), left_behind(tmp_path)
    try:
        pids = {"scheduler": (ours[0], before), "triggerer": (theirs[0], before)}
        write_json(home.root / "services.json", {"home": str(home.root), "pids": pids})
        assert services.our_processes(home) == [ours[1]]
    finally:
        for _, orphan in (ours, theirs):
            orphan.kill()


def test_the_copy_of_a_home_does_not_end_the_services_of_the_original(home, tmp_path, monkeypatch, stranger):
    pids = {"scheduler": (stranger.pid, stranger.create_time())}
    write_json(home.root / "services.json", {"home": str(home.root), "pids": pids, "overrides": {}})
    assert services.read_state(home) is not None
    shutil.copytree(home.root, tmp_path / "copy")
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "copy"))
    assert services.read_state(Home.from_environment()) is None
    assert services.stop() == 0 and stranger.is_running()


def test_the_services_of_a_home_that_was_moved_are_still_its_own(home, tmp_path, stranger):
    pids = {"scheduler": (stranger.pid, stranger.create_time())}
    write_json(home.root / "services.json", {"home": str(tmp_path / "before"), "pids": pids, "overrides": {}})
    assert services.read_state(home)["pids"]["scheduler"][0] == stranger.pid


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pids": {"scheduler": 3}}'])
def test_a_damaged_record_of_services_is_said_and_make_down_removes_it(home, content, capsys):
    (home.root / "services.json").write_text(content)
    with pytest.raises(services.ServicesUnknown, match="make down"):
        services.read_state(home)
    assert services.stop() == 0
    assert "cannot be read" in capsys.readouterr().err and services.read_state(home) is None


def test_secrets_of_the_environment_are_told_apart_and_not_written_down(home, monkeypatch):
    monkeypatch.setenv("PACKSHOT_WEBHOOK_TOKEN", "tr0ub4dor")
    monkeypatch.setenv("PACKSHOT_LEDGER_URL", "postgresql://ann:tr0ub4dor@db/ledger")
    monkeypatch.setenv("PACKSHOT__TRAINING__RECIPE", "quick")
    one = services.overrides(home)
    assert "tr0ub4dor" not in json.dumps(one) and one["PACKSHOT__TRAINING__RECIPE"] == "quick"
    assert services.overrides(home) == one
    monkeypatch.setenv("PACKSHOT_WEBHOOK_TOKEN", "another")
    assert services.overrides(home)["PACKSHOT_WEBHOOK_TOKEN"] != one["PACKSHOT_WEBHOOK_TOKEN"]


def test_services_started_with_other_variables_are_not_reused(home, monkeypatch):
    created = psutil.Process().create_time()
    state = {"pids": {"scheduler": (os.getpid(), created)}, "overrides": {"PACKSHOT_SOURCE": "public"}}
    write_json(home.root / "services.json", state)
    monkeypatch.setenv("PACKSHOT_SOURCE", "mirror")
    with pytest.raises(services.OtherSettingsRunning, match="make down"):
        services.start(load_settings(), (), mlflow=False)


def test_doctor_fails_for_a_full_disk_and_says_what_to_do(home, monkeypatch, capsys):
    usage = type("Usage", (), {"free": 1e9})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert doctor.run(load_settings()) == 1
    said = capsys.readouterr().err
    assert "failed   disk" in said and "PACKSHOT_HOME" in said


def test_mlflow_lets_in_who_knows_the_password_of_airflow_and_nobody_else(home, monkeypatch):
    port = services.choose_port("mlflow")
    command = services._mlflow_command(home, port)
    environment = services.base_environment(home) | services.mlflow_environment(home)
    environment.pop("MLFLOW_TRACKING_URI", None)
    process = services._spawn("mlflow", command, environment, home)
    password = services.stored_secrets(home)["password"]
    url = f"http://127.0.0.1:{port}"
    try:
        running = services.Running("", url, services.USER, password)
        services._wait_for_mlflow(running, {"mlflow": process}, home)
        wrong = services.Running("", url, services.USER, "wrong")
        with pytest.raises(services.ServiceFailed, match="401 without a login and 401 with"):
            services._check_login(wrong, home)

        pids = {"mlflow": (process.pid, psutil.Process(process.pid).create_time())}
        write_json(home.services, {"home": str(home.root), "pids": pids, "mlflow_url": url, "overrides": {}})
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
            monkeypatch.setenv(name, "")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert client(load_settings()).search_experiments(), "a client of this home finds the login by itself"
        private = [path for path in home.root.rglob("*") if path.is_file()]
        assert private and not [path for path in private if path.stat().st_mode & 0o077]
        assert [path for path in private if password in path.read_text(errors="replace")] == [
            path for path in private if path.parent == home.airflow
        ]
    finally:
        services.stop()
        process.wait(30)
    assert b"Traceback" not in (home.logs / "mlflow.log").read_bytes()
