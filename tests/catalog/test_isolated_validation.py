"""A decoder that dies, hangs or swallows memory costs validation one row."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
from catalogue_on_disk import Catalogue
from hostile_decoder import hostile, install, obeyed

RUNS = Path(__file__).parents[1] / "helpers/isolated_runs.py"
REASONS = {"dies": "decoder_crashed", "hangs": "decoder_timeout", "swallows": "decoder_crashed"}


def test_validation_quarantines_hostile_files(tmp_path: Path) -> None:
    environment = install(tmp_path / "hostile")
    catalogue = Catalogue(tmp_path / "work")
    catalogue.add_good(6, style="rustic")
    catalogue.add_good(6, first=6, style="modern")
    for each in REASONS:
        catalogue.add(f"{each}.png", hostile(tmp_path / f"{each}.png", each).read_bytes())
    catalogue.write()
    command = [sys.executable, str(RUNS), "validate", str(tmp_path / "work"), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(tmp_path / "work/data/valid/quarantine.parquet").set_index("path")["reason"]
    assert dict(found) == {f"own/{each}.png": reason for each, reason in REASONS.items()}
    assert max(obeyed(environment).values()) <= 2
