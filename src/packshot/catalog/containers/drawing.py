"""Drawings: pixels at a size that is asked for."""

from __future__ import annotations

from pathlib import Path

from packshot.catalog.containers.planes import Pixels
from packshot.catalog.image import read_rgba
from packshot.catalog.limits import BadImage, ImageLimits, content_of


def drawn(path: Path, limits: ImageLimits, *, side: int) -> Pixels:
    """An SVG `side` pixels wide, another picture as it is, as H x W x 4 uint8. Raises BadImage."""
    if path.suffix != ".svg":
        return read_rgba(path, limits)
    content_of(path, limits)
    import resvg_py

    try:
        png = bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=side, height=side, skip_system_fonts=True))
    except ValueError as error:
        raise BadImage("not_an_image", f"the drawing cannot be read ({error})", path.name) from error
    return read_rgba(png, limits)
