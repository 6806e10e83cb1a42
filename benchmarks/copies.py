"""How well copies of a picture are told from variants of a product: precision and recall over planted ones.

    python benchmarks/copies.py --images IMAGES [--count 300] [--seed 1] [--show FOLDER]

Of each picture (furniture, photographs of clothing, groceries and scored photographs of the mirror, in turn) come
COPIES, as shops and their suppliers have them, and VARIANTS, which are other pictures that look alike. All go into one
index of known pictures as one SKU each, and once more without SKUs. Printed for each kind: how many are called a copy
of their picture; then precision and recall, and milliseconds a picture for the look and for the search.
`--show` writes what was told wrongly as pictures side by side. Exit code 1 below precision .99 or recall .95.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from packshot.catalog.image import ImageLimits, decode
from packshot.catalog.same_picture import look_of
from packshot.config import load_settings
from packshot.home import project_root
from packshot.progress import track
from packshot.scoring.duplicates import NOT_KNOWN, Candidate, Worth, known_pictures

Pixels = npt.NDArray[np.uint8]
Random = np.random.Generator
Change = Callable[[Pixels, Random], Pixels]
SETS = ("furniture", "clothing", "grocery", "biq2021")
LEAST_PRECISION, LEAST_RECALL = 0.99, 0.95
LARGEST_CROP = 0.05
"""Share cut off at each side, at most."""
KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
FONT = cv2.FONT_HERSHEY_SIMPLEX
LABEL = 0.06
"""Height of the letters of a label, as a share of the shorter side."""


def coded(image: Pixels, random: Random) -> Pixels:
    """As JPEG of quality 30 to 95, or as WebP."""
    if random.random() < 0.3:
        return _through(image, ".webp", cv2.IMWRITE_WEBP_QUALITY, int(random.integers(40, 96)))
    return _through(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, int(random.integers(30, 96)))


def resized(image: Pixels, random: Random) -> Pixels:
    """To .35 to .9 of its size, by one of four kernels."""
    share = random.uniform(0.35, 0.9)
    kernel = int(random.choice(KERNELS))
    return np.asarray(cv2.resize(image, None, fx=share, fy=share, interpolation=kernel), np.uint8)


def cropped(image: Pixels, random: Random) -> Pixels:
    """Up to LARGEST_CROP off each side."""
    height, width = image.shape[:2]
    top, bottom = (int(share * height) for share in random.uniform(0, LARGEST_CROP, 2))
    left, right = (int(share * width) for share in random.uniform(0, LARGEST_CROP, 2))
    return np.ascontiguousarray(image[top : height - bottom, left : width - right])


def all_three(image: Pixels, random: Random) -> Pixels:
    """Cropped, resized and coded again."""
    return coded(resized(cropped(image, random), random), random)


def recoloured(image: Pixels, random: Random) -> Pixels:
    """What has a colour in another one, 40 to 140 degrees away; what has none is tinted; white stays."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + random.uniform(20, 70)) % 180
    ground = np.clip((hsv[..., 2] - 235) / 15, 0, 1) * np.clip((30 - hsv[..., 1]) / 15, 0, 1)
    hsv[..., 1] = np.where(hsv[..., 1] < 40, hsv[..., 1] + 60 * (1 - ground), hsv[..., 1])
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def brighter(image: Pixels, random: Random) -> Pixels:
    """The product .6 to .8 as bright: another shade of it."""
    return (image * random.uniform(0.6, 0.8)).astype(np.uint8)


def another_label(image: Pixels, random: Random) -> Pixels:
    """A patch with other letters and another colour, of a sixth of the sides."""
    height, width = image.shape[:2]
    down, across = height // 6, width // 6
    top, left = height // 2 - down // 2, width // 2 - across // 2
    found = image.copy()
    found[top : top + down, left : left + across] = random.integers(0, 256, 3)
    text = "".join(random.choice(list("ABCDEFGHKLMNPRSTUVXYZ"), 4))
    return labelled(found, text)


def labelled(image: Pixels, text: str) -> Pixels:
    """Dark letters on a light strip in the middle."""
    found = np.ascontiguousarray(image).copy()
    height, width = found.shape[:2]
    scale = LABEL * min(height, width) / 21  # letters of this font are 21 pixels high
    (across, up), base = cv2.getTextSize(text, FONT, scale, max(1, round(2 * scale)))
    left, bottom = (width - across) // 2, (height + up) // 2
    cv2.rectangle(found, (left - base, bottom - up - base), (left + across + base, bottom + base), (235, 235, 230), -1)
    cv2.putText(found, text, (left, bottom), FONT, scale, (30, 30, 40), max(1, round(2 * scale)), cv2.LINE_AA)
    return found


def mirrored(image: Pixels, random: Random) -> Pixels:
    """From the other side."""
    return np.ascontiguousarray(image[:, ::-1])


def turned(image: Pixels, random: Random) -> Pixels:
    """From a place some 15 degrees aside: one side becomes smaller."""
    height, width = image.shape[:2]
    far = random.uniform(0.08, 0.14)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners.copy()
    moved[1] += (-0.08 * width, far * height)
    moved[2] += (-0.08 * width, -far * height)
    warp = cv2.getPerspectiveTransform(corners, moved)
    return np.asarray(cv2.warpPerspective(image, warp, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


COPIES: dict[str, Change] = {
    "coded again": coded,
    "resized": resized,
    "cropped": cropped,
    "cropped, resized and coded": all_three,
}
VARIANTS: dict[str, Change] = {
    "another colour": recoloured,
    "another shade": brighter,
    "another label": another_label,
    "the other side": mirrored,
    "another view": turned,
}
VOLUMES = ("250 ml", "500 ml")


def _through(image: Pixels, ending: str, option: int, quality: int) -> Pixels:
    code = cv2.imencode(ending, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [option, quality])[1]
    return np.asarray(cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def originals(root: Path, count: int) -> Iterator[tuple[str, Pixels]]:
    """So many pictures, of the sets in turn, in the order of their names."""
    limits = ImageLimits.from_settings(load_settings(project_root() / "params.yaml").validation)
    folders = [sorted((root / name / "images").iterdir()) for name in SETS]
    turns = (folder[turn] for turn in range(max(map(len, folders))) for folder in folders if turn < len(folder))
    for file in islice(turns, count):
        yield file.stem, decode(file, limits)


def family(name: str, image: Pixels, random: Random) -> Iterator[tuple[str, str, Pixels]]:
    """A picture, its copies and its variants: the kind, a name, pixels. Those with a label have one of their own."""
    yield "original", name, image
    for kind, change in {**COPIES, **VARIANTS}.items():
        yield kind, f"{name} {kind}", change(image, random)
    small, large = (labelled(image, volume) for volume in VOLUMES)
    yield "original", f"{name} {VOLUMES[0]}", small
    yield "another volume", f"{name} {VOLUMES[1]}", large


def told(
    root: Path, count: int, seed: int, *, with_sku: bool, show: Path | None
) -> tuple[dict[str, list[bool]], float]:
    """By kind, whether each is called a copy; and milliseconds of one core for each picture."""
    random = np.random.default_rng(seed)
    kinds: dict[str, str] = {}
    kept: dict[str, Pixels] = {}
    spent = 0.0
    with known_pictures(NOT_KNOWN, "benchmark") as known:
        for name, image in track(originals(root, count), "entering", count):
            for kind, path, pixels in family(name, image, random):
                start = time.process_time()
                worth = Worth(pixels.shape[0] * pixels.shape[1], False, 0, float(kind == "original"))
                known.enter(Candidate(path, path, name if with_sku else None, look_of(pixels), True, worth), 1.0)
                spent += time.process_time() - start
                kinds[path] = kind
                if show is not None:
                    kept[path] = pixels
        found: dict[str, list[bool]] = {kind: [] for kind in kinds.values()}
        for path, kind in kinds.items():
            standing = known.standing(path)
            copy = standing.copy_of or standing.same_as
            found[kind].append(copy is not None)
            if show is not None and (copy is not None) != (kind in COPIES):
                _show(show, path, kept[path], kept.get(copy or path.split(" ")[0], kept[path]))
    return found, 1000 * spent / len(kinds)


def _show(folder: Path, path: str, one: Pixels, other: Pixels) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sides = [cv2.resize(each, (384, 384), interpolation=cv2.INTER_AREA) for each in (one, other)]
    cv2.imwrite(str(folder / f"{path.replace(' ', '_')}.png"), cv2.cvtColor(np.hstack(sides), cv2.COLOR_RGB2BGR))


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="the mirror: a folder of sets with images/")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=Path, help="folder for pictures of what was told wrongly")
    given = parser.parse_args()
    good = True
    for with_sku in (True, False):
        found, milliseconds = told(given.images, given.count, given.seed, with_sku=with_sku, show=given.show)
        table = Table("kind", "called a copy", "of", title="one SKU a family" if with_sku else "no SKU known")
        for kind, calls in found.items():
            table.add_row(kind, str(sum(calls)), str(len(calls)))
        right = sum(sum(calls) for kind, calls in found.items() if kind in COPIES)
        wrong = sum(sum(calls) for kind, calls in found.items() if kind not in COPIES)
        recall = right / sum(len(calls) for kind, calls in found.items() if kind in COPIES)
        precision = right / (right + wrong)
        console = Console()
        console.print(table)
        console.print(f"precision {precision:.3f}, recall {recall:.3f}; {milliseconds:.1f} ms a picture on one core")
        good &= precision >= LEAST_PRECISION and recall >= LEAST_RECALL
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
