"""Reading and writing image files that nobody vouches for.

Every reader here checks, in this order: the file's size, its format by content, the pixel count its
header claims, and only then decodes. All readers end in the same picture: 8-bit sRGB as a person sees
it on a white page (orientation and colour profile applied, transparency over white, first frame of an
animation). Metadata is not the picture: what is broken in it is noted. Damaged pixels are: a picture
that a decoder only warns of is refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from packshot.catalog.containers.metadata import Metadata
from packshot.catalog.containers.reading import read
from packshot.catalog.containers.writing import encoded
from packshot.catalog.limits import DECODABLE, BadImage, ImageLimits, Reason, content_of
from packshot.catalog.statistics import shrink
from packshot.files import atomic_path

__all__ = [
    "DECODABLE",
    "BadImage",
    "Carried",
    "ImageInfo",
    "ImageLimits",
    "Metadata",
    "Pixels",
    "Reason",
    "decode",
    "encode",
    "encoded",
    "inspect",
    "probe",
    "read_carried",
    "read_rgba",
    "resolve_inside",
]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageInfo:
    """What a file is: sha256 of its bytes (hex), size in pixels as it stands upright, format, size in bytes, and notes
    on what is odd beside its pixels (`code: sentence`)."""

    image_id: str
    width: int
    height: int
    format: str
    bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Carried:
    """What goes along when a picture is written anew: the file's sha256 (hex), its alpha channel (H x W uint8) where it
    has one, the profile of the colours that `decode` gives, and its metadata, upright."""

    image_id: str
    alpha: Pixels | None
    profile: bytes | None
    metadata: Metadata


def resolve_inside(root: Path, relative: str) -> Path:
    """The absolute path of `relative` below `root`, symbolic links followed.

    Raises BadImage (`outside_root`) for an absolute path, a `..`, or a link that leads out of `root`.
    The file need not exist.
    """
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise BadImage("outside_root", f"the path must be relative and stay below {root.name}/", repr(relative))
    try:
        resolved = (root / path).resolve()
    except (OSError, RuntimeError) as error:
        raise BadImage("outside_root", f"the path cannot be followed: {error}", repr(relative)) from error
    if not resolved.is_relative_to(root.resolve()):
        raise BadImage("outside_root", f"the path leads out of {root.name}/ by a symbolic link", repr(relative))
    return resolved


def probe(path: Path, limits: ImageLimits) -> ImageInfo:
    """Decode the whole file once and say what it is. Raises BadImage."""
    return inspect(path, limits)[0]


def decode(path: Path | bytes, limits: ImageLimits, *, longest: int | None = None) -> Pixels:
    """The picture as H x W x 3 uint8 sRGB, for a file or its bytes, shrunk to `longest` pixels where its longer side
    has more. Raises BadImage."""
    content, name = content_of(path, limits)
    return _shrunk(read(content, limits, name).on_white(), longest)


def inspect(source: Path | bytes, limits: ImageLimits, *, longest: int | None = None) -> tuple[ImageInfo, Pixels]:
    """`probe` and `decode` for the price of one: the size is that of the file. Raises BadImage."""
    content, name = content_of(source, limits)
    found = read(content, limits, name)
    pixels = found.on_white()
    height, width = pixels.shape[:2]
    identity = hashlib.sha256(content).hexdigest()
    return ImageInfo(identity, width, height, found.format, len(content), found.notes), _shrunk(pixels, longest)


def _shrunk(pixels: Pixels, longest: int | None) -> Pixels:
    return pixels if longest is None else shrink(pixels, longest)


def read_rgba(path: Path | bytes, limits: ImageLimits) -> Pixels:
    """The picture before it is laid on white, as H x W x 4 uint8; opaque where the file has no alpha channel. Raises
    BadImage."""
    content, name = content_of(path, limits)
    found = read(content, limits, name)
    opaque = np.full(found.colours.shape[:2], 255, np.uint8)
    return np.dstack([found.colours, opaque if found.alpha is None else found.alpha])


def read_carried(path: Path | bytes, limits: ImageLimits) -> Carried:
    """What goes along when the picture of a file, or of its bytes, is written anew. Raises BadImage."""
    content, name = content_of(path, limits)
    found = read(content, limits, name)
    return Carried(hashlib.sha256(content).hexdigest(), found.alpha, found.profile, found.metadata.upright())


def encode(
    image: Pixels,
    path: Path,
    *,
    format: str,
    jpeg_quality: int = 95,
    alpha: NDArray[np.uint8] | None = None,
    profile: bytes | None = None,
    described: Metadata | None = None,
) -> None:
    """Write H x W x 3 uint8 RGB to `path`, atomically, as `encoded` makes it.

    Raises ValueError as that does; OutputNotWritable on a full disk.
    """
    content = encoded(
        image, format=format, jpeg_quality=jpeg_quality, alpha=alpha, profile=profile, described=described
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
