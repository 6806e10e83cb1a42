"""Files of the features stage and the bundle, relative to a workspace."""

from __future__ import annotations

from pathlib import Path

IMAGES = Path("data/raw/images")
FEATURES = Path("data/features")
INDEX = FEATURES / "index.parquet"
VALUES = FEATURES / "features.safetensors"
TEACHER_VALUES = FEATURES / "teacher.safetensors"
"""Only where the recipe has a teacher: `stats`, and among the metadata the `trunk_dim` of its recipe."""
PAIR_INDEX = FEATURES / "pairs.parquet"
PAIR_VALUES = FEATURES / "pairs.safetensors"
FAULT_INDEX = FEATURES / "faults.parquet"
FAULT_VALUES = FEATURES / "faults.safetensors"
BUNDLE = Path("models/packshot")
OUT_OF_FOLD = "out_of_fold.parquet"
"""In a bundle: scored pictures of train and validation as judged by models that saw nothing of their group (image_id,
group, quality_mos, quality, quality_low, quality_high). Thresholds of the decision are tuned on them."""
