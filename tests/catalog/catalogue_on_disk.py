"""A small collected workspace, made of drawn pictures, for the tests of validation and splits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from packshot.catalog.manifest import COLUMNS, write_manifest

STYLES = ("rustic", "modern")


def picture(seed: int, side: int = 64) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


class Catalogue:
    """Rows and files under a workspace; `write` puts the manifest and source.json there."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.rows: list[dict[str, object]] = []
        self.images = workspace / "data/raw/images"
        (self.images / "own").mkdir(parents=True, exist_ok=True)

    def add(self, name: str, content: bytes | np.ndarray | None, **labels: object) -> dict[str, object]:
        """One row; `content` None leaves the file out, an array is written as PNG."""
        if isinstance(content, np.ndarray):
            Image.fromarray(content).save(self.images / "own" / name, format="PNG")
        elif content is not None:
            (self.images / "own" / name).write_bytes(content)
        file = self.images / "own" / name
        image_id = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
        row = {**dict.fromkeys(COLUMNS), "path": f"own/{name}", "source": "own", "image_id": image_id, **labels}
        self.rows.append(row)
        return row

    def add_good(self, count: int, first: int = 0, **labels: object) -> None:
        for number in range(first, first + count):
            self.add(f"good{number:03}.png", picture(number), **labels)

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=list(COLUMNS))

    def write(self) -> None:
        write_manifest(self.workspace / "data/raw/manifest.parquet", self.frame())
        self.write_source()

    def write_source(self) -> None:
        facts = {"rows": len(self.rows), "held_back": 0, "address": "here", "licence": "CC0", "styles": STYLES}
        record = {
            "profile": "own",
            "chosen": "own",
            "why": "test",
            "fingerprint": "0",
            "collected_at": "2026-01-02T03:04:05+00:00",
            "sets": {"own": facts},
        }
        (self.workspace / "data/raw/source.json").write_text(json.dumps(record))
