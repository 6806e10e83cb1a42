"""Bytes to pixels: 8-bit sRGB, upright, with what else the file says of them."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from packshot.catalog.containers import exif, jpeg, jpeg_decoding, metadata, planes, png
from packshot.catalog.containers.colour import to_srgb
from packshot.catalog.containers.formats import AS_TEXT, begins_as, foreign, line_ends_changed, spoilt
from packshot.catalog.containers.metadata import Described, Metadata
from packshot.catalog.containers.planes import Pixels
from packshot.catalog.limits import DECODABLE, BadImage, ImageLimits, Reason, check_header

_SAME_FORMAT = {"MPO": "JPEG"}
MOST_SCANS = 200
"""Of a JPEG: encoders write some ten, at most 64; each may cost as much time as a whole picture."""
STRIP_PIXELS = 1_000_000
"""What is worked off at a time: a step between file and pixels holds its picture as often as it likes, but not all."""
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
        """As a person sees it on a white page; `colours` are written over, another copy would be too much."""
        if self.alpha is not None:
            _blend(self.colours, self.alpha[..., None])
        return self.colours

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
        header = _header(content)
        check_header(header.size, header.format, limits, name)
        if header.format == "JPEG":
            return _read_jpeg(content, limits, name)
        if header.format == "PNG":
            return _read_png(content, name)
        if header.format == "TIFF":
            return _read_tiff(content)
        if header.format == "WEBP":
            return _read_webp(content, header, name)
        return _read_other(content, header)
    except Image.DecompressionBombError as error:
        raise BadImage("too_many_pixels", f"more pixels than the decoder's guard allows ({error})", name) from error
    except UnidentifiedImageError as error:
        raise _unidentified(content, name) from error
    except (OSError, EOFError, IndexError, struct.error, SyntaxError) as error:
        raise BadImage("truncated", f"the image data is cut off or damaged ({error})", name) from error
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise BadImage("not_an_image", f"the decoder cannot make sense of the file ({error})", name) from error


def _unidentified(content: bytes, name: str | None) -> BadImage:
    """For a file of which no decoder makes a picture: what it was meant to be, as far as can be told."""
    kind = begins_as(content)
    if kind is None:
        what = spoilt(content) or "the content is not that of any known image format, whatever its name says"
        return BadImage("not_an_image", what, name)
    samples = metadata.samples_of_tiff(content) if kind == "TIFF" else None
    if samples is not None:
        detail = f"the content is TIFF of {samples}, which is not read: export it as JPEG or PNG and upload that"
        return BadImage("unsupported_format", detail, name)
    return BadImage(
        "truncated", f"the file begins as {kind}, and is cut off or damaged; upload the original again", name
    )


@dataclass(frozen=True)
class _Header:
    """What is known of a file before its pixels. `frames` are counted for WebP alone, elsewhere they cost decoding."""

    format: str
    size: tuple[int, int]
    frames: int = 1


def _header(content: bytes) -> _Header:
    # a decoder of WebP takes memory for its pixels as soon as it has the header: it is let go of here
    try:
        with _opened(content) as image:
            return _header_of(image)
    except (Image.DecompressionBombError, MemoryError):
        raise
    except Exception:
        found = jpeg.parse(content) if content.startswith(jpeg.SOI) else None
        if found is None or found.frame is None:
            raise
        return _Header("JPEG", (found.frame.width, found.frame.height))


def _header_of(image: Image.Image) -> _Header:
    found = _format(image)
    return _Header(found, image.size, getattr(image, "n_frames", 1) if found == "WEBP" else 1)


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
    return None


def _read_jpeg(content: bytes, limits: ImageLimits, name: str | None) -> Found:
    found = jpeg.parse(content)
    if found is None or found.frame is None:
        raise BadImage("truncated", "the file is damaged: it ends before its picture begins", name)
    if found.frame.strange is not None:
        detail = f"the content is {found.frame.strange}, which is not read; save it as a usual JPEG or as PNG"
        raise BadImage("unsupported_format", detail, name)
    check_header((found.frame.width, found.frame.height), "JPEG", limits, name)
    _check_scans(found, name)
    said = metadata.of_jpeg(found)
    try:
        decoded = jpeg_decoding.decode(found, _plane_for(said))
    except ValueError as error:
        raise BadImage("damaged", f"the file is damaged and cannot be decoded ({error})", name) from error
    if decoded.damage is not None:
        _refuse_damaged(decoded, name)
    said = replace(said, notes=decoded.notes + said.notes)
    if decoded.pixels is None:
        with Image.open(io.BytesIO(found.core + jpeg.EOI), formats=["JPEG"]) as image:
            image.load()
            return _coloured("JPEG", image, said)
    return _in_srgb(Found("JPEG", decoded.pixels), said, grey=found.frame.channels == 1)


def _check_scans(found: jpeg.Jpeg, name: str | None) -> None:
    # what looks like a scan may be metadata, or a film behind the picture; few files have so much of it
    if found.content.count(_START_OF_SCAN) <= MOST_SCANS:
        return
    scans = sum(1 for _ in jpeg.scans(found))
    if scans > MOST_SCANS:
        detail = f"a JPEG of {scans} scans; at most {MOST_SCANS} are read: save the picture again"
        raise BadImage("too_many_scans", detail, name)


def _refuse_damaged(decoded: jpeg_decoding.Decoded, name: str | None) -> None:
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


def _read_webp(content: bytes, header: _Header, name: str | None) -> Found:
    # Pillow holds a WebP picture six times over, OpenCV twice; the pixels are the same
    try:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        decoded = None
    if decoded is None:
        raise BadImage("truncated", "the image data is cut off or damaged", name)
    if line_ends_changed(metadata.pixels_of_webp(content)):
        raise BadImage("damaged", AS_TEXT, name)
    said = metadata.of_webp(content)
    colours, alpha = _plane_for(said)((*decoded.shape[:2], 3)), None
    if decoded.shape[2] == 4:
        alpha = cv2.extractChannel(decoded, 3)
    cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB if alpha is None else cv2.COLOR_BGRA2RGB, dst=colours)
    del decoded
    if header.frames > 1:
        said = _with_note(said, _animated(header.frames))
    return _in_srgb(Found("WEBP", colours, alpha), said)


def _read_other(content: bytes, header: _Header) -> Found:
    with _opened(content) as image:
        image.load()
        said = metadata.of_other(image)
        if _moves(image):
            said = _with_note(said, _animated(0))
        return _coloured(header.format, image, said)


def _moves(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:
        return False  # a second frame that cannot be read is none that was judged


def _animated(frames: int) -> str:
    return f"animated: the first of {frames or 'its'} frames was judged"


def _with_note(said: Described, note: str | None) -> Described:
    return said if note is None else replace(said, notes=(*said.notes, note))


def _plane_for(said: Described) -> planes.Make:
    """Of colours: where the picture is handed over, unless it is turned before."""
    return planes.empty if said.orientation == 1 else planes.scratch


def _in_srgb(found: Found, said: Described, *, grey: bool = False) -> Found:
    """With its colours, which are written over, in sRGB; `grey` where a profile would be one of grey."""
    if said.profile is None:
        return _finished(found, said)
    for strip in _strips(*found.colours.shape[:2]):
        pixels = found.colours[strip]
        converted = to_srgb(Image.fromarray(pixels[..., 0] if grey else pixels), said.profile)
        pixels[...] = np.asarray(converted.image)
    return _finished(replace(found, profile=converted.profile), _with_note(said, converted.note))


def _coloured(found: str, image: Image.Image, said: Described) -> Found:
    """The colours of a decoded image in sRGB, apart from its alpha."""
    deep = image.mode in (*_SIXTEEN_BIT, "I", "F")
    scale = _full_scale(image) if deep else 0.0
    height, width = image.height, image.width
    colours = _plane_for(said)((height, width, 3))
    alpha = planes.scratch((height, width)) if not deep and image.has_transparency_data else None
    for strip in _strips(height, width):
        whole = strip.stop - strip.start == height
        piece = image if whole else image.crop((0, strip.start, width, strip.stop))
        if deep:
            piece = Image.fromarray(_deep_grey(piece, scale))
        elif alpha is not None:
            rgba = piece.convert("RGBA")
            alpha[strip] = np.asarray(rgba.getchannel("A"))
            piece = piece.convert("LA").getchannel("L") if image.mode in ("L", "LA", "La") else rgba.convert("RGB")
        elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
            piece = piece.convert("RGB")
        converted = to_srgb(piece, said.profile)
        colours[strip] = np.asarray(converted.image)
    return _finished(Found(found, colours, alpha, converted.profile), _with_note(said, converted.note))


def _strips(height: int, width: int) -> Iterator[slice]:
    rows = max(1, STRIP_PIXELS // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def _finished(found: Found, said: Described) -> Found:
    return replace(found, metadata=said.metadata, notes=said.notes).upright(said.orientation)


def _turned(plane: Pixels, orientation: int) -> Pixels:
    if orientation >= 5:
        plane = plane.swapaxes(0, 1)
    across, down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    plane = plane[:: -1 if down else 1, :: -1 if across else 1]
    turned = planes.empty(plane.shape)
    turned[...] = plane
    return turned


def _format(image: Image.Image) -> str:
    found = image.format or "unknown"
    return _SAME_FORMAT.get(found, found)


def _full_scale(image: Image.Image) -> float:
    """What is white in one channel of more than 8 bits.

    The scale of 16-bit modes is known; a 32-bit integer or float file does not say what its white is,
    so the smallest usual full scale that holds its maximum is taken.
    """
    if image.mode in _SIXTEEN_BIT:
        return 65535.0
    strips = _strips(image.height, image.width)
    peak = max(float(_finite(image.crop((0, each.start, image.width, each.stop))).max()) for each in strips)
    scales = _FLOAT_SCALES if image.mode == "F" else _INTEGER_SCALES
    return next((one for one in scales if peak <= one), peak)


def _deep_grey(image: Image.Image, scale: float) -> Pixels:
    """As H x W uint8, scaled rather than clipped, as Pillow's own conversion is."""
    return np.clip(np.rint(_finite(image) * (255.0 / scale)), 0, 255).astype(np.uint8)


def _finite(image: Image.Image) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0.0, neginf=0.0)


def _blend(rgb: Pixels, alpha: Pixels) -> None:
    """Over white, in place."""
    for strip in _strips(*rgb.shape[:2]):
        opacity = alpha[strip].astype(np.uint16)
        mixed = rgb[strip].astype(np.uint16) * opacity + 255 * (255 - opacity)
        rgb[strip] = (mixed + 127) // 255
