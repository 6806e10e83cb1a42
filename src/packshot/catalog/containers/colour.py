"""From the colours that a file's profile speaks of to sRGB, which is what judge, rules and browsers take pixels for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

ALIKE = 3
"""Levels, of 255, by which a profile may differ from sRGB and still be called sRGB: pixels stay as they are."""
MOST_BYTES = 4_000_000
_SPACES = {"RGB": b"RGB ", "CMYK": b"CMYK", "L": b"GRAY", "LAB": b"Lab "}
_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
_DATE = slice(24, 36)
_NO_CACHE = 0x0040
"""A transform of lcms that several threads may use at once."""


@dataclass(frozen=True)
class Converted:
    """A picture in sRGB (mode RGB), the `profile` to write with these colours, and a `note` on an odd profile.

    `profile` is None where the file has none, or one that cannot be used: nothing is claimed that was not said.
    """

    image: Image.Image
    profile: bytes | None = None
    note: str | None = None


class ProfileUnusable(ValueError):
    """A colour profile that cannot be read, or is not of the picture's channels."""


def to_srgb(image: Image.Image, profile: bytes | None) -> Converted:
    """A picture of mode RGB, L, CMYK or LAB in sRGB. Never raises for what is wrong with a profile.

    Without a usable profile RGB and grey are taken for sRGB, and CMYK is converted by arithmetic. The intent is
    perceptual: where the profile of a press has tables for it, they undo best what separating a photograph did.
    """
    if image.mode == "LAB":
        return Converted(_applied(image, _lab()), srgb_profile())
    if not profile:
        return Converted(_rgb(image))
    if image.mode == "L" and profile[16:20] == _SPACES["RGB"]:
        image = image.convert("RGB")
    try:
        transform = _transform(profile, image.mode)
        converted = _rgb(image) if transform is None else _applied(image, transform)
    except ProfileUnusable as error:
        return Converted(_rgb(image), None, f"profile_unusable: {error}; the colours are taken for sRGB")
    kept = profile if transform is None and image.mode == "RGB" else srgb_profile()
    return Converted(converted, kept)


@lru_cache(1)
def srgb_profile() -> bytes:
    """A profile of sRGB, the same bytes each time: the one that lcms makes holds the time of day."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[_DATE] = bytes([7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])  # 1 January 2000
    return bytes(made)


@lru_cache(16)
def _transform(profile: bytes, mode: str) -> Any | None:
    """The transform to sRGB; None where it would change nothing. Raises ProfileUnusable."""
    if len(profile) > MOST_BYTES or len(profile) < 132:
        raise ProfileUnusable(f"a colour profile of {len(profile)} bytes is none")
    if profile[16:20] != _SPACES.get(mode) or profile[12:16] not in _CLASSES:
        space = profile[16:20].decode("latin-1").strip()
        raise ProfileUnusable(f"the colour profile is of {space}, the picture is {mode}")
    try:
        made = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.PERCEPTUAL,
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags(_NO_CACHE),
        )
        tried = _colours(mode)
        seen = np.asarray(_applied(tried, made), np.int16)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ProfileUnusable(f"the colour profile cannot be used ({error})") from error
    if mode == "CMYK":
        return made
    return None if np.abs(seen - np.asarray(tried.convert("RGB"), np.int16)).max() <= ALIKE else made


@lru_cache(1)
def _lab() -> Any:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _applied(image: Image.Image, transform: Any) -> Image.Image:
    result: Image.Image = transform.apply(image)
    return result


def _colours(mode: str) -> Image.Image:
    """Colours from all over the space, as a picture: greys first."""
    greys = np.arange(256, dtype=np.uint8)
    if mode == "L":
        return Image.fromarray(greys[None])
    steps = np.linspace(0, 255, 7).astype(np.uint8)
    channels = len(mode)
    grid = np.stack(np.meshgrid(*[steps] * channels, indexing="ij"), axis=-1).reshape(1, -1, channels)
    ramp = np.repeat(greys[None, :, None], channels, axis=2)
    return Image.fromarray(np.ascontiguousarray(np.concatenate([ramp, grid], axis=1)), mode)
