"""Running one command: its result, its log, its cause of failure, its end."""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time

import psutil
import pytest

from packshot.ops.command import Command, last_object


@pytest.fixture
def say_as(tmp_path, monkeypatch):
    """Make `packshot` this Python code."""

    def make(code):
        script = tmp_path / "stand_in.py"
        script.write_text(code)
        monkeypatch.setenv("PACKSHOT_COMMAND", f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}")

    return make


def test_lines_come_as_they_are_said_and_the_result_by_its_file(say_as):
    say_as(
        "import json, os, sys\n"
        "print('\\x1b[31mhalf way\\x1b[0m', file=sys.stderr)\n"
        'print(\'{"not": "this"}\')\n'
        "json.dump({'version': 3}, open(os.environ['PACKSHOT_RESULT'], 'w'))\n"
    )
    lines = []
    finished = Command(["register"]).run(lines.append)
    assert finished.exit_code == 0 and finished.result == {"version": 3}
    assert "half way" in lines


def test_without_a_file_the_last_object_on_the_output_is_the_result(say_as):
    say_as("print('{\"a\": 1}'); print('{broken'); print('{\"a\": 2}'); print('done')")
    assert Command([]).run(lambda line: None).result == {"a": 2}
    assert last_object(["[1]", "text"]) == {}


def test_a_failure_names_command_code_and_last_lines(say_as):
    say_as("import sys; [print('line', i) for i in range(40)]; sys.exit(7)")
    finished = Command(["score", "a b"]).run(lambda line: None)
    assert "`packshot score 'a b'` ended with exit code 7" in finished.cause()
    assert "line 39" in finished.cause() and "line 3\n" not in finished.cause()


def test_a_killed_command_is_said_to_be_killed(say_as):
    say_as("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "SIGKILL (out of memory?)" in Command([]).run(lambda line: None).cause()


def test_a_task_does_not_hand_airflows_secrets_to_the_command(say_as, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "secret")
    say_as("import os; print([name for name in os.environ if name.startswith('AIRFLOW__')])")
    lines = []
    Command([]).run(lines.append)
    assert lines == ["[]"]


def test_stop_ends_the_command_and_its_children(say_as):
    say_as(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    lines, command = [], Command([])
    thread = threading.Thread(target=command.run, args=(lines.append,))
    thread.start()
    until = time.monotonic() + 20
    while not lines and time.monotonic() < until:
        time.sleep(0.05)
    command.stop()
    thread.join(20)
    assert not thread.is_alive()
    child = int(lines[0])
    while psutil.pid_exists(child) and psutil.Process(child).status() != "zombie" and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"
    assert os.getpid() != child
