"""A mirror of the real layout with a few small pictures drawn in code."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

STYLES = ("arts_and_crafts", "mid-century-modern", "rustic", "traditional", "transitional")
GIANT_SENDER = "7"


def picture(path: Path, seed: int, side: int = 40) -> None:
    """A small JPEG or PNG that differs from that of every other seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def make_mirror(root: Path, rated: int = 24) -> Path:
    """24 (or `rated`) scored, 15 styled, 22 clothing (one sender with 10) and 4 grocery images."""
    scored = [[f"b{n:02d}.jpg", f"ss0{n % 3 + 1}", f"{n / rated:.4f}"] for n in range(rated)]
    styled = [[f"f{n:02d}.jpg", STYLES[n % 5]] for n in range(15)]
    worn = [
        [f"c{n:02d}.jpg", GIANT_SENDER if n < 10 else str(100 + n // 2), "Shoes", str(n % 4 == 0)] for n in range(22)
    ]
    sold = [[f"Red-Apple-{n}_Iconic.jpg", f"Red Apple {n}", "Oat-Milk", f"Crisp, number {n}."] for n in range(4)]
    _write(root / "biq2021", ["file", "subset", "mos"], scored, 0)
    _write(root / "furniture", ["file", "style"], styled, 100)
    _write(root / "clothing", ["file", "sender_id", "category", "kids"], worn, 200)
    _write(root / "grocery", ["file", "name", "category", "description"], sold, 300)
    return root


def _write(folder: Path, header: list[str], rows: list[list[str]], seed: int) -> None:
    for number, row in enumerate(rows):
        picture(folder / "images" / row[0], seed + number)
    with open(folder / "labels.csv", "w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([header, *rows])
