"""Files of the features stage, relative to a workspace."""

from __future__ import annotations

from pathlib import Path

IMAGES = Path("data/raw/images")
FEATURES = Path("data/features")
INDEX = FEATURES / "index.parquet"
VALUES = FEATURES / "features.safetensors"
PAIR_INDEX = FEATURES / "pairs.parquet"
PAIR_VALUES = FEATURES / "pairs.safetensors"
BUNDLE = Path("models/packshot")
