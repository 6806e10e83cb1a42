"""The architecture that the settings ask for."""

from __future__ import annotations

from collections.abc import Sequence

from packshot.config import Settings
from packshot.model.architecture import Architecture


def architecture_of(
    settings: Settings,
    styles: Sequence[str],
    landmarks: int | None = None,
    attribute_landmarks: int | None = None,
    quality_heads: int = 1,
) -> Architecture:
    """`model` of params.yaml with the known styles; `landmarks` where there are fewer rows than `kernel_features`."""
    model = settings.network
    return Architecture(
        backbone=model.backbone,
        long_sides=tuple(model.long_sides),
        trunk_dim=model.trunk_dim,
        landmarks=min(landmarks or model.kernel_features, model.kernel_features),
        attribute_landmarks=min(attribute_landmarks or model.kernel_features, model.kernel_features),
        quality_heads=quality_heads,
        style_dim=model.style_dim,
        style_classifier=model.style_classifier,
        styles=tuple(styles),
        text_encoder=model.text_encoder,
        text_dim=model.text_dim,
        lut_size=model.lut_size,
        lut_count=model.lut_count,
        curve_points=model.curve_points,
        residual_width=model.residual_width,
        residual_blocks=model.residual_blocks,
    )
