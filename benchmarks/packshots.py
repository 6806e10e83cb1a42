"""Is a plain white ground a fault, or one out of focus? The same product on white, on busy grounds, on blurred ones.

    python benchmarks/packshots.py --bundle models/packshot --images IMAGES/furniture --grounds IMAGES/biq2021

Takes pictures of which a plain white ground covers 20 % to 90 %, puts parts of other photographs in place of the ground
with a soft edge, sharp and as a lens with a shallow depth of field would show them, and prints how often what is no
fault scores at least as high, and by how much.
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
OUT_OF_FOCUS = 0.015
"""Deviation of the blur of a ground out of focus, as a share of the picture's longer side."""


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


def out_of_focus(ground: Pixels) -> Pixels:
    """`ground` as it looks far behind the product."""
    return np.asarray(cv2.GaussianBlur(ground, (0, 0), OUT_OF_FOCUS * max(ground.shape[:2])), dtype=np.uint8)


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
    places = [(image, ground, grounds.pop()) for image, ground in found for _ in range(GROUNDS)]
    white = np.repeat(scores(judge, [image for image, _ in found], "packshots"), GROUNDS)
    busy = scores(judge, [on_ground(*place) for place in places], "on busy grounds")
    blurred = [on_ground(image, ground, out_of_focus(other)) for image, ground, other in places]
    shallow = scores(judge, blurred, "on blurred grounds")
    table = Table(
        "", "at least as high", "median lead, points", "10 % below", title=f"{len(found)} packshots, n = {len(places)}"
    )
    for what, lead in (
        ("white ground against busy", white - busy),
        ("ground out of focus against busy", shallow - busy),
    ):
        told = (f"{(lead >= 0).mean():.1%}", f"{100 * np.median(lead):+.2f}", f"{100 * np.quantile(lead, 0.1):+.2f}")
        table.add_row(what, *told)
    Console().print(table)


if __name__ == "__main__":
    main()
