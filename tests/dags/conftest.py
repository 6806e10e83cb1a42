"""An Airflow of its own for the DAG tests, and a `packshot` that answers as a test says."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"
ANSWERING = """#!{python}
import json, os, sys
call = " ".join(sys.argv[1:])
with open(os.environ["ANSWERS_CALLS"], "a") as calls:
    calls.write(call + "\\n")
table = json.load(open(os.environ["ANSWERS"]))
fitting = [key for key in table if call.startswith(key)]
answer = table[max(fitting, key=len)] if fitting else {{}}
for line in answer.get("says", []):
    print(line, file=sys.stderr)
if "result" in answer:
    print(json.dumps(answer["result"]))
    with open(os.environ["PACKSHOT_RESULT"], "w") as result:
        json.dump(answer["result"], result)
sys.exit(answer.get("exit", 0))
"""


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory):
    """A fresh Airflow home with its database; everything imported from Airflow comes after it."""
    home = tmp_path_factory.mktemp("airflow")
    wanted = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    sys.path.insert(0, str(DAGS))
    from airflow.utils.db import initdb

    initdb()
    yield home
    sys.path.remove(str(DAGS))
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def dagbag(airflow_home):
    """All DAG files, loaded once."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(DAGS))


@pytest.fixture
def packshot(tmp_path, monkeypatch):
    """Set what each `packshot` command answers; `.calls()` lists the commands that were run."""
    script = tmp_path / "packshot"
    script.write_text(ANSWERING.format(python=sys.executable))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    answers, calls = tmp_path / "answers.json", tmp_path / "calls.txt"
    calls.touch()
    monkeypatch.setenv("PACKSHOT_COMMAND", str(script))
    monkeypatch.setenv("ANSWERS", str(answers))
    monkeypatch.setenv("ANSWERS_CALLS", str(calls))

    def set_answers(**table):
        answers.write_text(json.dumps({key.replace("__", " "): value for key, value in table.items()}))

    set_answers.calls = lambda: calls.read_text().splitlines()
    set_answers()
    return set_answers
