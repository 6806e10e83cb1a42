"""What a network is made of, in numbers: all that has to be known of it to compute what it does, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

ATTRIBUTES = ("sharpness", "colour_balance", "detail")
SOFT_EDGE = 0.05
"""Distance from 0 and from 1 at which `soft_unit` begins to bend."""
EMBEDDING_DIM = 64
ENHANCER_DIM = 96
"""The enhancer is told the first so many coordinates of `damage`: the rest tell pictures apart, not their damage."""
KINDS = 8
"""Most kinds of image that the interval of the overall score tells apart."""
CLIP = 5.0
"""Standardised statistics are clipped here, in deviations: one odd channel must not decide."""
UNSHUFFLE = 2
"""Side of the squares of pixels that the enhancer's residual network takes for one."""
TILE = 512
"""Side, in pixels, of the tiles in which a picture is enhanced: memory is bounded by one."""
GRAM_STAGES = 3
GRAM_CHANNELS = (32, 128)
"""A stage gives a Gram matrix when its channel count lies here: enough to tell styles, few enough to store."""


class Architecture(BaseModel):
    """Everything needed to build the network again; stored in the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    backbone: str
    long_sides: tuple[int, ...]
    trunk_dim: int
    landmarks: int
    attribute_landmarks: int
    quality_heads: int
    style_dim: int
    style_classifier: Literal["linear", "svm", "mlp"]
    styles: tuple[str, ...]
    text_encoder: str
    text_dim: int
    lut_size: int
    lut_count: int
    curve_points: int
    residual_width: int
    residual_blocks: int


def gram_stages(channels: Sequence[int]) -> tuple[int, ...]:
    """Indices of the mid-level stages whose Gram matrices describe style; at least one."""
    low, high = GRAM_CHANNELS
    fitting = [place for place, count in enumerate(channels) if low <= count <= high][-GRAM_STAGES:]
    return tuple(fitting) or (min(range(len(channels)), key=lambda place: channels[place]),)


def gram_size(channels: Sequence[int]) -> int:
    """Length of the Gram vector of maps of these channel counts."""
    return sum(channels[place] * (channels[place] + 1) // 2 for place in gram_stages(channels))


def residual_reach(blocks: int) -> int:
    """Pixels of surroundings that a pixel's repair depends on, by the count of residual blocks; the overlap of
    tiles."""
    return UNSHUFFLE * (2 * blocks + 3)
