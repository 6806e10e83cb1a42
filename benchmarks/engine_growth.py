"""What a batch costs the engine itself, without the network, for batches of different sizes.

    python benchmarks/engine_growth.py [--counts 1000,10000,100000] [--plot growth.png]

Each batch is planned, scored and merged in a process of its own, beside an empty index of known pictures. Its files are
JPEGs of 64 x 48, no two alike, with a catalogue row for each. The judge answers at once, with vectors of the champion's
sizes that differ for every picture, so that files have the size they have in production; one picture in five is
enhanced. All else is done for every file. So the figures are the engine's own cost, to which decoding of real pictures
and the network are added.

Printed for each step: wall seconds, and CPU milliseconds an image; then the highest memory above that before planning,
and bytes an image of the plan, the shards, the verdicts and the index of known pictures. Where the cost is linear, what
stands under "an image" is the same in every line. `--plot` draws CPU seconds against images, both logarithmic.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from engine_memory import PROJECT, RULES, make_batch, resident
from packshot.files import atomic_path

if TYPE_CHECKING:
    from packshot.bundle import Judgement

STYLE_DIM, EMBEDDING_DIM = 384, 64
ENHANCED_OF = 5
ACCEPT_AT = 0.9
STEPS = ("list", "plan", "score", "merge")


class Instant:
    """A judge that computes nothing; one picture in ENHANCED_OF is poor."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(17)

    def judge(self, images: Sequence[np.ndarray], texts: Sequence[str | None] | None = None) -> list[Judgement]:
        """Poor or good by a pixel, with vectors of their own."""
        del texts
        return [self._one(image) for image in images]

    def enhance(self, image: np.ndarray) -> np.ndarray:
        """A little brighter."""
        return np.minimum(image, 250) + np.uint8(5)

    def _one(self, image: np.ndarray) -> Judgement:
        from packshot.bundle import Judgement

        quality = 0.5 if int(image.sum()) % ENHANCED_OF == 0 else 0.95
        style = self._random.standard_normal(STYLE_DIM, dtype=np.float32)
        embedding = self._random.standard_normal(EMBEDDING_DIM, dtype=np.float32)
        return Judgement(quality, quality, quality, 0.8, 0.8, 0.8, "plain", 0.9, style, embedding)


def different_pictures() -> Callable[[int, Path], None]:
    """Makes JPEGs of which no two are alike, the same ones in each run."""
    random = np.random.default_rng(17)

    def make(number: int, path: Path) -> None:
        small = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        small.resize((64, 48), Image.Resampling.BICUBIC).save(path, quality=90)

    return make


def timed(step: Callable[[], object]) -> dict[str, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.monotonic(), time.process_time()
    step()
    return {"wall": time.monotonic() - wall, "cpu": time.process_time() - cpu}


def measure(folder: Path, out: Path) -> dict[str, Any]:
    """List, plan, score and merge a batch in this process."""
    from packshot.config import load_settings
    from packshot.registry.lineage import Lineage
    from packshot.scoring.batch import merge_batch, plan_batch, score_part
    from packshot.scoring.duplicates import Known
    from packshot.scoring.judging import Scorer
    from packshot.scoring.listing import open_batch
    from packshot.scoring.plan import open_plan

    loaded = load_settings(PROJECT / "params.yaml")
    settings = loaded.model_copy(update={"scoring": loaded.scoring.model_copy(update=RULES | {"accept_at": ACCEPT_AT})})
    judge = Instant()
    judge.judge([np.zeros((8, 8, 3), dtype=np.uint8)])  # what it imports is no cost of the batch
    scorer = Scorer(lambda: judge, Lineage("packshot", 1, None, None, None, None), "d" * 64)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest begins anew
    found: dict[str, Any] = {
        "list": timed(lambda: sum(1 for _ in open_batch(folder, out, None).files())),
        "plan": timed(lambda: plan_batch(settings, folder, out, scorer)),
    }
    shards = range(open_plan(settings, out, scorer).shards)
    found["score"] = timed(lambda: score_part(settings, out, scorer, shards))
    known = out.with_name(f"{out.name}-known.db")
    found["merge"] = timed(lambda: merge_batch(settings, out, scorer, known=Known(known, record=True)))
    plan = out / ".shards/plan.sqlite"
    return found | {
        "above": resident("VmHWM") - before,
        "plan_bytes": plan.stat().st_size,
        "shard_bytes": sum(path.stat().st_size for path in plan.parent.glob("*.parquet")),
        "verdict_bytes": (out / "verdicts.parquet").stat().st_size,
        "known_bytes": known.stat().st_size,
        "enhanced": sum(1 for path in (out / "enhanced").rglob("*.jpg")),
    }


def in_a_process(root: Path, count: int) -> dict[str, Any]:
    """`measure` a batch of `count` files in a process of its own."""
    make_batch(root / str(count), count, ".jpg", different_pictures())
    command = [sys.executable, __file__, "--measure", str(root / str(count))]
    inherited = {"PYTHONPATH": str(PROJECT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | inherited, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def shown(found: Mapping[int, Mapping[str, Any]]) -> Table:
    """The figures, a line for each batch."""
    table = Table("images", *(f"{step}, s" for step in STEPS), *(f"{step}, CPU ms an image" for step in STEPS))
    for name in ("enhanced", "memory, MiB", "plan, B an image", "shards", "verdicts", "known"):
        table.add_column(name)
    for count, of in found.items():
        walls = [f"{of[step]['wall']:,.1f}" for step in STEPS]
        cpus = [f"{1000 * of[step]['cpu'] / count:.3f}" for step in STEPS]
        sizes = [f"{of[name] / count:,.0f}" for name in ("plan_bytes", "shard_bytes", "verdict_bytes", "known_bytes")]
        table.add_row(f"{count:,}", *walls, *cpus, f"{of['enhanced']:,}", f"{of['above']:,.0f}", *sizes)
    return table


def draw(found: Mapping[int, Mapping[str, Any]], target: Path) -> None:
    """CPU seconds of each step against images."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for step in STEPS:
        axes.loglog(list(found), [of[step]["cpu"] for of in found.values()], marker="o", label=step)
    axes.set(xlabel="images", ylabel="CPU seconds")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=120)


def main() -> None:
    """Measure each count, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="1000,10000,100000", help="images in each batch, separated by commas")
    parser.add_argument("--plot", type=Path, help="PNG to draw into")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(measure(given.measure, given.measure.with_name(f"{given.measure.name}-out"))))
        return
    with tempfile.TemporaryDirectory(prefix="packshot-growth-") as scratch:
        counts = sorted(int(each) for each in given.counts.split(","))
        found = {count: in_a_process(Path(scratch), count) for count in counts}
    Console(width=200).print(shown(found))
    if given.plot is not None:
        draw(found, given.plot)


if __name__ == "__main__":
    main()
