"""Enhanced images on disk: their names and formats."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from packshot.catalog.decoding.isolated import read_alpha, read_profile
from packshot.catalog.image import ImageLimits, encode
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


def write_enhanced(
    image: NDArray[np.uint8], source: Path, target: Path, format: str, limits: ImageLimits, jpeg_quality: int
) -> None:
    """Write H x W x 3 uint8 RGB atomically in the format of its source; transparency and colour profile are taken over
    from it.

    Raises OutputNotWritable.
    """
    kept = format if format in KEPT_FORMATS else "PNG"
    alpha = None if kept == "JPEG" else read_alpha(source, limits)
    profile = read_profile(source, limits)
    encode(image, target, format=kept, jpeg_quality=jpeg_quality, alpha=alpha, profile=profile)


def check_output_apart(directory: Path, out: Path) -> None:
    """Raise OutputIsInput when writing below `out` could touch the images below `directory`."""
    source, target = directory.resolve(), out.resolve()
    if source == target or source.is_relative_to(target / "enhanced"):
        raise OutputIsInput(f"the output folder {out} must not be the folder of the images; choose another one")
