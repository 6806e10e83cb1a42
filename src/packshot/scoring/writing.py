"""Enhanced images on disk: their names and formats."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from packshot.catalog.decoding.isolated import read_carried
from packshot.catalog.image import BadImage, ImageLimits, encoded
from packshot.errors import PackshotError
from packshot.files import fitting_name

KEPT_FORMATS = ("JPEG", "PNG", "WEBP")


class OutputIsInput(PackshotError):
    """The output folder would overwrite the images of the batch."""


def png_name(path: str) -> str:
    """The same name with `.png`."""
    return str(PurePosixPath(path).with_suffix(".png"))


def output_name(path: str, format: str, taken: Collection[str]) -> str:
    """The name an enhanced image gets: its own, or with `.png` where the format cannot be kept.

    JPEG, PNG and WebP keep their format; GIF, BMP and TIFF become PNG. Where that name is in `taken`
    (the names of the batch), `.png` is appended to the whole name instead, until it is free.
    """
    if format in KEPT_FORMATS:
        return path
    name = fitting_name(png_name(path))
    if name == path or name not in taken:
        return name
    longer = f"{path}.png"
    while fitting_name(longer) in taken:
        longer = f"{longer}.png"
    return fitting_name(longer)


def kept_format(format: str) -> str:
    """The format that an enhanced image of this format is written in."""
    return format if format in KEPT_FORMATS else "PNG"


def enhanced_file(
    image: NDArray[np.uint8], source: Path, image_id: str, format: str, limits: ImageLimits, jpeg_quality: int
) -> bytes:
    """The file of H x W x 3 uint8 RGB in the format of its source, with its transparency, colour profile, copyright,
    XMP, IPTC and resolution; upright, without its old thumbnail.

    `image_id`: sha256 (hex) of the source when it was read. Raises BadImage where it is another file now.
    """
    carried = read_carried(source, limits)
    if carried.image_id != image_id:
        raise BadImage("missing_file", "the file has changed since it was read", source.name)
    kept = kept_format(format)
    return encoded(
        image,
        format=kept,
        jpeg_quality=jpeg_quality,
        alpha=None if kept == "JPEG" else carried.alpha,
        profile=carried.profile,
        described=carried.metadata,
    )


def check_output_apart(directory: Path, out: Path) -> None:
    """Raise OutputIsInput when writing below `out` could touch the images below `directory`."""
    source, target = directory.resolve(), out.resolve()
    if source == target or source.is_relative_to(target / "enhanced"):
        raise OutputIsInput(f"the output folder {out} must not be the folder of the images; choose another one")
