"""How steady the judge is: the same picture smaller, in another lossless format, alone and among others.

    python benchmarks/judge_stability.py --bundle models/packshot --images IMAGES/clothing [--count 200]

Printed: how far the overall score moves when a picture is resized by 0.9 (median and 90th percentile, in points of
100), when it is written as PNG and as lossless WebP and read again, and when it is judged alone instead of among
fifteen others; the last two must be 0.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

from packshot.bundle import Judge
from packshot.catalog.image import BadImage, ImageLimits, decode
from packshot.config import load_settings
from packshot.progress import track

Pixels = npt.NDArray[np.uint8]
BATCH = 16
SHRINK = 0.9
ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}


def pictures(folder: Path, count: int, seed: int) -> list[Pixels]:
    """`count` readable pictures below `folder`, drawn by seed."""
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


def smaller(image: Pixels) -> Pixels:
    """The picture at 0.9 of its size, by area averaging."""
    size = (max(1, round(image.shape[1] * SHRINK)), max(1, round(image.shape[0] * SHRINK)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def through(image: Pixels, form: str) -> Pixels:
    """The picture written in a lossless format and read again."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **({"lossless": True} if form == "WEBP" else {}))
    return np.asarray(Image.open(buffer).convert("RGB"))


def scores(judge: Judge, images: list[Pixels], batch: int, what: str) -> npt.NDArray[np.float64]:
    """Overall score of each picture, judged `batch` at a time."""
    starts = track(range(0, len(images), batch), what, total=-(-len(images) // batch), unit="batches")
    return np.array([seen.quality for start in starts for seen in judge.judge(images[start : start + batch])])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--count", type=int, default=200, help="pictures to judge (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="which pictures (default 0)")
    given = parser.parse_args()
    judge = Judge.load(given.bundle)
    images = pictures(given.images, given.count, given.seed)
    if not images:
        parser.error(f"no readable picture below {given.images}")
    before = scores(judge, images, BATCH, "as they are")
    table = Table("change", "median", "90th percentile", "largest", title=f"points of 100, n = {len(images)}")
    for name, changed, batch in (
        (f"resized by {SHRINK}", [smaller(image) for image in images], BATCH),
        ("written as PNG", [through(image, "PNG") for image in images], BATCH),
        ("written as lossless WebP", [through(image, "WEBP") for image in images], BATCH),
        ("judged alone", images, 1),
    ):
        moved = 100 * np.abs(scores(judge, changed, batch, name) - before)
        table.add_row(name, *(f"{value:.3f}" for value in (np.median(moved), np.quantile(moved, 0.9), moved.max())))
    Console().print(table)


if __name__ == "__main__":
    main()
