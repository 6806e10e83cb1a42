"""The shape of the EfficientNet-Lite backbones, from which torch and the inference runtime build the same network."""

from __future__ import annotations

import math

# EfficientNet-B0 (Tan and Le, 2019, table 1): kernel, stride, expansion, channels, repeats
B0_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
LITE_STEM = 32
LITE_SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}
"""Width and depth of the EfficientNet-Lite variants against B0; neither stem nor last stage is made deeper."""
CHANNEL_STEP = 8
LITE_MEAN, LITE_STD = 127 / 255, 128 / 255
"""What is subtracted from pixels of 0..1, and what they are divided by then."""
TOGETHER = "+"
"""Between the names of backbones that look at a picture together."""


def lite_stages(name: str) -> list[tuple[int, int, int, int, int]]:
    """Kernel, stride, expansion, channels and repeats of each stage of a Lite variant."""
    width, depth = LITE_SCALES[name]
    rows = []
    for place, (kernel, stride, expansion, channels, repeats) in enumerate(B0_STAGES):
        inner = 0 < place < len(B0_STAGES) - 1
        deeper = math.ceil(repeats * depth) if inner else repeats
        rows.append((kernel, stride, expansion, _scaled(channels, width), deeper))
    return rows


def _scaled(channels: int, width: float) -> int:
    """The multiple of 8 next to `channels * width`, at most a tenth below it."""
    wanted = channels * width
    rounded = max(CHANNEL_STEP, int(wanted + CHANNEL_STEP / 2) // CHANNEL_STEP * CHANNEL_STEP)
    return rounded + CHANNEL_STEP if rounded < 0.9 * wanted else rounded


def padding(kernel: int, stride: int) -> tuple[int, int]:
    """Rows before and after (columns likewise) that TensorFlow's SAME adds to even sides."""
    total = kernel - stride if kernel > stride else 0
    return total // 2, total - total // 2
