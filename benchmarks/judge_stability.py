"""How steady the judge is: the same picture smaller, in another lossless format, alone and among others.

    python benchmarks/judge_stability.py --bundle models/packshot --images IMAGES/clothing [--count 200]

Printed: how far the overall score moves when a picture is resized by 0.9 (median and 90th percentile, in points of
100), when it is written as PNG and as lossless WebP and read again, and when it is judged alone instead of among
fifteen others; the last two must be 0.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from judged_pictures import BATCH, Pixels, judged, options, scores

SHRINK = 0.9


def smaller(image: Pixels) -> Pixels:
    """The picture at 0.9 of its size, by area averaging."""
    size = (max(1, round(image.shape[1] * SHRINK)), max(1, round(image.shape[0] * SHRINK)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def through(image: Pixels, form: str) -> Pixels:
    """The picture written in a lossless format and read again."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **({"lossless": True} if form == "WEBP" else {}))
    return np.asarray(Image.open(buffer).convert("RGB"))


def main() -> None:
    """Measure and print."""
    parser = options(__doc__ or "", 200)
    judge, images = judged(parser, parser.parse_args())
    before = scores(judge, images, "as they are")
    table = Table("change", "median", "90th percentile", "largest", title=f"points of 100, n = {len(images)}")
    for name, changed, batch in (
        (f"resized by {SHRINK}", [smaller(image) for image in images], BATCH),
        ("written as PNG", [through(image, "PNG") for image in images], BATCH),
        ("written as lossless WebP", [through(image, "WEBP") for image in images], BATCH),
        ("judged alone", images, 1),
    ):
        moved = 100 * np.abs(scores(judge, changed, name, batch) - before)
        table.add_row(name, *(f"{value:.3f}" for value in (np.median(moved), np.quantile(moved, 0.9), moved.max())))
    Console().print(table)


if __name__ == "__main__":
    main()
