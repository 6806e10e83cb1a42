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
from packshot.registry.models import model_path, recorded
from packshot.registry.signature import OUTPUTS
from packshot.registry.tracking import configure, reaching, tracking_uri

SCRIPT = Path(__file__).with_name("clean_process.py")
TIMEOUT_S = 300.0


class ModelDoesNotServe(PackshotError):
    """The logged model cannot be loaded in a clean process, or gives other columns than promised."""


def measure(settings: Settings, version: int) -> dict[str, float]:
    """`serving/latency_ms` and `serving/peak_rss_mb` of a registered version.

    A new Python process, outside the project, loads the logged model with pickle refused, and judges drawn pictures of
    about 0.3 megapixels one at a time. Every file of it was compared with the ledger before: not a line of another
    model's code runs. Raises ModelDoesNotServe with the end of its output, and what `model_path` raises.
    """
    model, named = str(model_path(settings, version)), f"{settings.registry.model_name} version {version}"
    uri = configure(settings)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONDONTWRITEBYTECODE": "1"}
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
            raise ModelDoesNotServe(f"{named} did not load and judge 6 pictures within {TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        raise ModelDoesNotServe(f"{named} does not work in a clean process:\n{done.stderr[-2000:]}")
    report = json.loads(done.stdout.strip().splitlines()[-1])
    if report["columns"] != list(OUTPUTS):
        raise ModelDoesNotServe(f"{named} gives the columns {report['columns']}, promised are {list(OUTPUTS)}")
    return {name: float(value) for name, value in report.items() if name.startswith("serving/")}


def signature_kept(settings: Settings, challenger: int, champion: int | None) -> float:
    """1 where the challenger takes and gives what the champion does, or there is none; else 0."""
    from mlflow.models import Model

    versions = [challenger] if champion is None else [challenger, champion]
    with reaching(tracking_uri(settings)):
        signatures = [Model.load(_readable(settings, version)).signature for version in versions]
    return float(signatures[0] is not None and signatures[0] == signatures[-1])


def _readable(settings: Settings, version: int) -> str:
    """Where the description of a version can be read: of one whose code is not on record MLflow's, which runs none."""
    entry = recorded(settings, version)
    if entry.model_sha256 is not None:
        return str(model_path(settings, version))
    configure(settings)
    return f"models:/{entry.lineage.model_name}/{version}"
