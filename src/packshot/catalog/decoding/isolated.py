"""The readers of `packshot.catalog.image`, each in a worker process; same arguments, results and errors."""

from __future__ import annotations

from pathlib import Path

from packshot.catalog import image
from packshot.catalog.decoding.pool import decoders
from packshot.catalog.image import ImageInfo, ImageLimits, Pixels


def probe(path: Path, limits: ImageLimits) -> ImageInfo:
    """See `packshot.catalog.image.probe`. As all here it raises BadImage, also `decoder_crashed`, `decoder_timeout`."""
    return decoders().call(image.probe, path, limits)


def decode(source: Path | bytes, limits: ImageLimits) -> Pixels:
    """See `packshot.catalog.image.decode`."""
    return decoders().call(image.decode, source, limits)


def inspect(path: Path, limits: ImageLimits) -> tuple[ImageInfo, Pixels]:
    """See `packshot.catalog.image.inspect`."""
    return decoders().call(image.inspect, path, limits)


def read_alpha(source: Path | bytes, limits: ImageLimits) -> Pixels | None:
    """See `packshot.catalog.image.read_alpha`."""
    return decoders().call(image.read_alpha, source, limits)


def read_profile(source: Path | bytes, limits: ImageLimits) -> bytes | None:
    """See `packshot.catalog.image.read_profile`."""
    return decoders().call(image.read_profile, source, limits)
