"""How far the judge can be moved: by mild damage, and by an attack that knows its weights.

    python benchmarks/robustness.py --bundle models/packshot --images IMAGES/clothing [--count 40] [--steps 10]

Printed: the change of the overall score (points of 100) under every family of damage at its mildest level, and under
projected gradient descent (Madry et al. 2018) that may change each channel of each pixel by at most EPSILON levels of
255, upwards and downwards; beside it what random changes of that size do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from judged_pictures import Pixels, judged, options, scores
from packshot.degrade import DEGRADATIONS, apply
from packshot.model.network import PackshotNet
from packshot.model.preprocess import view_size
from packshot.progress import track
from packshot.trained import read_trained

Floats = npt.NDArray[np.float64]
EPSILON = 2
MILD = 1


def damaged(images: Sequence[Pixels], family: str, seed: int) -> list[Pixels]:
    """Each picture under one degradation of the family, the kinds in turn, at the mildest level."""
    kinds = sorted(name for name, kind in DEGRADATIONS.items() if kind.family == family)
    return [apply(image, kinds[i % len(kinds)], MILD, seed + i) for i, image in enumerate(images)]


def attacked(network: PackshotNet, image: Pixels, direction: float, steps: int) -> Pixels:
    """The picture after `steps` steps of the attack; `direction` 1 raises the score, -1 lowers it."""
    start = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    pixels = start.clone()
    step = 2.5 * EPSILON / steps
    for _ in range(steps):
        pixels.requires_grad_(True)
        score = network.overall(network.trunk(features(network, pixels / 255)))
        (gradient,) = torch.autograd.grad(score.sum(), pixels)
        with torch.no_grad():
            pixels = pixels + direction * step * gradient.sign()
            pixels = torch.minimum(torch.maximum(pixels, start - EPSILON), start + EPSILON).clamp(0, 255)
    return np.asarray(pixels.detach().round()[0].permute(1, 2, 0).numpy(), dtype=np.uint8)


def features(network: PackshotNet, pixels: torch.Tensor) -> torch.Tensor:
    """Statistics with gradients: the views of preprocessing, area averaging included, as torch operations."""
    height, width = pixels.shape[2:]
    views = []
    for side in network.architecture.long_sides:
        across, down = view_size(width, height, side)
        views.append(functional.interpolate(pixels, (down, across), mode="area"))
    stats: torch.Tensor = network.features_of_views(views).stats
    return stats


def random_change(image: Pixels, generator: np.random.Generator) -> Pixels:
    """Every channel of every pixel up or down by EPSILON."""
    change = generator.choice([-EPSILON, EPSILON], size=image.shape)
    return np.asarray(np.clip(image.astype(np.int16) + change, 0, 255), dtype=np.uint8)


def main() -> None:
    """Measure and print."""
    parser = options(__doc__ or "", 40)
    parser.add_argument("--steps", type=int, default=10, help="steps of the attack (default 10)")
    given = parser.parse_args()
    judge, images = judged(parser, given)
    network = read_trained(given.bundle)
    before = scores(judge, images, "as they are")
    table = Table("change", "median", "10 % below", "10 % above", title=f"points of 100, n = {len(images)}")

    def add(name: str, changed: list[Pixels]) -> None:
        moved: Floats = 100 * (scores(judge, changed, name) - before)
        table.add_row(name, *(f"{value:+.2f}" for value in np.quantile(moved, [0.5, 0.1, 0.9])))

    for family in sorted({kind.family for kind in DEGRADATIONS.values()}):
        add(f"{family}, level {MILD}", damaged(images, family, given.seed))
    generator = np.random.default_rng(given.seed)
    add(f"random, {EPSILON}/255", [random_change(image, generator) for image in images])
    for name, direction in (("upwards", 1.0), ("downwards", -1.0)):
        what = f"attack {name}, {EPSILON}/255"
        add(what, [attacked(network, image, direction, given.steps) for image in track(images, what)])
    Console().print(table)


if __name__ == "__main__":
    main()
