"""One small architecture for all tests that need a real network."""

from typing import Any

from packshot.model.network import Architecture


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
