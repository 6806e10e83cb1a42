"""Small pictures made in code, and a judge whose verdicts follow from them by arithmetic."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from packshot.evaluation.thresholds import Rated
from packshot.faults.detector import Found
from packshot.registry.lineage import Lineage
from packshot.scoring.judging import Scorer


@dataclass(frozen=True)
class Judged:
    quality: float
    quality_low: float
    quality_high: float
    sharpness: float
    colour_balance: float
    detail: float
    style: str | None
    style_confidence: float
    style_vector: np.ndarray
    embedding: np.ndarray
    style_taught: bool = True
    faults: tuple[Found, ...] | None = None


class BrightnessJudge:
    """Quality is the mean of the pixels; enhancing adds 40 to each. `before` runs ahead of every call."""

    def __init__(self, before: Callable[[Sequence[np.ndarray]], None] | None = None, step: int = 40) -> None:
        self.before = before
        self.step = step
        self.calls = 0

    def judge(self, images: Sequence[np.ndarray], texts: Sequence[str | None] | None = None) -> list[Judged]:
        self.calls += 1
        if self.before is not None:
            self.before(images)
        return [self._one(image) for image in images]

    def enhance(self, image: np.ndarray) -> np.ndarray:
        return np.clip(image.astype(np.int16) + self.step, 0, 255).astype(np.uint8)

    def _one(self, image: np.ndarray) -> Judged:
        quality = float(image.mean() / 255)
        channels = image.reshape(-1, 3).astype(np.float32) / 255
        features = np.concatenate([channels.mean(0), channels.std(0), [quality, 1 - quality]]).astype(np.float32)
        style = "bright" if quality > 0.5 else "dark"
        return Judged(quality, quality - 0.05, quality + 0.05, 0.8, 0.4, 0.9, style, 0.75, features[:4], features)


def scorer(judge: BrightnessJudge | None = None, version: int | None = 3, digest: str = "d" * 64) -> Scorer:
    lineage = Lineage("packshot", version, "run1", "data1", "code1", "params1")
    chosen = judge or BrightnessJudge()
    return Scorer(lambda: chosen, lineage, digest)


def rated(step: float) -> Rated:
    """Fit from a quality of `step` on, unfit below, without exception."""
    quality = np.linspace(0.02, 0.98, 200)
    groups = tuple(map(str, range(200)))
    return Rated(np.where(quality >= step, 0.9, 0.1), quality, quality - 0.05, quality + 0.05, groups)


def picture(level: int, seed: int = 0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """H x W x 3 noise of standard deviation 12 about a grey level."""
    noise = np.random.default_rng([level, seed]).normal(level, 12, (*size, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def save(path: Path, image: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def make_batch(folder: Path, count: int = 12, low: int = 40, high: int = 230, senders: int = 4) -> Path:
    """`count` PNGs of rising brightness below `folder/shop`, with a catalogue."""
    rows = []
    for index, level in enumerate(np.linspace(low, high, count).astype(int)):
        name = f"shop/item{index:03d}.png"
        save(folder / name, picture(int(level), index))
        rows.append(
            [name, f"sku{index}", f"Item {index}", f"sender{index % senders}", "Chair" if index % 2 else "Lamp"]
        )
    with (folder / "catalog.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["path", "sku", "title", "sender", "category"], *rows])
    return folder
