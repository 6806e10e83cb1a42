"""Kill `packshot score` at random moments, again and again, until it is done, and compare with a run that was let be.

    python benchmarks/engine_kills.py [--kills 50] [--images 48] [--seed 17]

A small untrained network judges and enhances generated pictures, with some broken files among them. A run is killed
with SIGKILL at random moments, of which one in AIMED lies in the merge, and started again, KILLS_A_RUN times at most,
and then let be; the next run follows until so many kills have struck. Processes are forked from one that has imported
everything, so that kills strike work and not imports. Every finished output is compared: all columns but `scored_at`,
every enhanced image byte for byte, and the list of all files. After each kill every enhanced image that is there must
be whole, and `verdicts.parquet`, where it is there, readable. Prints a table of the phases that the kills struck; exit
code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console
from rich.table import Table

import packshot.bundle
import packshot.evaluation.digest
import packshot.ops.pipeline
import packshot.registry.ledger
import packshot.registry.models
import packshot.scoring.batch
import packshot.training.features  # noqa: F401
from packshot.cli import main as main_of_packshot
from packshot.progress import say

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests/helpers"))

from small_network import KEEP_ENHANCED, save_small_bundle, small_architecture  # noqa: E402

TOO_LONG_S = 600.0
LISTED, SCORED = "listing: ", "scoring: "
"""What a run says once it has walked the folder, and once all shards are finished."""
AIMED, ENDING_S = 4, 0.2
"""One kill in so many strikes within so many seconds of the last shard: merging takes no longer."""
KILLS_A_RUN = 6
"""After so many kills a run is let be, so that several runs are compared."""
SETTINGS = {
    "PACKSHOT__SCORING__SHARD_SIZE": "4",
    **KEEP_ENHANCED,
    "PACKSHOT__TRAINING__THREADS": "1",
}


@dataclass(frozen=True)
class Bench:
    """Where things are."""

    root: Path

    @property
    def images(self) -> Path:
        """The batch."""
        return self.root / "images"

    def start(self, out: Path) -> int:
        """`packshot score` in a process of its own; returns its id."""
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            os.setsid()
            log = os.open(self.root / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stderr = os.fdopen(2, "w", buffering=1)
            os.environ |= SETTINGS | {"PACKSHOT_HOME": str(self.root / "home")}
            os.chdir(PROJECT)
            sys.argv = ["packshot", "score", str(self.images), "--out", str(out), "--model", str(self.root / "bundle")]
            main_of_packshot()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def said(self, what: str) -> bool:
        """Whether the run in progress, or the last one, has said this."""
        return what in (self.root / "log").read_text()

    def killed(self, out: Path, seconds: float, since: str = "") -> bool:
        """Score, and kill so many seconds after it has said `since`, or begun; False where it ended before.

        Raises RuntimeError where it fails.
        """
        (self.root / "log").unlink(missing_ok=True)
        (self.root / "log").touch()
        child, until, status = self.start(out), math.inf if since else time.monotonic() + seconds, 0
        while time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            if math.isinf(until) and self.said(since):
                until = time.monotonic() + seconds
            time.sleep(0.001)
        else:
            os.killpg(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return True
        if os.WEXITSTATUS(status):
            raise RuntimeError((self.root / "log").read_text()[-3000:])
        return False

    def finish(self, out: Path) -> float:
        """Score to the end; returns how many seconds it took."""
        begun = time.monotonic()
        if self.killed(out, TOO_LONG_S):
            raise RuntimeError(f"not done after {TOO_LONG_S:.0f} s: {(self.root / 'log').read_text()[-3000:]}")
        return time.monotonic() - begun


def make_images(folder: Path, count: int, seed: int) -> None:
    """Small pictures of several formats, of which one in 25 is cut off, with a catalogue."""
    random = np.random.default_rng(seed)
    lines = ["path,sku,title"]
    for number in range(count):
        name = f"{number % 7}/item{number:04d}.{('jpg', 'png', 'gif', 'webp')[number % 4]}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((96, 72), Image.Resampling.BICUBIC).save(path)
        if number % 25 == 3:
            path.write_bytes(path.read_bytes()[:200])
        lines.append(f"{name},sku{number},Item {number}")
    (folder / "catalog.csv").write_text("\n".join(lines))


def phase(bench: Bench, out: Path) -> str:
    """What a killed run was at, by what it said and left."""
    if not bench.said(LISTED):
        return "starting"
    if bench.said(SCORED):
        return "merging or ending"
    unfinished = any((out / "enhanced").rglob(".*")) or any((out / ".shards").glob(".*"))
    return "scoring, a file half-written" if unfinished else "planning, loading or scoring"


def broken(out: Path) -> list[str]:
    """What a reader would stumble over just after a kill."""
    found = []
    for path in (out / "enhanced").rglob("[!.]*.*"):
        try:
            with Image.open(path) as image:
                image.load()
        except OSError as error:
            found.append(f"{path.name}: {error}")
    verdicts = out / "verdicts.parquet"
    if verdicts.is_file():
        pd.read_parquet(verdicts)
    return found


def differences(out: Path, expected: Path) -> list[str]:
    """How a finished output differs from the expected one."""
    found, wanted = (pd.read_parquet(each / "verdicts.parquet").drop(columns="scored_at") for each in (out, expected))
    said = []
    try:
        pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    except AssertionError as error:
        said.append(f"rows: {error}")
    here, there = (_files(each) for each in (out, expected))
    said += [f"stray: {name}" for name in sorted(here.keys() - there.keys())]
    said += [f"missing: {name}" for name in sorted(there.keys() - here.keys())]
    images = [name for name in here.keys() & there.keys() if name.startswith("enhanced/")]
    said += [f"other bytes: {name}" for name in images if here[name].read_bytes() != there[name].read_bytes()]
    return said


def _files(out: Path) -> dict[str, Path]:
    return {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}


def main() -> None:
    """Kill, start again, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--seed", type=int, default=17)
    given = parser.parse_args()
    random, faults = np.random.default_rng(given.seed), []
    phases: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="packshot-kills-") as scratch:
        bench, expected = Bench(Path(scratch)), Path(scratch) / "unbroken"
        make_images(bench.images, given.images, given.seed)
        save_small_bundle(bench.root / "bundle", small_architecture())
        whole = bench.finish(expected)
        rows = pd.read_parquet(expected / "verdicts.parquet")
        held = f"{len(rows)} rows, {rows.enhanced_path.count()} enhanced, {rows.error.count()} errors"
        say(f"unbroken: {held}, {whole:.1f} s")
        runs = 0
        while phases.total() < given.kills:
            runs += 1
            out, struck, alive = Path(scratch) / f"run{runs}", 0, True
            while alive and struck < KILLS_A_RUN and phases.total() < given.kills:
                if phases.total() % AIMED == 0:
                    alive = bench.killed(out, float(random.uniform(0, ENDING_S)), SCORED)
                else:  # a run that goes on has less to do
                    alive = bench.killed(out, float(random.uniform(0, whole / (1 + struck / 2))))
                if alive:
                    struck += 1
                    phases[phase(bench, out)] += 1
                    faults += broken(out)
            bench.finish(out)
            said = differences(out, expected)
            faults += said
            say(f"run {runs}: {struck} kills, then finished: {said or 'as unbroken'}")
    table = Table("killed while", "kills", title=f"{phases.total()} kills in {runs} runs; {len(faults)} differences")
    for name, count in phases.most_common():
        table.add_row(name, str(count))
    Console().print(table)
    for fault in faults:
        say(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
