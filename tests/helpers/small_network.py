"""One small architecture, and a bundle of it, for all tests that need a real network."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from packshot.bundle import FORMAT_VERSION, BundleRecord, Calibration
from packshot.model import preprocess
from packshot.model.architecture import Architecture
from packshot.model.network import PackshotNet
from packshot.revision import RunKey
from packshot.trained import save_bundle

KEEP_ENHANCED = {
    "PACKSHOT__SCORING__ACCEPT_AT": "0.9",
    "PACKSHOT__SCORING__REJECT_BELOW": "0.0",
    "PACKSHOT__SCORING__REVIEW_WIDTH": "1.0",
    "PACKSHOT__SCORING__MIN_GAIN": "0.0",
    "PACKSHOT__SCORING__MAX_COLOUR_SHIFT": "100",
    "PACKSHOT__SCORING__MAX_ENHANCED_SHIFT": "1.0",
    "PACKSHOT__SCORING__MAX_ATTRIBUTE_FALL": "1.0",
}
"""Settings by which an untrained network's enhanced pictures are kept where its score does not fall."""


def small_architecture(**changes: Any) -> Architecture:
    """EfficientNet-Lite0 with everything above it a few units wide; `changes` replace single values."""
    values: dict[str, Any] = {
        "backbone": "efficientnet_lite0",
        "long_sides": (64,),
        "trunk_dim": 12,
        "landmarks": 20,
        "attribute_landmarks": 12,
        "quality_heads": 1,
        "style_dim": 6,
        "style_classifier": "linear",
        "styles": ("a", "b"),
        "text_encoder": "none",
        "text_dim": 4,
        "lut_size": 3,
        "lut_count": 2,
        "curve_points": 4,
        "residual_width": 8,
        "residual_blocks": 1,
    }
    return Architecture(**(values | changes))


MADE_UP = RunKey("d", "c", "p")


def save_small_bundle(folder: Path, architecture: Architecture, seed: int = 0, made_from: RunKey = MADE_UP) -> Path:
    """An untrained network, another one for each seed, as a bundle made from these."""
    torch.manual_seed(seed)
    network = PackshotNet(architecture)
    with torch.no_grad():
        for tensor in network.quality.state_dict().values():
            tensor.add_(torch.randn(tensor.shape) * 0.1)
    record = BundleRecord(
        format_version=FORMAT_VERSION,
        preprocessing_version=preprocess.VERSION,
        packshot_version="0",
        torch_version=torch.__version__,
        architecture=architecture,
        calibration=Calibration(temperature=1.0, interval_scale=1.0, interval_coverage=0.9, interval_rows=10),
        text_seen=False,
        profile="own",
        run_key=asdict(made_from),
        recipe="tiny",
        epochs=1,
        best_epoch=0,
        metrics={},
    )
    save_bundle(folder, network, record)
    return folder
