"""Small JPEGs inside a page, within a budget."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import BadImage, ImageLimits, resolve_inside

LONGEST = 240
_QUALITY = 82


class Thumbnails:
    """Data addresses of small pictures until `budget` bytes of them are spent; None from then on."""

    def __init__(self, limits: ImageLimits, budget: int) -> None:
        self._limits = limits
        self._left = budget
        self.left_out = 0

    def of(self, root: Path | None, relative: str | None) -> str | None:
        """A `data:` address of the image at `relative` below `root`; None where it cannot be shown."""
        if root is None or not relative:
            return None
        try:
            pixels = decode(resolve_inside(root, relative), self._limits, longest=LONGEST)
        except BadImage:
            return None
        return self._spend(_jpeg(pixels), "jpeg")

    def kept(self, content: bytes | None) -> str | None:
        """A `data:` address of a JPEG that is at hand."""
        return self._spend(content, "jpeg") if content else None

    def whole(self, path: Path) -> str | None:
        """A `data:` address of a PNG file as it is."""
        return self._spend(path.read_bytes(), "png") if path.is_file() else None

    def _spend(self, content: bytes, kind: str) -> str | None:
        encoded = base64.b64encode(content).decode("ascii")
        if len(encoded) > self._left:
            self.left_out += 1
            return None
        self._left -= len(encoded)
        return f"data:image/{kind};base64,{encoded}"


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()
