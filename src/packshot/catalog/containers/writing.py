"""Pixels to bytes, with the colours, transparency and metadata that go along."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from packshot.catalog.containers.metadata import Metadata, save_options
from packshot.catalog.limits import DECODABLE

Pixels = NDArray[np.uint8]


def encoded(
    image: Pixels,
    *,
    format: str,
    jpeg_quality: int = 95,
    alpha: Pixels | None = None,
    profile: bytes | None = None,
    described: Metadata | None = None,
) -> bytes:
    """H x W x 3 uint8 RGB as a file of `format` (one of DECODABLE).

    JPEG is written at `jpeg_quality` with 4:4:4 chroma, WebP at the same quality; the others are lossless
    but GIF, which has 256 colours. With `alpha` (H x W uint8) the colours are un-blended from white first,
    so that the file shown on a white page is `image` again. `profile` is an ICC profile to embed, `described`
    the metadata. Raises ValueError for an unknown format, or alpha in JPEG or BMP.
    """
    options = _save_options(format, jpeg_quality)
    if alpha is None:
        picture = Image.fromarray(np.ascontiguousarray(image), "RGB")
    elif format in ("JPEG", "BMP"):
        raise ValueError(f"{format} has no alpha channel; write PNG, WEBP, TIFF or GIF, or leave alpha out")
    else:
        picture = Image.fromarray(_unblend(image, alpha), "RGBA")
    if profile is not None:
        options = options | {"icc_profile": profile}
    if described is not None:
        options = options | save_options(described, format)
    buffer = io.BytesIO()
    picture.save(buffer, format=format, **options)
    return buffer.getvalue()


def _save_options(format: str, quality: int) -> dict[str, Any]:
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality, "method": 4},
        "PNG": {},
        "TIFF": {"compression": "tiff_lzw"},
        "GIF": {},
        "BMP": {},
    }
    if format not in options:
        raise ValueError(f"cannot write format {format!r}; known are {', '.join(DECODABLE)}")
    return options[format]


def _unblend(image: Pixels, alpha: Pixels) -> Pixels:
    opacity = alpha.astype(np.float32)[..., None] / 255.0
    colour = np.where(opacity > 0, (image - 255.0 * (1.0 - opacity)) / np.maximum(opacity, 1e-6), 255.0)
    rgb = np.clip(np.rint(colour), 0, 255).astype(np.uint8)
    return np.concatenate([rgb, alpha[..., None]], axis=2)
