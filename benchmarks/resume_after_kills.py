"""Kill training at random moments, start it again, and compare with a training that was never broken.

    python benchmarks/resume_after_kills.py [--kills 20] [--seed 17]

What is killed is `packshot features` and then `packshot train`, all their processes at once with SIGKILL, on generated
pictures, with an MLflow store of its own. Three in four kills come at a random time of a phase, the phases in turn;
the others are aimed at moments that last milliseconds: while a file of features, a checkpoint or the bundle is being
written, and after the MLflow run was closed. Then the same commands run to their end.

Printed: when it was killed and in what phase, whether one MLflow run holds everything, and whether its metrics
(name, step, value), its parameters and every byte of the bundle are those of the unbroken training. Exit code 1 where
any is not.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import math
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from packshot.config import Settings, dump_settings
from packshot.files import write_text
from packshot.home import Home
from packshot.progress import say

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests/helpers"))

from small_workspace import make_settings, make_workspace  # noqa: E402

COMMANDS = ("features", "train")
COST = "cost/"
EPOCHS = 8
AIMED_SHARE = 4
"""One kill in so many is aimed at a moment."""
TOO_LONG_S = 600.0
PHASES = (
    (r"^bench: features", "features: backbone"),
    (r"^features: \d+ images", "features: degraded pairs"),
    (r"^degraded pairs: \d+ images", "features: writing and ending"),
    (r"^bench: train", "train: starting"),
    (r"MLflow run ", "train: reading features"),
    (r"^train: closed-form start", "train: closed form"),
    (r"^train: (?:start|epoch|going on)", "train: epochs"),
    (r"^train: kept the state", "train: share of tones"),
    (r"^train: tones", "train: heads and calibration"),
    (r"^calibration: fold", "train: calibration, bundle"),
    (r'^\{"bundle"', "train: ending"),
)
"""The line that begins a phase, and its name."""


@dataclass(frozen=True)
class Place:
    """A state folder with one workspace in it."""

    root: Path

    @property
    def home(self) -> Home:
        """PACKSHOT_HOME of the commands."""
        return Home(self.root / "home")

    @property
    def workspace(self) -> Path:
        """Where the commands run."""
        return self.root / "workspace"

    def copy(self, root: Path) -> Place:
        """The same state elsewhere."""
        shutil.copytree(self.root, root)
        return Place(root)


@dataclass(frozen=True)
class Ending:
    """What a training left: its MLflow runs by id, and the bundle's files by name."""

    runs: dict[str, tuple[str, dict[str, str], list[tuple[str, int, float]]]]
    """Status, parameters, and (metric, step, value) in order; not what it cost, which a kill makes more."""
    bundle: dict[str, str]


@dataclass(frozen=True)
class Killed:
    """When and where a training was killed, and what came of it."""

    seconds: float
    phase: str
    one_run: bool
    same_metrics: bool
    same_bundle: bool

    @property
    def good(self) -> bool:
        """Nothing tells it from a training that was never broken."""
        return self.one_run and self.same_metrics and self.same_bundle


Moment = Callable[[Place], bool]


def _unfinished(pattern: str) -> Moment:
    return lambda place: next(place.root.glob(pattern), None) is not None


def _closed(place: Place) -> bool:
    with closing(sqlite3.connect(place.home.mlflow_db, timeout=5)) as database:
        return database.execute("SELECT 1 FROM runs WHERE status = 'FINISHED'").fetchone() is not None


MOMENTS: dict[str, Moment] = {
    "writing a checkpoint": _unfinished("home/checkpoints/*/.state.*"),
    "writing the bundle": _unfinished("workspace/models/.packshot.*"),
    "MLflow run closed": _closed,
    "writing features": _unfinished("workspace/data/features/.*"),
}


class Running:
    """The commands, one after another, in a session of their own; what they say is kept."""

    def __init__(self, place: Place, commands: Sequence[str]) -> None:
        steps = [f'echo "bench: {name}" && "$PYTHON" -m packshot.cli {name}' for name in commands]
        self.begun = time.monotonic()
        self.lines: list[str] = []
        self.phases: dict[str, float] = {}
        """When each phase began, s after the start, in order."""
        self._process = subprocess.Popen(
            ["sh", "-c", " && ".join(steps)],
            cwd=place.workspace,
            env=_environment(place),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)
            for pattern, name in PHASES:
                if re.search(pattern, line):
                    self.phases.setdefault(name, self.seconds)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.begun

    @property
    def alive(self) -> bool:
        """Whether the commands are at work."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL to every process of the commands."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()

    def end(self) -> None:
        """Wait for the end. Raises RuntimeError where a command fails or takes too long."""
        try:
            code = self._process.wait(TOO_LONG_S)
        except subprocess.TimeoutExpired:
            self.kill()
            code = -signal.SIGKILL
        self._reader.join()
        if code != 0:
            raise RuntimeError(f"ended with {code}:\n{''.join(self.lines[-30:])}")


def _environment(place: Place) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PACKSHOT", "MLFLOW"))}
    return inherited | {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(PROJECT / "src"),
        "PACKSHOT_HOME": str(place.home.root),
        "OMP_NUM_THREADS": "1",
    }


def settings_of(**recipe: object) -> Settings:
    """Small settings, with these values of the recipe."""
    raw = make_settings().model_dump(mode="json")
    raw["training"]["recipes"]["tiny"] |= recipe
    return Settings.model_validate(raw)


def prepared(root: Path, settings: Settings) -> Place:
    """Generated pictures, settings beside them, and an empty MLflow store."""
    place = Place(root)
    make_workspace(place.workspace)
    write_text(place.workspace / "params.yaml", dump_settings(settings))
    asked = "from packshot.registry.tracking import client; from packshot.config import load_settings; "
    asked += "client(load_settings()).search_experiments()"
    command = [sys.executable, "-c", asked]
    subprocess.run(command, cwd=place.workspace, env=_environment(place), check=True, capture_output=True)
    return place


def ending(place: Place) -> Ending:
    """Read what is there now."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.home.mlflow_db}")
    runs = {}
    experiments = [each.experiment_id for each in client.search_experiments()]
    for run in client.search_runs(experiments):
        names = sorted(name for name in run.data.metrics if not name.startswith(COST))
        history = [client.get_metric_history(run.info.run_id, name) for name in names]
        points = [(point.key, point.step, point.value) for name in history for point in name]
        runs[run.info.run_id] = (run.info.status, run.data.params, points)
    bundle = place.workspace / "models/packshot"
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    return Ending(runs, {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})


def unbroken(place: Place, commands: Sequence[str] = COMMANDS) -> tuple[Ending, dict[str, float]]:
    """A training that is let be, and how many seconds each of its phases took."""
    running = Running(place, commands)
    running.end()
    begun = [*running.phases.values(), running.seconds]
    return ending(place), dict(zip(running.phases, np.diff(begun).tolist(), strict=True))


def killed_after(place: Place, phase: str, seconds: float, commands: Sequence[str] = COMMANDS) -> tuple[float, str]:
    """Kill so many seconds after `phase` has begun; returns when, and in what phase it was."""
    running = Running(place, commands)
    while running.alive and running.seconds < running.phases.get(phase, math.inf) + seconds:
        time.sleep(0.002)
    return _kill(running)


def killed_in(place: Place, moment: str, skip: int = 0, commands: Sequence[str] = COMMANDS) -> tuple[float, str]:
    """Kill as soon as `moment` has come, the first `skip` times left out; returns when, and in what phase it was."""
    running, before, seen = Running(place, commands), False, 0
    while running.alive and seen <= skip:
        now = MOMENTS[moment](place)
        seen += now and not before
        before = now
    seconds, phase = _kill(running)
    return seconds, moment if MOMENTS[moment](place) else phase


def _kill(running: Running) -> tuple[float, str]:
    seconds = running.seconds
    if not running.alive:
        running.end()
        return seconds, "over"
    running.kill()
    return seconds, list(running.phases)[-1]


def gone_on(place: Place, expected: Ending, at: tuple[float, str], commands: Sequence[str] = COMMANDS) -> Killed:
    """Start again what was killed, and compare its end with `expected`."""
    earlier = set(ending(place).runs)
    Running(place, commands).end()
    found = ending(place)
    one = len(found.runs) == 1 and earlier <= set(found.runs)
    return Killed(*at, one, list(found.runs.values()) == list(expected.runs.values()), found.bundle == expected.bundle)


def _kills(count: int, seed: int, phases: Mapping[str, float]) -> list[Callable[[Place], tuple[float, str]]]:
    """How each training is killed: within the phases in turn, then in the moments in turn."""
    random = np.random.default_rng(seed)
    aimed = count // AIMED_SHARE
    found: list[Callable[[Place], tuple[float, str]]] = []
    for phase in itertools.islice(itertools.cycle(phases), count - aimed):
        found.append(partial(killed_after, phase=phase, seconds=float(random.uniform(0, phases[phase]))))
    for moment in itertools.islice(itertools.cycle(MOMENTS), aimed):
        skip = int(random.integers(EPOCHS - 1)) if moment == "writing a checkpoint" else 0
        found.append(partial(killed_in, moment=moment, skip=skip))
    return found


def _shown(found: Sequence[Killed]) -> Table:
    table = Table("killed after, s", "in", "one MLflow run", "same metrics", "same bundle")
    for each in sorted(found, key=lambda killed: killed.seconds):
        said = ("yes" if value else "NO" for value in (each.one_run, each.same_metrics, each.same_bundle))
        table.add_row(f"{each.seconds:.1f}", each.phase, *said)
    table.title = f"{sum(each.good for each in found)} of {len(found)} as if never killed"
    return table


def main() -> None:
    """Kill, go on, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=17)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="packshot-kills-") as scratch:
        root = Path(scratch)
        before = prepared(root / "before", settings_of(epochs=EPOCHS, patience=EPOCHS, enhance_steps=40, folds=5))
        expected, phases = unbroken(before.copy(root / "unbroken"))
        say(f"unbroken, s: {', '.join(f'{name} {seconds:.1f}' for name, seconds in phases.items())}")
        found = []
        for number, kill in enumerate(_kills(given.kills, given.seed, phases)):
            place = before.copy(root / str(number))
            found.append(gone_on(place, expected, kill(place)))
            say(f"{number + 1}: {found[-1]}")
            shutil.rmtree(place.root)
    Console().print(_shown(found))
    sys.exit(0 if all(each.good for each in found) else 1)


if __name__ == "__main__":
    main()
