"""A DAG file parses in well under a second and loads nothing heavy, itself or through others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DAGS = Path(__file__).resolve().parents[2] / "dags"
HEAVY = ("torch", "torchvision", "mlflow", "dvc", "great_expectations", "pandas", "cv2")
PARSE = """
import importlib.util, json, sys, time
import airflow.sdk
sys.path.insert(0, {folder!r})
took = {{}}
for name in {names!r}:
    begun = time.perf_counter()
    spec = importlib.util.spec_from_file_location(name, {folder!r} + "/" + name + ".py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    took[name] = time.perf_counter() - begun
print(json.dumps({{"took": took, "heavy": [name for name in {heavy!r} if name in sys.modules]}}))
"""


def test_each_file_parses_within_a_second_and_imports_nothing_heavy(tmp_path):
    names = sorted(path.stem for path in DAGS.glob("*.py") if path.stem != "packshot_tasks")
    code = PARSE.format(folder=str(DAGS), names=names, heavy=HEAVY)
    environment = {"PATH": "/usr/bin:/bin", "AIRFLOW_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert sorted(found["took"]) == [
        "drift",
        "intake",
        "maintenance",
        "promote",
        "reconcile",
        "rescore_day",
        "retrain",
        "rollback",
        "score",
    ]
    assert found["heavy"] == []
    assert max(found["took"].values()) < 1.0, found["took"]
