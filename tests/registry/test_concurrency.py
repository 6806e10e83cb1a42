"""Commands at the same time, as processes of their own on one ledger, one MLflow store and one DVC cache."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from skilled_models import Shop

from packshot.config import Settings, dump_settings, load_settings
from packshot.files import write_text
from packshot.home import Home
from packshot.registry.alias_check import alias_version
from packshot.registry.ledger import Ledger
from packshot.revision import data_rev
from packshot.workspace import catalog_workspace

PROJECT = Path(__file__).resolve().parents[2]
BUSY = 75
STAGES = """
stages:
  collect: {cmd: "mkdir -p data/raw && cp data/sources.yaml data/raw/a", deps: [data/sources.yaml], outs: [data/raw]}
  validate: {cmd: "mkdir -p data/valid && cp data/raw/a data/valid/a", deps: [data/raw], outs: [data/valid]}
  split:
    cmd: "mkdir -p data/splits && cp data/valid/a data/splits/manifest.parquet"
    deps: [data/valid]
    outs: [data/splits/manifest.parquet]
  features: {cmd: "cp data/splits/manifest.parquet data/features", deps: [data/splits/manifest.parquet],
             outs: [data/features]}
  train:
    cmd: "echo began >> $MEETING/$(basename $PWD) && timeout 120 sh -c 'until [ -e $MEETING/go ]; do sleep 0.1; done'
      && mkdir -p models && cp params.yaml models/packshot"
    deps: [data/features]
    params: [training]
    outs: [models/packshot]
  evaluate: {cmd: "mkdir -p reports && cp models/packshot reports/all", deps: [models/packshot], outs: [reports/all]}
"""
"""The stages by their real names; training begins, says so, and waits for `go`."""


CUT_SHORT = """
import os, time
from pathlib import Path
from packshot import cli
from packshot.registry import promote
from skilled_models import scored

def measured(*_):
    meeting = Path(os.environ["MEETING"])
    (meeting / f"promotion-{os.getpid()}").touch()
    while not (meeting / "go").exists():
        time.sleep(0.1)
    return {"serving/latency_ms": 100.0}

promote.score_heldout_once, promote.measure = scored, measured
cli.main()
"""
"""`packshot` with the scoring of pictures cut short: it says that it has begun, and waits for `go`."""


class Command:
    """`packshot` (or `program`) in a session of its own, with these variables."""

    def __init__(self, *arguments: str, program: str = "from packshot.cli import main; main()", **environment: str):
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self) -> tuple[int, str]:
        """Exit code, and all that was said."""
        said, _ = self._process.communicate(timeout=240)
        return self._process.returncode, said

    def kill(self) -> None:
        """SIGKILL to it and its children."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def _agree(settings: Settings) -> list[int | None]:
    """The champions in order, after checking that the alias is at the last and each move began where the last ended."""
    ledger = Ledger.from_environment()
    name = settings.registry.model_name
    assert ledger.state(name).pending is None
    moves = [row for row in ledger.history(name) if row["kind"] in ("committed", "rollback_committed")]
    ends = [row["to_version"] for row in moves]
    assert [row["from_version"] for row in moves] == [None, *ends[:-1]]
    assert alias_version(settings, "champion") == ends[-1]
    return ends


# --- promotions and rollbacks -----------------------------------------------------------------------


def test_while_one_promotes_another_promotion_and_a_rollback_say_so_and_move_nothing(
    shop: Shop, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.champions(0.7, 0.8)
    for skill in (0.9, 0.95):
        shop.register(skill)
    profiles = load_settings(PROJECT / "params.yaml").profiles | shop.settings.profiles
    write_text(tmp_path / "params.yaml", dump_settings(shop.settings.model_copy(update={"profiles": profiles})))
    home.workspaces.mkdir()
    (home.workspaces / "shop").symlink_to(shop.workspace)
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    monkeypatch.setenv("PACKSHOT_PARAMS", str(tmp_path / "params.yaml"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("MEETING", str(meeting))

    first = _promotion(3)
    _began(meeting, 1)
    for command in (_promotion(4), Command("registry", "rollback")):
        code, said = command.end()
        assert code == BUSY and "another registration, promotion or rollback is at work" in said, said
    assert alias_version(shop.settings, "champion") == 2
    (meeting / "go").touch()
    code, said = first.end()
    assert code == 0, said
    assert _agree(shop.settings) == [1, 2, 3]
    assert Command("registry", "rollback").end()[0] == 0
    assert _agree(shop.settings) == [1, 2, 3, 2]


def _promotion(challenger: int) -> Command:
    return Command("promote", "--challenger", str(challenger), "--workspace", "shop", program=CUT_SHORT)


# --- retraining -------------------------------------------------------------------------------------


@pytest.fixture
def meeting(shop: Shop, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where trainings say that they began, and wait. Two versions have been champion; the data is published."""
    project, meeting = tmp_path / "project", tmp_path / "meeting"
    (project / "src" / "packshot").mkdir(parents=True)
    (project / "data").mkdir()
    meeting.mkdir()
    for name, content in (("dvc.yaml", STAGES), ("requirements.lock", ""), ("data/sources.yaml", "version: 1\n")):
        (project / name).write_text(content)
    shutil.copyfile(PROJECT / "params.yaml", project / "params.yaml")
    monkeypatch.setenv("PACKSHOT_PROJECT", str(project))
    monkeypatch.setenv("PACKSHOT_PARAMS", str(project / "params.yaml"))
    monkeypatch.setenv("MEETING", str(meeting))
    shop.champions(0.8, 0.9)
    catalog = catalog_workspace(shop.settings)
    catalog.repro("collect", "validate", "split")
    catalog.push()
    with catalog.alone():
        catalog.commit(f"data {data_rev(catalog.root)}")
    yield meeting
    (meeting / "go").touch()


def _began(meeting: Path, count: int) -> None:
    until = time.monotonic() + 120
    while len(list(meeting.iterdir())) < count:
        assert time.monotonic() < until, f"{count} should have begun by now: {list(meeting.iterdir())}"
        time.sleep(0.1)


def test_trainings_of_other_keys_and_a_rollback_go_on_beside_a_training_that_its_own_key_waits_for(
    meeting: Path, shop: Shop
) -> None:
    first, other = Command("retrain"), Command("retrain", PACKSHOT__TRAINING__SEED="18")
    _began(meeting, 2)
    assert Command("registry", "rollback").end()[0] == 0
    assert _agree(shop.settings) == [1, 2, 1]
    code, said = Command("retrain").end()
    assert code == BUSY and "another process is training the same data, code and parameters" in said
    first.kill()
    again = Command("retrain")
    (meeting / "go").touch()
    for command in (other, again):
        code, said = command.end()
        assert code == 0, said
    catalog = Home.from_environment().workspaces / "catalog"
    tags = subprocess.run(["git", "tag", "--list", "model-*"], cwd=catalog, capture_output=True, text=True, check=True)
    assert len(tags.stdout.split()) == 2
    assert sorted(path.read_text().count("began") for path in meeting.glob("train-*")) == [1, 2]
