"""The one preprocessing: training, evaluation, batch and service all call `views`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from packshot.model.ground import with_grey_ground

if TYPE_CHECKING:
    import torch

VERSION = 2
"""Raised whenever the same image would give other pixels; part of the feature cache key and of the bundle."""
SHORTEST_SIDE = 32
"""Pixels: the total stride of the backbones, so that the last stage has at least one cell."""

Image = npt.NDArray[np.uint8]


def views(image: Image, long_sides: Sequence[int]) -> list[Image]:
    """The sizes at which an image is judged.

    `image` is uint8, H x W x 3, RGB. For every entry of `long_sides` (pixels) the result holds the image
    itself where its longer side is no greater, else the image shrunk by area averaging to that longer side:
    an image is never enlarged, since that would hide what resolution it has. The white ground of a packshot is shown
    grey (see `packshot.model.ground`). A side shorter than 32 pixels is padded by repeating the edge. Equal views are
    the same object.
    """
    made: dict[tuple[int, int], Image] = {}
    result = []
    for side in long_sides:
        size = view_size(image.shape[1], image.shape[0], side)
        if size not in made:
            made[size] = _pad(with_grey_ground(_shrink(image, size)))
        result.append(made[size])
    return result


def view_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height, in pixels, of a view whose longer side is at most `side`, before padding."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _shrink(image: Image, size: tuple[int, int]) -> Image:
    if size == (image.shape[1], image.shape[0]):
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _pad(image: Image) -> Image:
    down, right = (max(0, SHORTEST_SIDE - side) for side in image.shape[:2])
    if not down and not right:
        return image
    return np.pad(image, ((0, down), (0, right), (0, 0)), mode="edge")


def to_tensor(image: Image, device: torch.device | None = None) -> torch.Tensor:
    """uint8 H x W x 3 as float32 1 x 3 x H x W in 0..1, channels last."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    return pixels.permute(2, 0, 1)[None].float().div(255.0).contiguous(memory_format=torch.channels_last)
