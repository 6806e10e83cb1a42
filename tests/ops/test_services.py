"""Ports, secrets and shutdown of the services."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys

import psutil
import pytest

from packshot.config import load_settings
from packshot.files import write_json
from packshot.home import Home
from packshot.ops import doctor, services


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


def test_a_recycled_process_id_is_not_taken_for_a_service(home):
    write_json(home.root / "services.json", {"pids": {"scheduler": (os.getppid(), 0.0)}})
    assert services.read_state(home) is None


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
