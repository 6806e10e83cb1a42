"""How fast and how large the logged model is, measured where nothing else is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.registry.signature import OUTPUTS
from packshot.registry.tracking import configure, reaching

SCRIPT = Path(__file__).with_name("clean_process.py")
TIMEOUT_S = 300.0


class ModelDoesNotServe(PackshotError):
    """The logged model cannot be loaded in a clean process, or gives other columns than promised."""


def measure(settings: Settings, version: int) -> dict[str, float]:
    """`serving/latency_ms` and `serving/peak_rss_mb` of a registered version.

    A new Python process, outside the project, loads `models:/<name>/<version>` with pickle refused, and judges drawn
    pictures of about 0.3 megapixels one at a time. Raises ModelDoesNotServe with the end of its output.
    """
    uri = configure(settings)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    model = f"models:/{settings.registry.model_name}/{version}"
    with tempfile.TemporaryDirectory(prefix="packshot-serve-") as elsewhere:
        try:
            done = subprocess.run(
                [sys.executable, "-P", str(SCRIPT), model],
                cwd=elsewhere,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ModelDoesNotServe(f"{model} did not load and judge 6 pictures within {TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        raise ModelDoesNotServe(f"{model} does not work in a clean process:\n{done.stderr[-2000:]}")
    report = json.loads(done.stdout.strip().splitlines()[-1])
    if report["columns"] != list(OUTPUTS):
        raise ModelDoesNotServe(f"{model} gives the columns {report['columns']}, promised are {list(OUTPUTS)}")
    return {name: float(value) for name, value in report.items() if name.startswith("serving/")}


def signature_kept(settings: Settings, challenger: int, champion: int | None) -> float:
    """1 where the challenger takes and gives what the champion does, or there is none; else 0."""
    from mlflow.models import get_model_info

    uri = configure(settings)
    name = settings.registry.model_name
    versions = [challenger] if champion is None else [challenger, champion]
    with reaching(uri):
        signatures = [get_model_info(f"models:/{name}/{version}").signature for version in versions]
    return float(signatures[0] is not None and signatures[0] == signatures[-1])
