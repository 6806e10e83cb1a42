"""Peak memory of scoring pictures of the most megapixels that are allowed, over that of the loaded model.

    python benchmarks/decode_memory.py [--pictures 9] [--megapixels 64]

JPEG, transparent WebP and PNG take turns; their files are small. They are scored in a process of its own by a real,
small network, and the memory of that process and of the workers that decode for it is read as often as the system
says it: the sum of their proportional shares (PSS), in which a page that several map counts once.

Printed: memory of the process with the loaded model that has judged one small picture, and the highest above it. Exit
code 1 where a picture is not judged, or where that is more than LIMIT.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from packshot.progress import say

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests/helpers"))

MIB = 2**20
LIMIT = 1024
"""MiB above the model."""
SUFFIXES = (".jpg", ".webp", ".png")
WRITTEN: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 70},
    ".webp": {"lossless": True, "quality": 0, "method": 0},
    ".png": {"compress_level": 1},
}


class Watch:
    """The highest sum of PSS of this process and its children while it is entered, in MiB."""

    def __init__(self) -> None:
        self.highest = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self.highest = max(self.highest, pss())


def pss() -> float:
    """Of this process and its children, MiB."""
    processes = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
    return sum(map(_pss_of, processes)) / 1024


def _pss_of(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def make_picture(path: Path, megapixels: float, seed: int) -> None:
    """A square picture of large soft patches, with a soft edge where its format has transparency."""
    side = int((megapixels * 1_000_000) ** 0.5)
    random = np.random.default_rng(seed)
    channels = 4 if path.suffix == ".webp" else 3
    patches = random.integers(0, 256, (side // 500, side // 500, channels), dtype=np.uint8)
    Image.fromarray(patches).resize((side, side), Image.Resampling.NEAREST).save(path, **WRITTEN[path.suffix])


def measure(folder: Path, out: Path, bundle: Path) -> dict[str, Any]:
    """Score the pictures of a folder in this process."""
    from packshot.bundle import Judge
    from packshot.config import load_settings
    from packshot.registry.lineage import Lineage
    from packshot.scoring.batch import score
    from packshot.scoring.judging import Scorer

    judge = Judge.load(bundle, "cpu", 1)
    judge.judge([np.zeros((533, 400, 3), np.uint8)])
    scorer = Scorer(lambda: judge, Lineage("packshot", 1, None, None, None, None), "d" * 64)
    settings = load_settings(PROJECT / "params.yaml")
    model, begun = pss(), time.monotonic()
    with Watch() as watch:
        report = score(settings, folder, out, scorer=scorer)
    seconds = time.monotonic() - begun
    return {"errors": report.errors, "model": model, "above": watch.highest - model, "seconds": seconds}


def main() -> None:
    """Make the pictures, score them in another process, print what that took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=9)
    parser.add_argument("--megapixels", type=float, default=64.0)
    parser.add_argument("--suffixes", default=",".join(SUFFIXES), help="kinds of files that take turns")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        root = given.measure
        print(json.dumps(measure(root / "pictures", root / "out", root / "bundle")))
        return
    from small_network import save_small_bundle, small_architecture

    with tempfile.TemporaryDirectory(prefix="packshot-decoding-") as scratch:
        root = Path(scratch)
        save_small_bundle(root / "bundle", small_architecture())
        (root / "pictures").mkdir()
        kinds = given.suffixes.split(",")
        for number in range(given.pictures):
            make_picture(root / f"pictures/{number}{kinds[number % len(kinds)]}", given.megapixels, number)
        command = [sys.executable, __file__, "--measure", str(root)]
        inherited = {"PYTHONPATH": str(PROJECT / "src"), "OMP_NUM_THREADS": "1", "PACKSHOT_HOME": str(root / "home")}
        done = subprocess.run(command, env=os.environ | inherited, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
    say(
        f"{given.pictures} pictures of {given.megapixels:g} MP in {found['seconds']:.0f} s, {found['errors']} not "
        f"judged: model {found['model']:.0f} MiB, peak above it {found['above']:.0f} MiB"
    )
    sys.exit(1 if found["errors"] or found["above"] > LIMIT else 0)


if __name__ == "__main__":
    main()
