"""A workspace small enough to train on in seconds: generated pictures with scores, styles and groups."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from packshot.catalog.manifest import COLUMNS
from packshot.config import Settings, load_settings
from packshot.files import write_parquet

SIDE = 72
PROJECT = Path(__file__).resolve().parents[2]


def picture(number: int, style: int, blur: float) -> np.ndarray:
    """Stripes or discs in the palette of the style, blurred."""
    generator = np.random.default_rng(number)
    image = np.full((SIDE, SIDE, 3), 200 - 60 * style, np.uint8)
    for _ in range(8):
        colour = [int(value) for value in generator.integers(0, 256, 3)]
        x, y = (int(value) for value in generator.integers(0, SIDE, 2))
        if style:
            cv2.line(image, (x, 0), (y, SIDE), colour, 3)
        else:
            cv2.circle(image, (x, y), 9, colour, -1)
    image = np.clip(image + generator.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(image, (0, 0), blur) if blur > 0.1 else image


def make_settings(**training: object) -> Settings:
    """The project's settings with everything small."""
    raw = load_settings(PROJECT / "params.yaml").model_dump(mode="json")
    raw["profiles"]["own"] |= {"floors": {}, "ceilings": {}, "held_back": {}}
    raw["model"] |= {
        "long_sides": [64],
        "trunk_dim": 16,
        "kernel_features": 128,
        "style_dim": 8,
        "text_encoder": "none",
        "residual_width": 8,
        "residual_blocks": 1,
        "lut_size": 3,
        "lut_count": 2,
    }
    raw["training"]["recipes"]["tiny"] = raw["training"]["recipes"]["quick"] | {
        "epochs": 3,
        "patience": 3,
        "batch_size": 16,
        "enhance_batch_size": 4,
        "pairs": 10,
        "mixes": 1,
        "singles": 2,
        "fault_pictures": 10,
        "fault_copies": 3,
        "gain_pictures": 10,
        "crop": 64,
        "patch": 32,
        "patches": 2,
        "enhance_steps": 4,
        "folds": 2,
    }
    raw["training"] |= {"recipe": "tiny", "device": "cpu", "threads": 1, **training}
    return Settings.model_validate(raw)


def make_workspace(root: Path, count: int = 60) -> Path:
    """Write images, the split manifest and the source record below `root`."""
    rows = []
    for number in range(count):
        style, blur = number % 2, (number % 5) * 0.6
        path = f"own/{number}.png"
        target = root / "data/raw/images" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), picture(number, style, blur))
        rows.append(
            {
                **dict.fromkeys(COLUMNS),
                "image_id": f"{number:064x}",
                "path": path,
                "source": "own",
                "width": SIDE,
                "height": SIDE,
                "format": "PNG",
                "bytes": target.stat().st_size,
                "quality_mos": 0.9 - 0.3 * blur if number % 3 else np.nan,
                "style": ["discs", "stripes"][style] if number % 4 else None,
                "group": f"g{number // 2}",
                "split": ["train", "train", "train", "validation", "test"][(number // 2) % 5],
            }
        )
    write_parquet(root / "data/splits/manifest.parquet", pd.DataFrame(rows))
    record = {
        "profile": "own",
        "chosen": "own",
        "why": "a test",
        "fingerprint": "0" * 64,
        "collected_at": "2026-01-01T00:00:00+00:00",
        "sets": {},
    }
    (root / "data/raw/source.json").write_text(json.dumps(record))
    return root
