"""Is a plain white ground a fault? A packshot against the same product on busy grounds.

    python benchmarks/packshots.py --bundle models/packshot --images IMAGES/furniture --grounds IMAGES/biq2021

Takes pictures of which a plain white ground covers 20 % to 90 %, puts parts of other photographs in place of the ground
with a soft edge, and prints how often the packshot scores at least as high, and by how much.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from judged_pictures import Pixels, options, pictures, scores
from packshot.bundle import Judge
from packshot.model.ground import white_ground

LEAST, MOST = 0.2, 0.9
GROUNDS = 3
"""Busy grounds a packshot is put on."""


def packshots(images: list[Pixels], count: int) -> Iterator[tuple[Pixels, npt.NDArray[np.bool_]]]:
    """Those with a white ground, and where it is; at most `count`."""
    for image in images:
        ground = white_ground(image)
        if count and LEAST <= ground.mean() <= MOST:
            count -= 1
            yield image, ground


def on_ground(image: Pixels, ground: npt.NDArray[np.bool_], other: Pixels) -> Pixels:
    """`image` with `other`, enlarged to cover it, where its ground is."""
    height, width = image.shape[:2]
    scale = max(height / other.shape[0], width / other.shape[1])
    size = (max(width, round(other.shape[1] * scale)), max(height, round(other.shape[0] * scale)))
    cover = cv2.resize(other, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)[:height, :width]
    share = cv2.GaussianBlur(ground.astype(np.float32), (0, 0), 1.0)[..., None]
    return np.asarray(np.rint(share * cover + (1 - share) * image), dtype=np.uint8)


def main() -> None:
    """Measure and print."""
    parser = options(__doc__ or "", 60)
    parser.add_argument("--grounds", type=Path, required=True, help="folder of photographs to serve as grounds")
    given = parser.parse_args()
    found = list(packshots(pictures(given.images, given.seed), given.count))
    grounds = pictures(given.grounds, given.seed, GROUNDS * len(found))
    if not found or len(grounds) < GROUNDS * len(found):
        parser.error(f"{len(found)} packshots and {len(grounds)} grounds are too few")
    judge = Judge.load(given.bundle)
    busy = [on_ground(image, ground, grounds.pop()) for image, ground in found for _ in range(GROUNDS)]
    before = np.repeat(scores(judge, [image for image, _ in found], "packshots"), GROUNDS)
    lead = 100 * (before - scores(judge, busy, "on busy grounds"))
    table = Table(
        "packshot at least as high", "median lead", "10 % below", title=f"{len(found)} packshots, n = {len(lead)}"
    )
    table.add_row(f"{(lead >= 0).mean():.1%}", f"{np.median(lead):+.2f}", f"{np.quantile(lead, 0.1):+.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
