"""How well the catalogue rules find planted faults, beside CleanVision, and how long they take.

    python benchmarks/catalogue_rules.py [--images IMAGES] [--cleanvision .cleanvision] [--half tuned]

Cuts the products out of pictures on white (`grocery` and `furniture` of the mirror), puts them on white pages as clean
packshots, and plants each fault in each of them. Every second product served to choose thresholds; figures are those of
the others unless `--half tuned` asks for them. Printed for each rule: precision and recall over as many clean as faulty
packshots, the share of clean ones it flags, and what CleanVision finds in the same files where it has the check. Then
photographs (`clothing`) that the profile `own` would hold up, and pictures a second. Copies have a benchmark of their
own, `copies.py`. For CleanVision, once:
    python -m pip install --no-deps --target .cleanvision -r requirements-cleanvision.txt
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from packshot.catalog.image import ImageLimits, encode, inspect
from packshot.config import RuleBound, load_settings
from packshot.home import project_root
from packshot.scoring.rules import RULES, Picture, findings, measure
from planted_faults import NOT_CLEAN, PLANTS, Cutout, Pixels, cutouts, packshot

Flags = npt.NDArray[np.bool_]
PROFILES = ("amazon-main", "google-merchant")
"""Where a rule's threshold is taken from: the first that has it."""
THEIRS = {
    "dark": "dark",
    "light": "light",
    "blur": "blurry",
    "low_information": "low_information",
    "aspect": "odd_aspect_ratio",
    "longest_side": "odd_size",
    "greyscale": "grayscale",
}
"""CleanVision's name of a check."""
FILES: dict[str, Callable[[Pixels], Picture]] = {
    "format": lambda image: Picture(image, "WEBP", 400_000),
    "file_size": lambda image: Picture(image, "JPEG", 17_000_000),
    "megapixels": lambda image: Picture(np.broadcast_to(image[:1, :1], (8_001, 8_001, 3)), "JPEG", 400_000),
}
"""Faults of the file and not of its pixels."""
LARGE = 1000
"""Clean packshots are enlarged to so many pixels where their size is asked for."""


@dataclass(frozen=True)
class Found:
    """What one check says of clean and of faulty pictures."""

    clean: Flags
    faulty: Flags

    @property
    def figures(self) -> tuple[float, float, float]:
        """Precision, recall, share of the clean that is flagged."""
        hits, alarms = self.faulty.sum(), self.clean.sum()
        precision = hits / (hits + alarms) if hits + alarms else float("nan")
        return float(precision), float(self.faulty.mean()), float(self.clean.mean())


def packshots(products: Sequence[Cutout], times: int, random: np.random.Generator) -> list[Pixels]:
    """Each product on `times` pages."""
    return [packshot(product, random) for product in products for _ in range(times)]


def faulty(rule: str, clean: Sequence[Pixels], random: np.random.Generator) -> list[Pixels]:
    """Each picture with a fault of the rule; its kinds in turn."""
    plants = PLANTS[rule]
    return [plants[place % len(plants)](image, random) for place, image in enumerate(clean)]


def flagged(rule: str, bound: RuleBound, pictures: Iterable[Picture]) -> Flags:
    """Which pictures break the rule."""
    values = [RULES[rule].value(picture, bound.threshold) for picture in pictures]
    return np.array([value is not None and RULES[rule].broken(value, bound.threshold) for value in values])


def enlarged(image: Pixels) -> Pixels:
    """For the rules that only count pixels."""
    scale = LARGE / max(image.shape[:2])
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)


def cleanvision(folder: Path, issues: Sequence[str]) -> Any:
    """CleanVision's table of the pictures in a folder, by file name."""
    from cleanvision import Imagelab

    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        lab = Imagelab(data_path=str(folder), verbose=False)
        lab.find_issues({issue: {} for issue in issues}, n_jobs=1, verbose=False)
    found = lab.issues
    found.index = [Path(name).name for name in found.index]
    return found.sort_index()


def theirs(issue: str, clean: Sequence[Pixels], bad: Sequence[Pixels]) -> Found:
    """What CleanVision says of the same pictures."""
    with tempfile.TemporaryDirectory(prefix="packshot-rules-") as scratch:
        for kind, images in (("a", clean), ("b", bad)):
            for place, image in enumerate(images):
                encode(image, Path(scratch) / f"{kind}{place:05d}.png", format="PNG")
        told = cleanvision(Path(scratch), [issue])[f"is_{issue}_issue"].to_numpy(bool)
    return Found(told[: len(clean)], told[len(clean) :])


def rate(folder: Path, profile: dict[str, RuleBound], limits: ImageLimits, count: int) -> tuple[float, float, float]:
    """Pictures a second of one core's time, decoded and measured; milliseconds of the rules alone; share held up."""
    files = sorted(folder.iterdir())[:count]
    spent, held, start = 0.0, 0, time.process_time()
    for file in files:
        info, pixels = inspect(file, limits)
        begun = time.process_time()
        found = findings(measure(Picture(pixels, info.format, info.bytes), profile), profile)
        spent += time.process_time() - begun
        held += any(one.effect != "note" for one in found)
    return len(files) / (time.process_time() - start), 1000 * spent / len(files), held / len(files)


def their_rate(folder: Path, count: int) -> float:
    """Pictures a second that CleanVision decodes and checks for the same, on one core, copies apart."""
    with tempfile.TemporaryDirectory(prefix="packshot-rules-") as scratch:
        for file in sorted(folder.iterdir())[:count]:
            (Path(scratch) / file.name).symlink_to(file.resolve())
        start = time.process_time()
        return len(cleanvision(Path(scratch), sorted(set(THEIRS.values())))) / (time.process_time() - start)


def _cells(found: Found | None) -> tuple[str, ...]:
    return ("", "", "") if found is None else tuple(f"{100 * figure:.1f}" for figure in found.figures)


def _options() -> argparse.Namespace:
    settings = load_settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mirror = (project_root() / settings.source.mirror).resolve()
    parser.add_argument("--images", type=Path, default=mirror, help=f"the mirror (default {mirror})")
    parser.add_argument("--half", choices=("held-out", "tuned"), default="held-out", help="which products")
    parser.add_argument("--times", type=int, default=3, help="packshots of each product (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="which faults (default 0)")
    parser.add_argument("--cleanvision", type=Path, help="folder that CleanVision is installed in")
    parser.add_argument("--count", type=int, default=300, help="photographs that the time is taken on (default 300)")
    given = parser.parse_args()
    if not (given.images / "grocery").is_dir():
        parser.error(f"{given.images} holds no grocery/; name the mirror with --images")
    if given.cleanvision is not None:
        sys.path.append(str(given.cleanvision.resolve()))
    return given


def main() -> None:
    """Measure and print."""
    given = _options()
    cv2.setNumThreads(1)
    settings = load_settings()
    profiles = settings.scoring.profiles
    bounds = {rule: bound for name in reversed(PROFILES) for rule, bound in profiles[name].items()}
    files = [file for name in ("grocery", "furniture") for file in sorted((given.images / name / "images").iterdir())]
    products = [product for product in cutouts(files) if product.name not in NOT_CLEAN]
    products = products[1::2] if given.half == "held-out" else products[::2]
    random = np.random.default_rng(given.seed)
    clean = packshots(products, given.times, random)
    table = Table(
        *("rule", "precision %", "recall %", "false alarms %"),
        *(f"CleanVision {what}" for what in ("precision %", "recall %", "false alarms %")),
        title=f"{len(clean)} clean packshots of {len(products)} products, as many with each fault ({given.half})",
    )
    any_alarm = np.zeros(len(clean), bool)
    for rule in sorted(PLANTS):
        base = [enlarged(image) for image in clean] if rule.endswith("_side") else clean
        bad = faulty(rule, clean, random)
        ours = Found(*(flagged(rule, bounds[rule], map(Picture, images)) for images in (base, bad)))
        any_alarm |= ours.clean
        beside = theirs(THEIRS[rule], base, bad) if given.cleanvision is not None and rule in THEIRS else None
        table.add_row(rule, *_cells(ours), *_cells(beside))
    for rule, as_file in FILES.items():
        whole = [Picture(image, "JPEG", 400_000) for image in clean]
        ours = Found(flagged(rule, bounds[rule], whole), flagged(rule, bounds[rule], map(as_file, clean)))
        table.add_row(rule, *_cells(ours), "", "", "")
    clothing = given.images / "clothing" / "images"
    limits = ImageLimits.from_settings(settings.validation)
    console = Console(width=150)
    console.print(table)
    console.print(f"clean packshots that break any of these rules: {any_alarm.mean():.1%}")
    a_second, milliseconds, held = rate(clothing, profiles["own"], limits, given.count)
    console.print(
        f"decoded and measured: {a_second:.0f} pictures/s on one core; the rules alone {milliseconds:.1f} ms each"
    )
    console.print(f"photographs that the profile own does not let through: {held:.1%} of {given.count}")
    if given.cleanvision is not None:
        console.print(f"CleanVision: {their_rate(clothing, given.count):.0f} pictures/s on one core")


if __name__ == "__main__":
    main()
