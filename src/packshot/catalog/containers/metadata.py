"""What a picture file says about its picture, read by format and written again: rights, origin, resolution.

Copyright, the IPTC mark of pictures that a machine made, XMP and resolution go along when a picture is written anew;
its orientation, its old thumbnail and what described the old pixels do not.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, PngImagePlugin, TiffImagePlugin

from packshot.catalog.containers import exif, jpeg, png

_EXIF, _XMP, _ICC, _PHOTOSHOP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"Photoshop 3.0\0"
PNG_XMP, PNG_PHOTOSHOP = "XML:com.adobe.xmp", "Raw profile type 8bim"
_PNG_IPTC = ("Raw profile type iptc", PNG_PHOTOSHOP)
_PNG_EXIF = ("Raw profile type exif", "Raw profile type APP1")
_THUMBNAILS = (0x0409, 0x040C)
_OF_OLD_FILE = (*_THUMBNAILS, 0x03ED, 0x0422, 0x0423)
"""Photoshop's resources that hold thumbnails, resolution and EXIF: these are written where they belong."""
_IPTC_RESOURCE = 0x0404
MOST_SEGMENT = 65_500
"""Bytes that fit into one segment of a JPEG."""
_ORIENTED = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])")
_XMP_DROPPED = re.compile(
    rb"<xmp:Thumbnails\b.*?</xmp:Thumbnails>|xmpNote:HasExtendedXMP\s*=\s*(?:\"[^\"]*\"|'[^']*')"
    rb"|<xmpNote:HasExtendedXMP>.*?</xmpNote:HasExtendedXMP>",
    re.S,
)
_CARRIED_TEXTS = ("Title", "Author", "Description", "Copyright", "Disclaimer", "Source", "Comment", "Credit")


@dataclass(frozen=True)
class Metadata:
    """What goes along with a picture: `exif` (a TIFF block), `xmp` (a packet), `photoshop` (resources, with IPTC among
    them), `dpi` across and down, `texts` by keyword."""

    exif: bytes | None = None
    xmp: bytes | None = None
    photoshop: bytes | None = None
    dpi: tuple[float, float] | None = None
    texts: tuple[tuple[str, str], ...] = ()

    def upright(self) -> Metadata:
        """The same for a picture whose orientation has been applied, without the old thumbnails."""
        turned = exif.upright(self.exif) if self.exif and exif.Block(self.exif).first is not None else None
        packet = _XMP_DROPPED.sub(b"", _ORIENTED.sub(rb"\g<1>1", self.xmp)) if self.xmp else None
        return replace(self, exif=turned, xmp=packet, photoshop=_lasting(self.photoshop))

    def rights(self) -> Metadata:
        """What goes along with a picture of another size: who made it, whose it is, how; no place, no device."""
        texts = {tag: text for tag in (exif.DESCRIPTION, exif.ARTIST, exif.COPYRIGHT) if (text := self._text(tag))}
        return replace(self, exif=exif.written(texts) if texts else None, dpi=None)

    def _text(self, tag: int) -> str:
        block = exif.Block(self.exif or b"")
        return block.text(block.first.entries.get(tag)) if block.first is not None else ""


@dataclass(frozen=True)
class Described:
    """`metadata` as the file has it, its `orientation` (1 to 8), its colour `profile`, `notes` on what is odd."""

    metadata: Metadata = Metadata()
    orientation: int = 1
    profile: bytes | None = None
    notes: tuple[str, ...] = ()


def described(
    block: bytes | None,
    packet: bytes | None,
    profile: bytes | None = None,
    photoshop: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    texts: tuple[tuple[str, str], ...] = (),
) -> Described:
    """Put together what was found. EXIF says the orientation; XMP where EXIF does not."""
    block = block.removeprefix(_EXIF) if block else None
    odd = exif.oddity(block) if block else None
    notes = () if odd is None else (f"exif_odd: {odd}; it was passed over",)
    turned = exif.orientation(exif.Block(block)) if block else None
    if turned is None and packet and (said := _ORIENTED.search(packet)):
        turned = int(said.group(2))
    return Described(Metadata(block, packet or None, photoshop, dpi, texts), turned or 1, profile, notes)


def of_jpeg(found: jpeg.Jpeg) -> Described:
    """From the application segments of a JPEG file."""
    blocks, packets = found.bodies(0xE1, _EXIF), found.bodies(0xE1, _XMP)
    parts = sorted(part for part in found.bodies(0xE2, _ICC) if len(part) > 2)
    whole = bool(parts) and [part[0] for part in parts] == list(range(1, parts[0][1] + 1))
    said = described(
        blocks[0] if blocks else None,
        packets[0] if packets else None,
        b"".join(part[2:] for part in parts) if whole else None,
        b"".join(found.bodies(0xED, _PHOTOSHOP)) or None,
        _jfif_dpi(found.bodies(0xE0, b"JFIF\0")),
        tuple(("Comment", body.decode("utf-8", "replace").strip("\0 ")) for body in found.bodies(0xFE, b"")[:1]),
    )
    notes = said.notes
    if parts and not whole:
        notes += ("profile_unusable: parts of the colour profile are missing; the colours are taken for sRGB",)
    if found.searched:
        notes += ("metadata_broken: the length of a segment is wrong; the picture was searched for",)
    return replace(said, notes=notes)


def _jfif_dpi(bodies: list[bytes]) -> tuple[float, float] | None:
    if not bodies or len(bodies[0]) < 7:
        return None
    unit, across, down = struct.unpack_from(">BHH", bodies[0], 2)
    scale = {1: 1.0, 2: 2.54}.get(unit)
    return (across * scale, down * scale) if scale is not None and across and down else None


def of_png(found: png.Png) -> Described:
    """From the chunks of a PNG file that are whole."""
    chunks = dict(reversed(found.chunks))
    texts: dict[str, tuple[bytes, bool]] = {}
    for kind, body in found.chunks:
        text = png.text(kind, body) if kind in png.TEXTS else None
        if text is not None:
            texts.setdefault(text[0], (text[1], kind == b"iTXt"))
    block = chunks.get(b"eXIf") or next((_unhexed(texts[key][0]) for key in _PNG_EXIF if key in texts), None)
    profile = png.profile(chunks[b"iCCP"]) if b"iCCP" in chunks else None
    said = described(
        block,
        texts[PNG_XMP][0] if PNG_XMP in texts else None,
        profile,
        next((_as_resources(_unhexed(texts[key][0])) for key in _PNG_IPTC if key in texts), None),
        _png_dpi(chunks.get(b"pHYs", b"")),
        tuple(
            (key, value.decode("utf-8" if utf else "latin-1", "replace"))
            for key, (value, utf) in texts.items()
            if key in _CARRIED_TEXTS
        ),
    )
    notes = found.notes + said.notes
    if b"iCCP" in chunks and profile is None:
        notes += ("profile_unusable: the colour profile cannot be unpacked; the colours are taken for sRGB",)
    return replace(said, notes=notes)


def _png_dpi(body: bytes) -> tuple[float, float] | None:
    if len(body) != 9 or body[8] != 1:
        return None
    across, down = struct.unpack(">II", body[:8])
    return (across * 0.0254, down * 0.0254) if across and down else None


def _unhexed(text: bytes) -> bytes | None:
    """The bytes of a 'Raw profile' text: a name, a length, hexadecimal digits."""
    parts = text.split()
    try:
        return bytes.fromhex(b"".join(parts[2:]).decode("ascii"))[: int(parts[1])]
    except (ValueError, IndexError):
        return None


def of_webp(content: bytes) -> Described:
    """From the chunks of a WebP file."""
    chunks: dict[bytes, bytes] = {}
    for kind, body in _riff(content, (b"EXIF", b"XMP ", b"ICCP")):
        chunks.setdefault(kind, body)
    return described(chunks.get(b"EXIF"), chunks.get(b"XMP "), chunks.get(b"ICCP"))


def pixels_of_webp(content: bytes) -> bytes:
    """The coded pixels of a WebP file that is no animation."""
    return next((body for _, body in _riff(content, (b"VP8 ", b"VP8L"))), b"")


def _riff(content: bytes, kinds: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, at)
        if kind in kinds:
            yield kind, content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def of_tiff(content: bytes) -> Described:
    """From the first directory of a TIFF file."""
    block = exif.Block(content)
    if block.first is None:
        return Described()
    entries = block.first.entries
    texts = {tag: block.text(entries.get(tag)) for tag in (exif.DESCRIPTION, exif.ARTIST, exif.COPYRIGHT)}
    photoshop, iptc = block.raw(entries.get(exif.PHOTOSHOP)), _in_order(block, entries.get(exif.IPTC))
    said = described(
        exif.written(texts) if any(texts.values()) else None,
        block.raw(entries.get(exif.XMP)) or None,
        block.raw(entries.get(exif.ICC)) or None,
        photoshop or _as_resources(iptc),
        exif.dots_per_inch(block),
    )
    turned = exif.orientation(block)
    return replace(said, orientation=turned if turned is not None else said.orientation)


def pages_of_tiff(content: bytes) -> int:
    """How many pages a TIFF file has that are no smaller copies of others."""
    block = exif.Block(content)
    reduced = [(block.integer(page.entries.get(exif.SUBFILE_TYPE)) or 0) & 1 for page in block.directories()]
    return len(reduced) - sum(reduced)


def samples_of_tiff(content: bytes) -> str | None:
    """How many bits of what kind the samples of a TIFF file have, in words; None where its directory is not there."""
    block = exif.Block(content)
    bits = block.integers(block.first.entries.get(exif.BITS)) if block.first is not None else ()
    if not bits or block.first is None or block.first.cut:
        return None
    kind = exif.SAMPLE_KINDS.get(block.integer(block.first.entries.get(exif.SAMPLE_KIND)) or 1, "unknown samples")
    return f"{len(bits)} channel(s) of {bits[0]} bits, {kind}"


def _in_order(block: exif.Block, entry: exif.Entry | None) -> bytes | None:
    """IPTC in TIFF is often kept as 4-byte numbers, in the byte order of the file."""
    content = block.raw(entry)
    if entry is not None and entry.kind == 4 and block.order == "<" and content[:1] != b"\x1c":
        content = struct.pack(f">{entry.count}I", *struct.unpack(f"<{entry.count}I", content))
    return content or None


def of_other(image: Image.Image) -> Described:
    """What Pillow has read of a GIF or BMP file."""
    info = image.info
    packet, comment = info.get("xmp"), info.get("comment")
    return described(
        None,
        packet if isinstance(packet, bytes) else None,
        dpi=_pair(info.get("dpi")),
        texts=(("Comment", comment.decode("utf-8", "replace")),) if isinstance(comment, bytes) else (),
    )


def _pair(dpi: Any) -> tuple[float, float] | None:
    try:
        across, down = float(dpi[0]), float(dpi[1])
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return (across, down) if across > 0 and down > 0 else None


def _resources(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Photoshop's resources: the number of each and it, as it stands."""
    at = 0
    while content[at : at + 4] == b"8BIM" and at + 12 <= len(content):
        name = content[at + 6] + 1
        size_at = at + 6 + name + name % 2
        size = int.from_bytes(content[size_at : size_at + 4], "big")
        end = size_at + 4 + size + size % 2
        yield int.from_bytes(content[at + 4 : at + 6], "big"), content[at:end]
        at = end


def _lasting(content: bytes | None) -> bytes | None:
    return b"".join(whole for number, whole in _resources(content or b"") if number not in _OF_OLD_FILE) or None


def _as_resources(iptc: bytes | None) -> bytes | None:
    """IPTC, bare or among Photoshop's resources already, as such resources."""
    if not iptc or iptc.startswith(b"8BIM"):
        return iptc or None
    return b"8BIM" + struct.pack(">HHI", _IPTC_RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)


def save_options(metadata: Metadata, format: str) -> dict[str, Any]:
    """The arguments by which Pillow writes metadata into a file of a format; what does not fit is left out."""
    options: dict[str, Any] = {"dpi": metadata.dpi} if metadata.dpi and format in ("JPEG", "PNG", "TIFF") else {}
    if format == "JPEG":
        return options | _for_jpeg(metadata)
    if format == "PNG":
        return options | _for_png(metadata)
    if format == "WEBP":
        kept = {"exif": _with_dpi(metadata), "xmp": metadata.xmp}
        return {name: value for name, value in kept.items() if value}
    return options | _for_tiff(metadata) if format == "TIFF" else {}


def _for_jpeg(metadata: Metadata) -> dict[str, Any]:
    block = metadata.exif
    if block is not None and len(block) > MOST_SEGMENT:
        block = metadata.rights().exif
    options: dict[str, Any] = {"exif": _EXIF + block} if block else {}
    if metadata.xmp and len(metadata.xmp) <= MOST_SEGMENT - len(_XMP):
        options["xmp"] = metadata.xmp
    options["extra"] = b"".join(_segments(0xED, _PHOTOSHOP, metadata.photoshop or b""))
    comment = dict(metadata.texts).get("Comment", "").encode()
    return options | ({"comment": comment} if 0 < len(comment) <= MOST_SEGMENT else {})


def _segments(marker: int, prefix: bytes, content: bytes) -> Iterator[bytes]:
    most = MOST_SEGMENT - len(prefix)
    for at in range(0, len(content), most):
        part = prefix + content[at : at + most]
        yield struct.pack(">BBH", 0xFF, marker, len(part) + 2) + part


def _for_png(metadata: Metadata) -> dict[str, Any]:
    info = PngImagePlugin.PngInfo()
    for key, value in metadata.texts:
        info.add_itxt(key, value)
    if metadata.xmp:
        info.add_itxt(PNG_XMP, metadata.xmp.decode("utf-8", "replace"))
    if metadata.photoshop:
        digits = metadata.photoshop.hex()
        lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
        info.add_text(PNG_PHOTOSHOP, f"\n8bim\n{len(metadata.photoshop):8d}\n{lines}\n", zip=True)
    return {"pnginfo": info} | ({"exif": metadata.exif} if metadata.exif else {})


def _with_dpi(metadata: Metadata) -> bytes | None:
    """EXIF for a format that has no other place for resolution: it is added only where there is no EXIF to be kept."""
    if metadata.exif or not metadata.dpi:
        return metadata.exif
    made = Image.Exif()
    across, down = metadata.dpi
    made[exif.X_RESOLUTION], made[exif.Y_RESOLUTION], made[exif.RESOLUTION_UNIT] = across, down, 2
    return made.tobytes()


def _for_tiff(metadata: Metadata) -> dict[str, Any]:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in (exif.DESCRIPTION, exif.ARTIST, exif.COPYRIGHT):
        if text := metadata._text(tag):
            info[tag] = text
    for tag, value, kind in ((exif.XMP, metadata.xmp, 1), (exif.PHOTOSHOP, metadata.photoshop, 7)):
        if value:
            info[tag] = value
            info.tagtype[tag] = kind
    return {"tiffinfo": info}
