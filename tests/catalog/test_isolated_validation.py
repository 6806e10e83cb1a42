"""A decoder that dies, hangs or swallows memory costs validation one row."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from catalogue_on_disk import Catalogue
from hostile_decoder import hostile, install, obeyed
from PIL import Image

from packshot.catalog import probing
from packshot.catalog.decoding.attempts import Attempts, Verdict
from packshot.catalog.decoding.isolated import inspect
from packshot.catalog.image import BadImage, ImageLimits

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
    assert (tmp_path / "work/data/valid/decoding.attempts").is_file(), "they are not tried by the next run either"


def test_a_file_that_ends_validation_ends_it_twice_at_most_and_costs_no_other(tmp_path: Path) -> None:
    environment = install(tmp_path / "hostile")
    folder = tmp_path / "in"
    hostile(folder / "b_kills.png", "kills")
    for name in "acd":
        Image.new("RGB", (64, 48), (90, 120, 150)).save(folder / f"{name}.png")
    command = [sys.executable, str(RUNS), "probe", str(folder), str(tmp_path / "out")]
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60) for _ in range(3)]
    assert [done.returncode for done in runs] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    said = json.loads(runs[-1].stdout.splitlines()[-1])
    assert {path: reason for path, reason in said.items() if reason} == {"b_kills.png": "decoder_crashed"}
    assert obeyed(environment) == {"kills": 2}
    assert Attempts(tmp_path / "out/decoding.attempts").gave_up


def test_a_file_that_was_given_up_is_tried_again_where_more_time_is_given(tmp_path: Path) -> None:
    source = tmp_path / "slow.png"
    source.write_bytes(b"slow")
    journal = Attempts(tmp_path / "attempts")
    kept = journal.of(source)
    with suppress(TimeoutError), kept.trying():
        raise TimeoutError
    kept.refused(BadImage("decoder_timeout", "late", source), 5.0)
    journal.close()
    remembered = Attempts(tmp_path / "attempts").of(source)
    assert remembered.verdict == Verdict("decoder_timeout", "late", 5.0)
    Image.new("RGB", (64, 48)).save(tmp_path / "found.png")
    (tmp_path / "found.png").replace(source)
    kept = Attempts(tmp_path / "attempts").of(source)
    assert kept.verdict is None, "another file by the same name"


def test_the_pool_waits_again_only_if_it_waits_longer(tmp_path: Path) -> None:
    source = tmp_path / "whole.png"
    Image.new("RGB", (64, 48)).save(source)
    journal = Attempts(tmp_path / "attempts")
    journal.of(source).refused(BadImage("decoder_timeout", "late", source), 5.0)
    journal.close()
    limits = ImageLimits(8, 8, 1, ("PNG",), deadline_s=5.0)
    with pytest.raises(BadImage) as refused:
        inspect(source, limits, attempts=Attempts(tmp_path / "attempts"))
    assert refused.value.reason == "decoder_timeout"
    patient = replace(limits, deadline_s=30.0)
    assert inspect(source, patient, attempts=Attempts(tmp_path / "attempts"))[0].width == 64


def test_validation_waits_as_long_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    told: list[float] = []

    def read(path: Path, limits: ImageLimits, **more: object) -> object:
        told.append(limits.deadline_s)
        return inspect(path, limits, **more)

    monkeypatch.setattr(probing, "inspect", read)
    limits = ImageLimits(8, 8, 1, ("PNG",), deadline_s=7.5)
    probing.probe_files(["a.png"], tmp_path, limits, 8, Attempts(tmp_path / "attempts"))
    assert told == [7.5]
