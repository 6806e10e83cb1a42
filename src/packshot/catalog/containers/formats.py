"""The true format of a file that is not decoded, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packshot.catalog.containers.exif import (
    DNG_VERSION,
    MAKE,
    PHOTOMETRIC,
    SENSOR_DATA,
    SUBFILE_TYPE,
    Block,
    Directory,
)

_EXPORT = "export it as JPEG or PNG and upload that"
_DEVELOP = "a camera's raw file, whose small preview is not the picture; develop it and export it as JPEG or PNG"
_UNPACK = "an archive; unpack it and upload the pictures in it"
_STILL = "a video or sound; upload a still picture as JPEG or PNG"
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"%PDF", "PDF", f"a document; {_EXPORT}"),
    (0, b"%!PS", "PostScript", f"a document; {_EXPORT}"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS", f"a document; {_EXPORT}"),
    (0, b"8BPS", "PSD (Photoshop)", _EXPORT),
    (0, b"gimp xcf", "XCF (GIMP)", _EXPORT),
    (0, b"\x00\x00\x01\x00", "ICO", "an icon; upload the picture itself as JPEG or PNG"),
    (0, b"\x00\x00\x02\x00", "CUR", "a cursor; upload the picture itself as JPEG or PNG"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL", _EXPORT),
    (0, b"\xff\x0a", "JPEG XL", _EXPORT),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000", _EXPORT),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000", _EXPORT),
    (0, b"\xff\xd8\xff\xf7", "JPEG-LS", _EXPORT),
    (0, b"II\xbc\x01", "JPEG XR", _EXPORT),
    (0, b"II+\0", "BigTIFF", _EXPORT),
    (0, b"MM\0+", "BigTIFF", _EXPORT),
    (0, b"\x76\x2f\x31\x01", "OpenEXR", _EXPORT),
    (0, b"#?RADIANCE", "Radiance HDR", _EXPORT),
    (0, b"qoif", "QOI", _EXPORT),
    (0, b"DDS ", "DDS", _EXPORT),
    (0, b"BPG\xfb", "BPG", _EXPORT),
    (0, b"FUJIFILMCCD-RAW", "RAF (Fujifilm)", _DEVELOP),
    (0, b"IIU\0", "RW2 (Panasonic)", _DEVELOP),
    (0, b"IIRO", "ORF (Olympus)", _DEVELOP),
    (0, b"IIRS", "ORF (Olympus)", _DEVELOP),
    (0, b"MMOR", "ORF (Olympus)", _DEVELOP),
    (0, b"FOVb", "X3F (Sigma)", _DEVELOP),
    (0, b"\0MRM", "MRW (Minolta)", _DEVELOP),
    (6, b"HEAPCCDR", "CRW (Canon)", _DEVELOP),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM video", _STILL),
    (8, b"AVI ", "AVI video", _STILL),
    (0, b"PK\x03\x04", "ZIP archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "RAR archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "7z archive", _UNPACK),
    (0, b"\x1f\x8b", "gzip archive", _UNPACK),
    (0, b"\xfd7zXZ\0", "xz archive", _UNPACK),
    (0, b"BZh", "bzip2 archive", _UNPACK),
    (257, b"ustar", "tar archive", _UNPACK),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document or message", f"a document; {_EXPORT}"),
    (0, b"\x06\x06\xed\xf5\xd8\x1d\x46\xe5", "InDesign", f"a document; {_EXPORT}"),
    (0, b"{\\rtf", "RTF", f"a document; {_EXPORT}"),
    (8, b"CDR", "CorelDRAW", f"a drawing; {_EXPORT}"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF", f"a drawing; {_EXPORT}"),
    (40, b" EMF", "EMF", f"a drawing; {_EXPORT}"),
    (0, b"AT&TFORM", "DjVu", f"a document; {_EXPORT}"),
    (0, b"icns", "ICNS", "an icon; upload the picture itself as JPEG or PNG"),
    (8, b"ACON", "ANI", "a cursor; upload the picture itself as JPEG or PNG"),
    (0, b"SIMPLE  =", "FITS", _EXPORT),
    (128, b"DICM", "DICOM", _EXPORT),
    (0, b"FLIF", "FLIF", _EXPORT),
    (8, b"ILBM", "ILBM", _EXPORT),
    (0, b"\x01\xda\x01", "SGI", _EXPORT),
    (0, b"\x59\xa6\x6a\x95", "Sun raster", _EXPORT),
    (0, b"\xabKTX ", "KTX", _EXPORT),
    (0, b"#?RGBE", "Radiance HDR", _EXPORT),
    (0, b"/* XPM", "XPM", _EXPORT),
    (0, b"\x8aMNG\r\n", "MNG", f"an animation; {_EXPORT}"),
    (0, b"\x8bJNG\r\n", "JNG", _EXPORT),
    (0, b"\0\0\1\xba", "MPEG video", _STILL),
    (0, b"FLV\1", "Flash video", _STILL),
    (8, b"WAVE", "WAV sound", _STILL),
    (0, b"ID3", "MP3 sound", _STILL),
    (0, b"OggS", "Ogg", _STILL),
    (0, b"\0\5\x16\7", "AppleDouble", "what a Mac keeps beside a file; upload the file itself"),
    (0, b"L\0\0\0\1\x14\2\0", "a Windows shortcut", "it leads to the picture; upload the picture itself"),
    (0, b"MZ", "a Windows program", "no picture; upload the picture itself as JPEG or PNG"),
    (0, b"\x7fELF", "a program", "no picture; upload the picture itself as JPEG or PNG"),
    (0, b"SQLite format 3", "a database", "no picture; upload the picture itself as JPEG or PNG"),
)
_PORTABLE = re.compile(rb"P([1-7]|[Ff])\s+(#[^\n]*\n\s*)*-?\d")
_BRANDS: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"crx ",), "CR3 (Canon)", _DEVELOP),
    ((b"avif", b"avis"), "AVIF", _EXPORT),
    ((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC", _EXPORT),
    ((b"mif1", b"msf1", b"mif2", b"miaf"), "HEIF", _EXPORT),
    ((b"jxl ",), "JPEG XL", _EXPORT),
    ((b"jp2 ", b"jpx ", b"jpm ", b"mjp2", b"jph "), "JPEG 2000", _EXPORT),
)
_SVG = re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?((<!--.{,2000}?-->|<!DOCTYPE[^>]*>)\s*){,8}<svg\b", re.S)
_MAKERS = (
    ("NIKON", "NEF (Nikon)"),
    ("SONY", "ARW (Sony)"),
    ("CANON", "CR2 (Canon)"),
    ("PENTAX", "PEF (Pentax)"),
    ("RICOH", "PEF (Pentax)"),
    ("SAMSUNG", "SRW (Samsung)"),
    ("HASSELBLAD", "3FR (Hasselblad)"),
    ("PHASE ONE", "IIQ (Phase One)"),
    ("OLYMPUS", "ORF (Olympus)"),
    ("EPSON", "ERF (Epson)"),
    ("KODAK", "DCR (Kodak)"),
)


_READ: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"RIFF", "WEBP"),
    (b"BM", "BMP"),
)
_AS_TEXT = (
    *(b"\x89PNG\n", b"\x89PNG\r\r", b"\x89PNG\r\n\x1a\r", b"\tPNG", b"\xc2\x89PNG", b"\xef\xbf\xbdPNG"),
    *(b"\xc3\xbf\xc3\x98\xc3\xbf", b"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", b"\x7fX\x7f"),
)
"""PNG and JPEG with line ends changed, without their eighth bits, or converted as if they were text."""
AS_TEXT = "the file was transferred as text, which destroys a picture; upload the original again (by FTP: binary)"
MANY_ENDS = 16
"""Line feeds that have a carriage return before them by chance in one file of 10³⁸."""
_IN_BASE64 = (b"/9j/", b"iVBORw0KGgo", b"UklGR", b"R0lGOD", b"data:image/")
_NEAR = 64
"""Bytes before a picture among which other things are passed over."""


@dataclass(frozen=True)
class Foreign:
    """A format that is not read, and the remedy."""

    name: str
    remedy: str

    @property
    def sentence(self) -> str:
        """What to tell the one who sent the file."""
        return f"the content is {self.name}, which is not read: {self.remedy}"


def foreign(content: bytes) -> Foreign | None:
    """The format of a file that is known and not decoded; None for one that may be, or that is no file known."""
    for offset, signature, name, remedy in _SIGNATURES:
        if content[offset : offset + len(signature)] == signature:
            return Foreign(name, remedy)
    if content[4:8] == b"ftyp":
        return _branded(content)
    if content[:4] in (b"II*\0", b"MM\0*"):
        return _raw(content)
    if _PORTABLE.match(content[:256]):
        return Foreign("PNM (portable anymap)", _EXPORT)
    if _SVG.match(content[:4096]):
        return Foreign("SVG", f"a drawing without pixels; {_EXPORT}")
    if re.match(rb"\s*<(!doctype html|html)\b", content[:256], re.I):
        return Foreign("an HTML page", "a web page in place of the picture; fetch the picture itself and upload that")
    return None


def begins_as(content: bytes) -> str | None:
    """The format that is read of which a file has the first bytes."""
    name = next((name for signature, name in _READ if content.startswith(signature)), None)
    return name if name != "WEBP" or content[8:12] in (b"WEBP", b"") else None


def spoilt(content: bytes) -> str | None:
    """What happened to a file that is no picture any more, in words; None where that cannot be told."""
    if content.startswith(_AS_TEXT):
        return AS_TEXT
    start = content[:_NEAR].lstrip(b"\xef\xbb\xbf \r\n\t")
    if start.startswith(_IN_BASE64):
        return "the content is a picture in base64, a text; upload the picture itself"
    if begins_as(start) is not None and not content.startswith(start):
        return "bytes stand before the picture that do not belong to it; upload the original again"
    if start.startswith(b"version https://git-lfs"):
        return "the content is a pointer of Git LFS in place of the picture; fetch the picture itself and upload that"
    if start[:1] in (b"{", b"<"):
        return "the content is a text in place of the picture, perhaps an error message; upload the picture itself"
    return None


def line_ends_changed(packed: bytes) -> bool:
    """Whether data that are as good as random have a carriage return before each of many line feeds."""
    ends = packed.count(b"\r\n")
    return ends >= MANY_ENDS and ends == packed.count(b"\n")


def _branded(content: bytes) -> Foreign:
    """A file of the ISO base media family: its brands say what it holds."""
    length = min(int.from_bytes(content[:4], "big"), 512)
    brands = [content[8:12]] + [content[at : at + 4] for at in range(16, length - 3, 4)]
    for names, label, remedy in _BRANDS:
        if any(brand in names for brand in brands):
            return Foreign(label, remedy)
    return Foreign("video (MP4 or QuickTime)", _STILL)


def _raw(content: bytes) -> Foreign | None:
    """A camera's raw file is a TIFF whose first page is often a thumbnail."""
    block = Block(content)
    if content[8:10] == b"CR":
        return Foreign("CR2 (Canon)", _DEVELOP)
    pages = list(block.directories())
    if not pages:
        return None
    if any(DNG_VERSION in page.entries for page in pages):
        return Foreign("DNG", _DEVELOP)
    sensor = any(block.integer(page.entries.get(PHOTOMETRIC)) in SENSOR_DATA for page in pages)
    if not sensor and not _preview(block, pages):
        return None
    make = block.text(pages[0].entries.get(MAKE)).upper()
    known = next((label for maker, label in _MAKERS if make.startswith(maker)), None)
    if known is None and not sensor:
        return Foreign("TIFF that begins with a thumbnail", f"the picture itself is another page; {_EXPORT}")
    return Foreign(known or "a raw file in TIFF", _DEVELOP)


def _preview(block: Block, pages: list[Directory]) -> bool:
    """Whether the first page calls itself a reduced copy and another page does not."""
    reduced = [bool((block.integer(page.entries.get(SUBFILE_TYPE)) or 0) & 1) for page in pages]
    return reduced[0] and not all(reduced)
