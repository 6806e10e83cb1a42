"""Held-out rows of models whose figures follow from one number, their skill (0..1)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from packshot.registry.gates import Evidence

ROWS = 400


def evidence(version: int, skill: float, metrics: dict[str, float] | None = None) -> Evidence:
    """A model that is right with probability `skill`; what is hard to one model is hard to all."""
    luck = np.random.default_rng(5)
    own = np.random.default_rng(version)
    mos = luck.uniform(0, 1, ROWS)
    quality = mos + (1.15 - skill) * luck.normal(0, 1, ROWS) * 0.5 + own.normal(0, 0.01, ROWS)
    right = luck.uniform(0, 1, ROWS) < skill
    styles = np.array(["rustic", "modern"])[luck.integers(0, 2, ROWS)]
    per_image = pd.DataFrame(
        {
            "image_id": [f"{i:03d}" for i in range(ROWS)],
            "source": "shop",
            "path": [f"shop/{i:03d}.jpg" for i in range(ROWS)],
            "subset": np.where(np.arange(ROWS) % 2, "a", "b"),
            "group": [f"g{i // 2}" for i in range(ROWS)],
            "quality_mos": mos,
            "quality": quality,
            "quality_low": quality - 0.3,
            "quality_high": quality + 0.3,
            "style": styles,
            "style_pred": np.where(right, styles, np.where(styles == "rustic", "modern", "rustic")),
        }
    )
    pairs = per_image.iloc[:60]
    psnr_in = luck.uniform(15, 25, 60)
    per_pair = pd.DataFrame(
        {
            "image_id": pairs["image_id"],
            "group": pairs["group"],
            "degradations": "jpeg:2",
            "family": np.where(np.arange(60) % 2, "noise", "blur+noise"),
            "psnr_in": psnr_in,
            "psnr_out": psnr_in + 4 * skill + luck.normal(0, 0.5, 60),
            "psnr_classic": psnr_in + 0.5,
            "ssim_in": 0.5,
            "ssim_out": 0.6,
        }
    )
    return Evidence(version, metrics if metrics is not None else {"quality/srcc/shop": skill}, per_image, per_pair)
