"""The Ray engine on a cluster of two raylets, each with one core, of which one is killed while it scores."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from sample_batch import make_batch
from small_network import KEEP_ENHANCED, save_small_bundle, small_architecture

from packshot.home import project_root
from packshot.scoring.verdicts import SCORES, STATISTICS

ALONE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # nodes and drivers talk over loopback
    "PACKSHOT__TRAINING__THREADS": "1",
    "PACKSHOT__SCORING__SHARD_SIZE": "8",
    # as for an actor of one core: what an untrained enhancer gains is rounding
    "OMP_NUM_THREADS": "1",
    **KEEP_ENHANCED,
}
IMAGES = 400


def wait_for(what: str, happened: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"{what} within {seconds} s"
        time.sleep(0.1)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PACKSHOT", "RAY_"))}
    home = {"PACKSHOT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(project_root() / "src")}
    return inherited | home | ALONE


@pytest.fixture
def cluster(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    short = tempfile.mkdtemp(prefix="ray-")  # Ray's sockets need short names
    # a folder that only this cluster uses: there Ray notes which one runs on the machine, and does not make it for that
    (Path(short) / "ray").mkdir()
    for name, value in (environment | {"RAY_TMPDIR": short}).items():
        monkeypatch.setenv(name, value)  # raylets and actors inherit it
    from ray.cluster_utils import Cluster

    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000}
    small = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.1"}
    head = small | {"include_dashboard": False, "temp_dir": f"{short}/ray", "_system_config": soon}
    started = Cluster(initialize_head=True, head_node_args=head)
    try:
        started.second = started.add_node(wait=True, **small)
        yield started
    finally:
        started.shutdown()
        shutil.rmtree(short, ignore_errors=True)


def raylet(node: Any) -> psutil.Process:
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def kill_node(node: Any) -> None:
    """As a machine dies: all its processes at once."""
    for process in [raylet(node), *raylet(node).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def score(environment: dict[str, str], *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "packshot.cli", "score", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=project_root(), env=environment, **pipes)


def rows(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "verdicts.parquet").drop(columns="scored_at")


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_two_nodes_of_which_one_dies_give_the_verdicts_of_one_process(
    tmp_path: Path, environment: dict[str, str], cluster: Any
) -> None:
    folder, bundle = make_batch(tmp_path / "in", IMAGES), save_small_bundle(tmp_path / "bundle", small_architecture())
    (folder / "broken.jpg").write_text("no picture")
    alone = score(environment, folder, "--out", tmp_path / "local", "--model", bundle)
    _, said = alone.communicate(timeout=200)
    assert alone.returncode == 0, said.decode()

    out = tmp_path / "ray"
    driver = score(
        environment | {"PACKSHOT__SCORING__RAY_ADDRESS": cluster.address},
        *(folder, "--out", out, "--model", bundle, "--engine", "ray"),
    )
    try:

        def in_the_middle() -> bool:
            assert driver.poll() is None, driver.communicate()[1].decode()
            return len(list((out / ".shards").glob("*.parquet"))) >= 5

        wait_for("five shards", in_the_middle)
        at_work = [" ".join(each.cmdline()) for each in raylet(cluster.second).children(recursive=True)]
        assert any("ScoreShard" in line for line in at_work), "the second node scores too"
        kill_node(cluster.second)
        assert len(list((out / ".shards").glob("*.parquet"))) < IMAGES // 8, "this was to be the middle"
        printed, said = driver.communicate(timeout=240)
    finally:
        driver.send_signal(signal.SIGKILL)
    assert driver.returncode == 0, said.decode()
    assert len(printed.decode().splitlines()) == 1, "standard output is for the result"

    found, expected = rows(out), rows(tmp_path / "local")
    assert found.path.tolist() == expected.path.tolist() and found.path.is_unique and len(found) == IMAGES + 1
    assert found.decision.tolist() == expected.decision.tolist() and found.decision.nunique() > 1
    for name in (*SCORES, *STATISTICS, "quality_after", "style_confidence"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
    names = {path.relative_to(out).as_posix() for path in (out / "enhanced").rglob("*.*")}
    assert names == set(expected.enhanced_path.dropna()) and names


def test_without_a_cluster_it_says_so_soon(tmp_path: Path, environment: dict[str, str]) -> None:
    folder, bundle = make_batch(tmp_path / "in", 2), save_small_bundle(tmp_path / "bundle", small_architecture())
    nobody = {"PACKSHOT__SCORING__RAY_ADDRESS": "127.0.0.1:1"}
    driver = score(environment | nobody, *(folder, "--out", tmp_path / "out", "--model", bundle, "--engine", "ray"))
    _, said = driver.communicate(timeout=100)
    assert driver.returncode == 69 and b"no Ray cluster answers at 127.0.0.1:1" in said
    assert b"ray start --head" in said and b"Traceback" not in said
