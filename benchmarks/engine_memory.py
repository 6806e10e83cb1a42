"""Peak memory of scoring, over that of the loaded model, for batches of different sizes.

    python benchmarks/engine_memory.py [--counts 1000,100000]

Each batch is scored in a process of its own. Its files are hard links to a few hundred small pictures, spread over
folders, with a catalogue that has a row for each. The judge is a real, small network with real judgements and enhanced
pictures; equal pictures are judged once, since the engine and not the network is what is measured. Everything else is
done for every file: decoding, statistics, decisions, enhanced images, shards, merging. One picture shows text, so that
the network that reads it is in memory, as it is in a shop's batches.

Printed: resident memory of the loaded model, the highest above it while the batch was scored, time and rate. Exit
code 1 where that is more than LIMIT, or more than ALLOWED_GROWTH higher for the largest batch than for the smallest.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from packshot.progress import say

if TYPE_CHECKING:
    from packshot.bundle import Judge, Judgement

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests/helpers"))

MIB = 2**20
LIMIT = 1024
"""MiB above the model."""
ALLOWED_GROWTH = 128
"""MiB from the smallest to the largest batch."""
DIFFERENT = 300
A_FOLDER = 1000
TRIED = 0.1
"""Share of pictures that are not accepted as they are, so that enhancing is tried."""
RULES = {
    "reject_below": 0.0,
    "review_width": 1.0,
    "min_gain": 0.0,
    "max_colour_shift": 100.0,
    "max_enhanced_shift": 1.0,
    "max_attribute_fall": 1.0,
}
"""Rules by which an untrained network's enhanced pictures are kept where its score does not fall."""


class Remembering:
    """A judge that judges and enhances equal pictures once."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._judged: dict[bytes, Judgement] = {}
        self._enhanced: dict[bytes, np.ndarray] = {}

    def judge(self, images: Sequence[np.ndarray], texts: Sequence[str | None] | None = None) -> list[Judgement]:
        """As the judge does, text left out."""
        del texts
        for image in images:
            if image.tobytes() not in self._judged:
                self._judged[image.tobytes()] = self._judge.judge([image])[0]
        return [self._judged[image.tobytes()] for image in images]

    def enhance(self, image: np.ndarray) -> np.ndarray:
        """As the judge does."""
        if image.tobytes() not in self._enhanced:
            self._enhanced[image.tobytes()] = self._judge.enhance(image)
        return self._enhanced[image.tobytes()]


def make_batch(folder: Path, count: int, suffix: str, make: Callable[[int, Path], object]) -> None:
    """`count` pictures, each made by `make` of its number and place, in folders of A_FOLDER, and a catalogue."""
    folder.mkdir()
    with (folder / "catalog.csv").open("w", newline="", encoding="utf-8") as handle:
        catalog = csv.writer(handle)
        catalog.writerow(["path", "sku", "title", "sender", "category"])
        for number in range(count):
            path = folder / f"{number // A_FOLDER:05d}" / f"item{number:08d}{suffix}"
            path.parent.mkdir(exist_ok=True)
            make(number, path)
            row = [path.relative_to(folder), f"sku{number}", f"Item {number}", f"sender{number % 97}", "Lamp"]
            catalog.writerow(row)


def make_pictures(folder: Path) -> list[Path]:
    """DIFFERENT pictures of 64 x 48, but for the first: a product beside a line of text, for which the reader of text
    is loaded."""
    random, found = np.random.default_rng(17), []
    folder.mkdir()
    for number in range(DIFFERENT):
        if not number:
            found.append(folder / "text.png")
            Image.fromarray(with_text()).save(found[-1])
            continue
        small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        found.append(folder / f"{number}.png")
        Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC).save(found[-1])
    return found


def with_text() -> np.ndarray:
    """500 x 500 x 3: a product on white with letters laid over."""
    page = np.full((500, 500, 3), 255, np.uint8)
    cv2.circle(page, (250, 280), 180, (160, 70, 40), -1, cv2.LINE_AA)
    cv2.putText(page, "SALE 50 % OFF TODAY", (40, 60), cv2.FONT_HERSHEY_DUPLEX, 1.1, (30, 30, 30), 2, cv2.LINE_AA)
    return page


def resident(field: str) -> float:
    """VmRSS or VmHWM of this process, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def measure(folder: Path, out: Path, bundle: Path, pictures: Sequence[Path]) -> dict[str, Any]:
    """Score a batch in this process, once the judge has seen every picture."""
    from packshot.bundle import Judge
    from packshot.config import load_settings
    from packshot.registry.lineage import Lineage
    from packshot.scoring.batch import score
    from packshot.scoring.judging import Scorer

    judge, qualities = Remembering(Judge.load(bundle, "cpu", 1)), []
    for picture in pictures:
        with Image.open(picture) as opened:
            image = np.array(opened.convert("RGB"))
        qualities.append(judge.judge([image, judge.enhance(image)])[0].quality)
    rules = RULES | {"accept_at": float(np.quantile(qualities, TRIED))}
    loaded = load_settings(PROJECT / "params.yaml")
    settings = loaded.model_copy(update={"scoring": loaded.scoring.model_copy(update=rules)})
    model = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest begins anew
    scorer = Scorer(lambda: judge, Lineage("packshot", 1, None, None, None, None), "d" * 64)
    begun = time.monotonic()
    report = score(settings, folder, out, scorer=scorer)
    seconds = time.monotonic() - begun
    enhanced = report.decisions.get("enhance", 0)
    return {
        "rows": report.rows,
        "enhanced": enhanced,
        "model": model,
        "above": resident("VmHWM") - model,
        "seconds": seconds,
    }


def in_a_process(root: Path, count: int, pictures: Sequence[Path]) -> dict[str, Any]:
    """`measure` a batch of `count` files in a process of its own."""
    make_batch(root / str(count), count, ".png", lambda number, path: os.link(pictures[number % len(pictures)], path))
    command = [sys.executable, __file__, "--measure", str(root / str(count))]
    inherited = {"PYTHONPATH": str(PROJECT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | inherited, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure each count, print, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="1000,100000", help="images in each batch, separated by commas")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        root = given.measure.parent
        pictures = sorted((root / "pictures").iterdir())
        print(json.dumps(measure(given.measure, root / f"{given.measure.name}-out", root / "bundle", pictures)))
        return
    from small_network import save_small_bundle, small_architecture

    table = Table("images", "enhanced", "model, MiB", "peak above it, MiB", "s", "images/s")
    above = {}
    with tempfile.TemporaryDirectory(prefix="packshot-memory-") as scratch:
        root = Path(scratch)
        save_small_bundle(root / "bundle", small_architecture())
        pictures = make_pictures(root / "pictures")
        for count in sorted(int(each) for each in given.counts.split(",")):
            found = in_a_process(root, count, pictures)
            assert found["rows"] == count
            above[count] = found["above"]
            figures = (found["model"], found["above"], found["seconds"], count / found["seconds"])
            table.add_row(f"{count:,}", f"{found['enhanced']:,}", *(f"{figure:,.0f}" for figure in figures))
    Console().print(table)
    growth = above[max(above)] - above[min(above)]
    say(f"the largest batch needs {growth:+.0f} MiB beside the smallest")
    sys.exit(1 if max(above.values()) > LIMIT or growth > ALLOWED_GROWTH else 0)


if __name__ == "__main__":
    main()
