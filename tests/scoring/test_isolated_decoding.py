"""A decoder that dies, hangs or swallows memory costs its own picture, in every command that decodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from hostile_decoder import hostile, install, obeyed
from sample_batch import make_batch

RUNS = Path(__file__).parents[1] / "helpers/isolated_runs.py"
HOSTILE = ("dies", "hangs", "swallows")
REASONS = {"dies": "decoder_crashed", "hangs": "decoder_timeout", "swallows": "decoder_crashed"}


def run(what: str, folder: Path, out: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUNS), what, str(folder), str(out)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def verdicts(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "verdicts.parquet").set_index("path")


def errors(out: Path) -> dict[str, str]:
    said = verdicts(out)["error"].dropna()
    return {str(path): text.split(":")[0] for path, text in said.items()}


@pytest.mark.parametrize("what", ["score", "parts"])
def test_hostile_files_among_good_ones_cost_a_row_each_and_no_good_picture(tmp_path: Path, what: str) -> None:
    environment = install(tmp_path / "hostile")
    folder = make_batch(tmp_path / "in", 9)
    for each in HOSTILE:
        hostile(folder / f"{each}.png", each)
    done = run(what, folder, tmp_path / "out", environment)
    assert done.returncode == 0, done.stderr
    assert errors(tmp_path / "out") == {f"{each}.png": REASONS[each] for each in HOSTILE}
    assert len(verdicts(tmp_path / "out")) == 12
    assert (verdicts(tmp_path / "out").loc[list(errors(tmp_path / "out")), "decision"] == "reject").all()
    counts = obeyed(environment)
    assert max(counts.values()) <= 2 and set(counts) == set(HOSTILE)
    (tmp_path / "out/verdicts.parquet").unlink()
    assert run(what, folder, tmp_path / "out", environment).returncode == 0
    assert obeyed(environment) == counts, "a resume does not try them again"


def test_a_file_that_ends_the_whole_process_ends_it_twice_at_most(tmp_path: Path) -> None:
    environment = install(tmp_path / "hostile")
    folder = make_batch(tmp_path / "in", 3)
    hostile(folder / "kills.png", "kills")
    ends = [run("score", folder, tmp_path / "out", environment).returncode for _ in range(3)]
    assert ends == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert errors(tmp_path / "out") == {"kills.png": "decoder_crashed"}
    assert obeyed(environment) == {"kills": 2}
    assert not list((tmp_path / "out/.shards").glob("*.attempts"))


def test_enhancing_names_hostile_files_and_does_not_try_them_again(tmp_path: Path) -> None:
    environment = install(tmp_path / "hostile")
    folder = make_batch(tmp_path / "in", 4)
    for each in HOSTILE:
        hostile(folder / f"{each}.png", each)
    done = run("enhance", folder, tmp_path / "out", environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["enhanced"] == 4
    said = pd.read_csv(tmp_path / "out/errors.csv").set_index("path")["error"]
    assert {path: text.split(":")[0] for path, text in said.items()} == {f"{k}.png": v for k, v in REASONS.items()}
    counts = obeyed(environment)
    assert max(counts.values()) <= 2
    assert run("enhance", folder, tmp_path / "out", environment).returncode == 0
    assert obeyed(environment) == counts


def test_the_logged_model_says_which_files_its_decoder_fails_on(tmp_path: Path) -> None:
    environment = install(tmp_path / "hostile")
    folder = make_batch(tmp_path / "in", 2) / "shop"
    hostile(folder / "dies.png", "dies")
    done = run("model", folder, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert {path: error for path, error in said.items() if error} == {"dies.png": "decoder_crashed"}
    assert len(said) == 3 and obeyed(environment) == {"dies": 2}


def test_renditions_thumbnails_and_features_survive_their_decoder_and_remember_the_file(tmp_path: Path) -> None:
    environment = install(tmp_path / "hostile")
    done = run("shown", make_batch(tmp_path / "in", 3), tmp_path / "out", environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "left_out": [1, 1],
        "made": [6, 0],
        "thumbnails": [False, True, True],
        "features": ["decoder_crashed", "decoder_crashed"],
        "tried": [2, 4, 6],
    }


def test_a_hostile_file_alone_is_one_row(tmp_path: Path) -> None:
    environment = install(tmp_path / "hostile")
    hostile(tmp_path / "in/dies.png", "dies")
    assert run("score", tmp_path / "in", tmp_path / "out", environment).returncode == 0
    assert errors(tmp_path / "out") == {"dies.png": "decoder_crashed"}


def test_no_worker_outlives_an_owner_that_is_killed(tmp_path: Path) -> None:
    environment = install(tmp_path / "hostile")
    folder = make_batch(tmp_path / "in", 3)
    hostile(folder / "hangs.png", "hangs")
    script = RUNS.read_text().replace("DEADLINE_S = 6.0", "DEADLINE_S = 500.0")
    (tmp_path / "runs.py").write_text(script)
    command = [sys.executable, str(tmp_path / "runs.py"), "score", str(folder), str(tmp_path / "out")]
    owner = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    ended = time.monotonic() + 120
    while not obeyed(environment) and time.monotonic() < ended:
        time.sleep(0.1)
    children = psutil.Process(owner.pid).children(recursive=True)
    assert len(children) >= 2
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
