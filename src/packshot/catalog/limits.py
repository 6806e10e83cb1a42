"""What a picture file may be, and the error for one that is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from packshot.errors import PackshotError

if TYPE_CHECKING:
    from packshot.config import ValidationSettings

Reason = Literal[
    "missing_file",
    "outside_root",
    "empty_file",
    "not_an_image",
    "truncated",
    "damaged",
    "unsupported_format",
    "too_many_pixels",
    "too_large_file",
    "too_small",
    "too_many_scans",
    "decoder_crashed",
    "decoder_timeout",
]

DECODABLE = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")


class BadImage(PackshotError):
    """A file that cannot be used as a product image.

    `reason` is a code for tables, `detail` a sentence with what was expected and what was found.
    """

    exit_code = 65

    def __init__(self, reason: Reason, detail: str, path: Path | str | None = None) -> None:
        super().__init__(f"{path}: {detail}" if path is not None else detail)
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True)
class ImageLimits:
    """What a file may be. `formats` are Pillow's names of formats, as found in the content.

    Pillow's own guard stays on behind `max_megapixels`: nothing above about 178 megapixels is decoded.
    """

    max_megapixels: float
    max_file_mb: float
    min_side_px: int
    formats: tuple[str, ...]
    deadline_s: float = 30.0
    """Seconds that decoding may take."""

    @classmethod
    def from_settings(cls, settings: ValidationSettings) -> ImageLimits:
        """The limits of the `validation` section of `params.yaml`."""
        return cls(
            settings.max_megapixels,
            settings.max_file_mb,
            settings.min_side_px,
            settings.formats,
            settings.decode_deadline_s,
        )


def content_of(source: Path | bytes, limits: ImageLimits) -> tuple[bytes, str | None]:
    """The bytes of a file, or those given, and its name. Raises BadImage where there are none, or too many."""
    most = int(limits.max_file_mb * 1_000_000)
    if isinstance(source, bytes):
        content, name = source, None
    else:
        name = source.name
        content = _bytes(source, most)
    if not content:
        raise BadImage("empty_file", "the file has no bytes", name)
    if len(content) > most:
        raise BadImage("too_large_file", f"the file is larger than the limit of {limits.max_file_mb:g} MB", name)
    return content, name


def _bytes(path: Path, most: int) -> bytes:
    if not path.is_file():
        raise BadImage("missing_file", "there is no such file", path.name)
    try:
        with path.open("rb") as handle:
            return handle.read(most + 1)
    except OSError as error:
        raise BadImage("missing_file", f"the file cannot be read: {error.strerror}", path.name) from error


def check_header(size: tuple[int, int], found: str, limits: ImageLimits, name: str | None) -> None:
    """Raise BadImage for a picture whose header claims more, or less, than is allowed."""
    if found not in limits.formats:
        allowed = ", ".join(limits.formats)
        raise BadImage("unsupported_format", f"the content is {found}; allowed are {allowed}", name)
    width, height = size
    if width * height > limits.max_megapixels * 1_000_000:
        megapixels = width * height / 1_000_000
        raise BadImage(
            "too_many_pixels",
            f"{width} x {height} is {megapixels:.1f} megapixels; the limit is {limits.max_megapixels:g}",
            name,
        )
    if min(width, height) < limits.min_side_px:
        raise BadImage(
            "too_small", f"{width} x {height} pixels; the shorter side needs at least {limits.min_side_px}", name
        )
