"""The readers of `packshot.catalog.image`, each in a worker process; same arguments, results and errors."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from packshot.catalog import image
from packshot.catalog.containers import drawing
from packshot.catalog.decoding.attempts import Attempts
from packshot.catalog.decoding.pool import Admission, at_once, decoders
from packshot.catalog.image import Carried, ImageInfo, ImageLimits, Pixels


def probe(path: Path, limits: ImageLimits) -> ImageInfo:
    """See `packshot.catalog.image.probe`. As all here it raises BadImage, also `decoder_crashed`, `decoder_timeout`."""
    return decoders().call(image.probe, path, limits)


def decode(
    source: Path | bytes, limits: ImageLimits, *, longest: int | None = None, attempts: Attempts | None = None
) -> Pixels:
    """See `packshot.catalog.image.decode`; `attempts` as for `Decoders.call`."""
    return decoders().call(partial(image.decode, longest=longest), source, limits, attempts=attempts)


def inspect(
    source: Path | bytes,
    limits: ImageLimits,
    *,
    longest: int | None = None,
    admit: Admission = at_once,
    attempts: Attempts | None = None,
) -> tuple[ImageInfo, Pixels]:
    """See `packshot.catalog.image.inspect`; `admit` and `attempts` as for `Decoders.call`."""
    return decoders().call(partial(image.inspect, longest=longest), source, limits, admit, attempts)


def read_rgba(source: Path | bytes, limits: ImageLimits) -> Pixels:
    """See `packshot.catalog.image.read_rgba`."""
    return decoders().call(image.read_rgba, source, limits)


def read_carried(source: Path | bytes, limits: ImageLimits, attempts: Attempts | None = None) -> Carried:
    """See `packshot.catalog.image.read_carried`; `attempts` as for `Decoders.call`."""
    return decoders().call(image.read_carried, source, limits, attempts=attempts)


def drawn(path: Path, limits: ImageLimits, side: int) -> Pixels:
    """See `packshot.catalog.containers.drawing.drawn`."""
    return decoders().call(partial(drawing.drawn, side=side), path, limits)
