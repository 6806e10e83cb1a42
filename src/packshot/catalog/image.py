"""Reading and writing image files that nobody vouches for.

Every reader here checks, in this order: the file's size, its format by content, the pixel count its
header claims, and only then decodes. All readers end in the same picture: 8-bit RGB as a person sees
it on a white page (EXIF orientation applied, transparency over white, first frame of an animation).
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from packshot.config import ValidationSettings
from packshot.errors import PackshotError
from packshot.files import atomic_path

Reason = Literal[
    "missing_file",
    "outside_root",
    "empty_file",
    "not_an_image",
    "truncated",
    "unsupported_format",
    "too_many_pixels",
    "too_large_file",
    "too_small",
]
Pixels = NDArray[np.uint8]

DECODABLE = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
_SAME_FORMAT = {"MPO": "JPEG"}
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"8BPS", "PSD"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
)
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_INTEGER_SCALES = (255.0, 65535.0, 4294967295.0)
_FLOAT_SCALES = (1.0, 255.0, 65535.0)

# Images above the limit are refused from their header with a reason; a warning as well helps nobody.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


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

    @classmethod
    def from_settings(cls, settings: ValidationSettings) -> ImageLimits:
        """The limits of the `validation` section of `params.yaml`."""
        return cls(settings.max_megapixels, settings.max_file_mb, settings.min_side_px, settings.formats)


@dataclass(frozen=True)
class ImageInfo:
    """What a file is: sha256 of its bytes (hex), size in pixels after EXIF rotation, format, size in bytes."""

    image_id: str
    width: int
    height: int
    format: str
    bytes: int


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


def decode(path: Path | bytes, limits: ImageLimits) -> Pixels:
    """The picture as H x W x 3 uint8 RGB, for a file or its bytes. Raises BadImage."""
    content, name = _content(path, limits)
    with _opened(content, limits, name) as image:
        return _on_white(image)


def inspect(path: Path, limits: ImageLimits) -> tuple[ImageInfo, Pixels]:
    """`probe` and `decode` for the price of one. Raises BadImage."""
    content, name = _content(path, limits)
    with _opened(content, limits, name) as image:
        pixels = _on_white(image)
        found = _format(image)
    height, width = pixels.shape[:2]
    info = ImageInfo(hashlib.sha256(content).hexdigest(), width, height, found, len(content))
    return info, pixels


def read_alpha(path: Path | bytes, limits: ImageLimits) -> Pixels | None:
    """The alpha channel as H x W uint8 (255 opaque), EXIF rotation applied; None where the file has none."""
    content, name = _content(path, limits)
    with _opened(content, limits, name) as image:
        if not image.has_transparency_data or image.mode in _SIXTEEN_BIT:
            return None
        return np.asarray(image.convert("RGBA").getchannel("A")).copy()


def read_profile(path: Path | bytes, limits: ImageLimits) -> bytes | None:
    """The ICC profile that says what the RGB values of a file mean; None where it has none, or is of other colours."""
    content, name = _content(path, limits)
    with _opened(content, limits, name) as image:
        profile = image.info.get("icc_profile")
        return profile if isinstance(profile, bytes) and image.mode in ("RGB", "RGBA", "P", "PA") else None


def encode(
    image: Pixels,
    path: Path,
    *,
    format: str,
    jpeg_quality: int = 95,
    alpha: NDArray[np.uint8] | None = None,
    profile: bytes | None = None,
) -> None:
    """Write H x W x 3 uint8 RGB to `path` as `format` (one of DECODABLE), atomically.

    JPEG is written at `jpeg_quality` with 4:4:4 chroma, WebP at the same quality; the others are lossless
    but GIF, which has 256 colours. With `alpha` (H x W uint8) the colours are un-blended from white first,
    so that the file shown on a white page is `image` again. `profile` is an ICC profile to embed.
    Raises ValueError for an unknown format, or alpha in JPEG or BMP; OutputNotWritable on a full disk.
    """
    options = _save_options(format, jpeg_quality)
    if alpha is None:
        picture = Image.fromarray(np.ascontiguousarray(image), "RGB")
    elif format in ("JPEG", "BMP"):
        raise ValueError(f"{format} has no alpha channel; write PNG, WEBP, TIFF or GIF, or leave alpha out")
    else:
        picture = Image.fromarray(_unblend(image, alpha), "RGBA")
    if profile is not None:
        options = options | {"icc_profile": profile}
    with atomic_path(path) as temporary:
        picture.save(temporary, format=format, **options)


def _save_options(format: str, quality: int) -> dict[str, Any]:
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality, "method": 4},
        "PNG": {},
        "TIFF": {"compression": "tiff_lzw"},
        "GIF": {},
        "BMP": {},
    }
    if format not in options:
        raise ValueError(f"cannot write format {format!r}; known are {', '.join(DECODABLE)}")
    return options[format]


def _content(source: Path | bytes, limits: ImageLimits) -> tuple[bytes, str | None]:
    most = int(limits.max_file_mb * 1_000_000)
    if isinstance(source, bytes):
        content, name = source, None
    else:
        name = source.name
        content = _read(source, most)
    if not content:
        raise BadImage("empty_file", "the file has no bytes", name)
    if len(content) > most:
        raise BadImage("too_large_file", f"the file is larger than the limit of {limits.max_file_mb:g} MB", name)
    return content, name


def _read(path: Path, most: int) -> bytes:
    if not path.is_file():
        raise BadImage("missing_file", "there is no such file", path.name)
    try:
        with path.open("rb") as handle:
            return handle.read(most + 1)
    except OSError as error:
        raise BadImage("missing_file", f"the file cannot be read: {error.strerror}", path.name) from error


@contextmanager
def _opened(content: bytes, limits: ImageLimits, name: str | None) -> Iterator[Image.Image]:
    """The decoded, upright image; every failure of the decoder becomes a BadImage."""
    # Other libraries switch this on for the whole process; half a picture is not a picture.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(content), formats=DECODABLE) as image:
            found = _format(image)
            _check_header(image, found, limits, name)
            image.load()
            upright = ImageOps.exif_transpose(image)
            upright.format = found
            yield upright
    except Image.DecompressionBombError as error:
        raise BadImage("too_many_pixels", f"more pixels than the decoder's guard allows ({error})", name) from error
    except UnidentifiedImageError as error:
        raise _unidentified(content, name) from error
    except (OSError, EOFError, IndexError, struct.error, SyntaxError) as error:
        raise BadImage("truncated", f"the image data is cut off or damaged ({error})", name) from error
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise BadImage("not_an_image", f"the decoder cannot make sense of the file ({error})", name) from error


def _format(image: Image.Image) -> str:
    found = image.format or "unknown"
    return _SAME_FORMAT.get(found, found)


def _check_header(image: Image.Image, found: str, limits: ImageLimits, name: str | None) -> None:
    if found not in limits.formats:
        allowed = ", ".join(limits.formats)
        raise BadImage("unsupported_format", f"the content is {found}; allowed are {allowed}", name)
    width, height = image.size
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


def _unidentified(content: bytes, name: str | None) -> BadImage:
    for offset, signature, label in _SIGNATURES:
        if content[offset : offset + len(signature)] == signature:
            return BadImage("unsupported_format", f"the content is {label}, which is not read", name)
    return BadImage("not_an_image", "the content is not that of any known image format, whatever its name says", name)


def _on_white(image: Image.Image) -> Pixels:
    if image.mode in (*_SIXTEEN_BIT, "I", "F"):
        return _deep_grey(image)
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return _blend(rgba[..., :3], rgba[..., 3:])
    return np.asarray(image.convert("RGB")).copy()


def _deep_grey(image: Image.Image) -> Pixels:
    """One channel of more than 8 bits, scaled rather than clipped (Pillow's own conversion clips at 255).

    The scale of 16-bit modes is known; a 32-bit integer or float file does not say what its white is,
    so the smallest usual full scale that holds its maximum is taken.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0.0, neginf=0.0)
    if image.mode in _SIXTEEN_BIT:
        scale = 65535.0
    else:
        scales = _FLOAT_SCALES if image.mode == "F" else _INTEGER_SCALES
        peak = float(values.max())
        scale = next((one for one in scales if peak <= one), peak)
    grey = np.clip(np.rint(values * (255.0 / scale)), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _blend(rgb: Pixels, alpha: Pixels) -> Pixels:
    opacity = alpha.astype(np.uint16)
    mixed = rgb.astype(np.uint16) * opacity + 255 * (255 - opacity)
    return ((mixed + 127) // 255).astype(np.uint8)


def _unblend(image: Pixels, alpha: Pixels) -> Pixels:
    opacity = alpha.astype(np.float32)[..., None] / 255.0
    colour = np.where(opacity > 0, (image - 255.0 * (1.0 - opacity)) / np.maximum(opacity, 1e-6), 255.0)
    rgb = np.clip(np.rint(colour), 0, 255).astype(np.uint8)
    return np.concatenate([rgb, alpha[..., None]], axis=2)
