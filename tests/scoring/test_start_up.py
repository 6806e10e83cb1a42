"""What a scorer does not wait for before its first picture is being judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from sample_batch import make_batch
from small_network import save_small_bundle, small_architecture

from packshot.catalog.decoding.isolated import decode
from packshot.catalog.decoding.pool import Decoders
from packshot.catalog.image import ImageLimits
from packshot.config import load_settings
from packshot.home import project_root

SLOW = ("torch", "pandas", "scipy", "sklearn", "matplotlib", "mlflow")


def loaded_by(program: str, home: Path) -> list[str]:
    asked = f"import json, sys\n{program}\nprint(json.dumps([name for name in {SLOW} if name in sys.modules]))"
    environment = os.environ | {"PACKSHOT_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    found: list[str] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_planning_a_batch_loads_nothing_that_is_slow(tmp_path: Path) -> None:
    program = "import packshot.cli, packshot.ops.pipeline, packshot.scoring.batch, packshot.scoring.scorer"
    assert loaded_by(program, tmp_path) == []


def test_a_missing_model_is_said_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    folder = make_batch(tmp_path / "photos", 1)
    program = (
        "from packshot.cli.judging import score\nfrom packshot.registry.models import NoSuchModel\n"
        f"try:\n    score([{str(folder)!r}], model='7')\n"
        "except NoSuchModel:\n    pass\nelse:\n    raise SystemExit('scored')"
    )
    assert loaded_by(program, tmp_path / "home") == []


def test_judging_loads_nothing_that_an_extra_brings(tmp_path: Path) -> None:
    folder = make_batch(tmp_path / "photos", 2)
    bundle = save_small_bundle(tmp_path / "bundle", small_architecture())
    program = f"from packshot.cli.judging import score\nscore([{str(folder)!r}], model={str(bundle)!r})"
    assert set(loaded_by(program, tmp_path / "home")) <= {"pandas"}, "which Arrow takes where it is installed"


def test_decoders_that_were_started_early_decode(tmp_path: Path) -> None:
    folder = make_batch(tmp_path / "photos", 1)
    limits = ImageLimits.from_settings(load_settings(project_root() / "params.yaml").validation)
    started = Decoders(1)
    started.begin()
    try:
        from packshot.catalog.image import decode as in_worker

        found = started.call(in_worker, folder / "shop" / "item000.png", limits)
    finally:
        started.close()
    assert (found == decode(folder / "shop" / "item000.png", limits)).all()
