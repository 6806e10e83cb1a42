"""Bytes to pixels: 8-bit sRGB, upright, with what else the file says of them."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from packshot.catalog.containers import exif, jpeg, metadata, png
from packshot.catalog.containers.colour import to_srgb
from packshot.catalog.containers.formats import foreign
from packshot.catalog.containers.metadata import Described, Metadata
from packshot.catalog.limits import DECODABLE, BadImage, ImageLimits, Reason, check_header

Pixels = NDArray[np.uint8]

_SAME_FORMAT = {"MPO": "JPEG"}
MOST_SCANS = 200
"""Of a JPEG: encoders write some ten, at most 64; each may cost as much time as a whole picture."""
STRIP_PIXELS = 1_000_000
_START_OF_SCAN = b"\xff\xda"
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_INTEGER_SCALES = (255.0, 65535.0, 4294967295.0)
_FLOAT_SCALES = (1.0, 255.0, 65535.0)

# Images above the limit are refused from their header with a reason; a warning as well helps nobody.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# So does one on metadata, which is not the picture and which is read apart.
warnings.filterwarnings("ignore", module="PIL")


@dataclass(frozen=True)
class Found:
    """A decoded file, upright: colours (H x W x 3 uint8 sRGB), alpha (H x W uint8) where it has any."""

    format: str
    colours: Pixels
    alpha: Pixels | None = None
    profile: bytes | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()

    def on_white(self) -> Pixels:
        """As a person sees it on a white page."""
        return self.colours if self.alpha is None else _blend(self.colours, self.alpha[..., None])

    def upright(self, orientation: int) -> Found:
        """Turned and mirrored as EXIF counts orientations, 1 to 8."""
        if orientation == 1:
            return self
        alpha = None if self.alpha is None else _turned(self.alpha, orientation)
        return replace(self, colours=_turned(self.colours, orientation), alpha=alpha)


def read(content: bytes, limits: ImageLimits, name: str | None) -> Found:
    """Decode; every failure of a decoder becomes a BadImage."""
    # Other libraries switch this on for the whole process; half a picture is not a picture.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    other = foreign(content)
    if other is not None:
        raise BadImage("unsupported_format", other.sentence, name)
    try:
        with _opened(content) as image:
            found = _format(image)
            check_header(image.size, found, limits, name)
            if found == "JPEG":
                return _read_jpeg(content, limits, name)
            if found == "PNG":
                return _read_png(content, name)
            if found == "TIFF":
                return _read_tiff(content)
            return _read_other(content, image, found)
    except Image.DecompressionBombError as error:
        raise BadImage("too_many_pixels", f"more pixels than the decoder's guard allows ({error})", name) from error
    except UnidentifiedImageError as error:
        detail = "the content is not that of any known image format, whatever its name says"
        raise BadImage("not_an_image", detail, name) from error
    except (OSError, EOFError, IndexError, struct.error, SyntaxError) as error:
        raise BadImage("truncated", f"the image data is cut off or damaged ({error})", name) from error
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise BadImage("not_an_image", f"the decoder cannot make sense of the file ({error})", name) from error


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """The file's header; where metadata keeps it from being read, that of the file without its metadata."""
    try:
        image = Image.open(io.BytesIO(content), formats=DECODABLE)
    except (Image.DecompressionBombError, MemoryError):
        raise
    except Exception:
        core = _core(content)
        if core is None:
            raise
        image = Image.open(io.BytesIO(core), formats=DECODABLE)
    with image:
        yield image


def _core(content: bytes) -> bytes | None:
    if content.startswith(png.SIGNATURE):
        return png.read(content).core
    found = jpeg.parse(content) if content.startswith(jpeg.SOI) else None
    return found.core if found is not None else None


def _read_jpeg(content: bytes, limits: ImageLimits, name: str | None) -> Found:
    found = jpeg.parse(content)
    if found is None or found.frame is None:
        raise BadImage("truncated", "the file is damaged: it ends before its picture begins", name)
    if found.frame.strange is not None:
        detail = f"the content is {found.frame.strange}, which is not read; save it as a usual JPEG or as PNG"
        raise BadImage("unsupported_format", detail, name)
    check_header((found.frame.width, found.frame.height), "JPEG", limits, name)
    _check_scans(content, name)
    try:
        decoded = jpeg.decode(found)
    except ValueError as error:
        raise BadImage("damaged", f"the file is damaged and cannot be decoded ({error})", name) from error
    if decoded.damage is not None:
        _refuse_damaged(decoded, name)
    said = metadata.of_jpeg(found)
    said = replace(said, notes=decoded.notes + said.notes)
    if decoded.pixels is None:
        with Image.open(io.BytesIO(found.core + jpeg.EOI), formats=["JPEG"]) as image:
            image.load()
            return _coloured("JPEG", image, said)
    if said.profile is None:
        return _finished(Found("JPEG", decoded.pixels), said)
    grey = found.frame.channels == 1
    return _coloured("JPEG", Image.fromarray(decoded.pixels[..., 0] if grey else decoded.pixels), said)


def _check_scans(content: bytes, name: str | None) -> None:
    # compressed data never holds a marker, metadata at most those of a thumbnail
    scans = content.count(_START_OF_SCAN)
    if scans > MOST_SCANS:
        detail = f"a JPEG of {scans} scans; at most {MOST_SCANS} are read: save the picture again"
        raise BadImage("too_many_scans", detail, name)


def _refuse_damaged(decoded: jpeg.Decoded, name: str | None) -> None:
    reason: Reason = "truncated" if decoded.cut else "damaged"
    what = "the file is cut off or damaged" if decoded.cut else "the file is damaged"
    raise BadImage(reason, f"{what} ({decoded.damage}); upload the original again", name)


def _read_png(content: bytes, name: str | None) -> Found:
    found = png.read(content)
    with Image.open(io.BytesIO(found.core), formats=["PNG"]) as image:
        image.load()
        if found.damage is not None:
            raise BadImage("damaged", f"the file is damaged ({found.damage}); upload the original again", name)
        said = metadata.of_png(found)
        return _coloured("PNG", image, said if found.frames < 2 else _with_note(said, _animated(found.frames)))


def _read_tiff(content: bytes) -> Found:
    said, pages = metadata.of_tiff(content), metadata.pages_of_tiff(content)
    # Pillow turns TIFF pictures itself as it loads them, and fails on odd tags that it then writes anew.
    with Image.open(io.BytesIO(exif.turned_upright(content)), formats=["TIFF"]) as image:
        image.load()
        return _coloured("TIFF", image, said if pages < 2 else _with_note(said, _first_page(pages)))


def _first_page(pages: int) -> str:
    return f"pages: the first of {pages} pages was judged"


def _read_other(content: bytes, image: Image.Image, found: str) -> Found:
    image.load()
    said = metadata.of_webp(content) if found == "WEBP" else metadata.of_other(image)
    if _moves(image):
        said = _with_note(said, _animated(getattr(image, "n_frames", 0) if found == "WEBP" else 0))
    return _coloured(found, image, said)


def _moves(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:
        return False  # a second frame that cannot be read is none that was judged


def _animated(frames: int) -> str:
    return f"animated: the first of {frames or 'its'} frames was judged"


def _with_note(said: Described, note: str) -> Described:
    return replace(said, notes=(*said.notes, note))


def _coloured(found: str, image: Image.Image, said: Described) -> Found:
    """The colours of a decoded image in sRGB, apart from its alpha."""
    alpha = None
    if image.mode in (*_SIXTEEN_BIT, "I", "F"):
        image = Image.fromarray(_deep_grey(image))
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha = np.asarray(rgba.getchannel("A")).copy()
        image = image.convert("LA").getchannel("L") if image.mode in ("L", "LA", "La") else rgba.convert("RGB")
    elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    converted = to_srgb(image, said.profile)
    if converted.note is not None:
        said = _with_note(said, converted.note)
    colours = np.asarray(converted.image).copy()
    return _finished(Found(found, colours, alpha, converted.profile), said)


def _finished(found: Found, said: Described) -> Found:
    return replace(found, metadata=said.metadata, notes=said.notes).upright(said.orientation)


def _turned(plane: Pixels, orientation: int) -> Pixels:
    if orientation >= 5:
        plane = plane.swapaxes(0, 1)
    across, down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return np.ascontiguousarray(plane[:: -1 if down else 1, :: -1 if across else 1])


def _format(image: Image.Image) -> str:
    found = image.format or "unknown"
    return _SAME_FORMAT.get(found, found)


def _deep_grey(image: Image.Image) -> Pixels:
    """One channel of more than 8 bits as H x W uint8, scaled rather than clipped, as Pillow's own conversion is.

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
    return np.clip(np.rint(values * (255.0 / scale)), 0, 255).astype(np.uint8)


def _blend(rgb: Pixels, alpha: Pixels) -> Pixels:
    """Worked off in strips: the sums need twice the memory of the picture, several times over."""
    result = np.empty_like(rgb)
    rows = max(1, STRIP_PIXELS // rgb.shape[1])
    for top in range(0, len(rgb), rows):
        strip = slice(top, top + rows)
        opacity = alpha[strip].astype(np.uint16)
        mixed = rgb[strip].astype(np.uint16) * opacity + 255 * (255 - opacity)
        result[strip] = (mixed + 127) // 255
    return result
