"""Pixels and files."""

from __future__ import annotations

from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import least, most

FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP")
"""Formats in the order in which shops leave them out."""


@least(
    "longest_side",
    "The picture is too small; upload one whose longer side has at least {threshold:.0f} pixels.",
    unit="pixels",
)
def longest_side(picture: Picture) -> float:
    """In pixels."""
    return float(max(picture.width, picture.height))


@least(
    "shortest_side",
    "The picture is too small; upload one whose shorter side has at least {threshold:.0f} pixels.",
    unit="pixels",
)
def shortest_side(picture: Picture) -> float:
    """In pixels."""
    return float(min(picture.width, picture.height))


@most("megapixels", "The picture is too large; upload one of at most {threshold:g} megapixels.", unit="megapixels")
def megapixels(picture: Picture) -> float:
    """Millions of pixels."""
    return picture.width * picture.height / 1e6


@most(
    "aspect",
    "The picture is too narrow; crop it so that one side is at most {threshold:g} times the other.",
    unit="longer side over the shorter",
)
def aspect(picture: Picture) -> float:
    """The longer side over the shorter."""
    return longest_side(picture) / shortest_side(picture)


@most(
    "file_size",
    "The file is too large; save it with at most {threshold:g} MB.",
    unit="MB",
    unmeasured="the size of the file is not known",
)
def file_size(picture: Picture) -> float | None:
    """Millions of bytes."""
    return None if picture.file_bytes is None else picture.file_bytes / 1e6


@most(
    "format",
    "The file's format is not among those that the shop takes; save the picture as JPEG or PNG.",
    unit="place in FORMATS",
    unmeasured="the format of the file is not known",
)
def format(picture: Picture) -> float | None:
    """Place of the format in FORMATS, from 1; one more than there are for any other."""
    if picture.format is None:
        return None
    return float(FORMATS.index(picture.format) + 1 if picture.format in FORMATS else len(FORMATS) + 1)
