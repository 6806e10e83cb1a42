"""What the benchmarks of the judge share: their options, the pictures they draw, and the scores of these."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from packshot.bundle import Judge
from packshot.catalog.image import BadImage, ImageLimits, decode
from packshot.config import load_settings
from packshot.progress import track
from packshot.registry.models import STARTER, bundle_path

Pixels = npt.NDArray[np.uint8]
BATCH = 16
ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}


def options(description: str, count: int) -> argparse.ArgumentParser:
    """A parser of --bundle, --images, --count and --seed; `description` is the script's docstring."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--bundle", type=bundle, default=STARTER, help="folder, version or alias of the model (default starter)"
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--count", type=int, default=count, help=f"pictures at most (default {count})")
    parser.add_argument("--seed", type=int, default=0, help="which pictures (default 0)")
    return parser


def bundle(name: str) -> Path:
    """The folder of a bundle by its path, version or alias. Raises NoSuchModel."""
    return bundle_path(load_settings(), name)[0]


def pictures(folder: Path, seed: int, count: int | None = None) -> list[Pixels]:
    """Readable pictures below `folder` in an order drawn by seed; at most `count`."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    limits = ImageLimits.from_settings(load_settings().validation)
    found: list[Pixels] = []
    for place in np.random.default_rng(seed).permutation(len(files)):
        if len(found) == count:
            break
        try:
            found.append(decode(files[place], limits))
        except BadImage as error:
            print(f"left out: {error}")
    return found


def judged(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[Judge, list[Pixels]]:
    """The judge and the pictures that the options name; ends the program where there is no picture."""
    images = pictures(given.images, given.seed, given.count)
    if not images:
        parser.error(f"no readable picture below {given.images}")
    return Judge.load(given.bundle), images


def scores(judge: Judge, images: Sequence[Pixels], what: str, batch: int = BATCH) -> npt.NDArray[np.float64]:
    """Overall score of each picture, judged `batch` at a time."""
    starts = track(range(0, len(images), batch), what, total=-(-len(images) // batch), unit="batches")
    return np.array([seen.quality for start in starts for seen in judge.judge(images[start : start + batch])])
