"""The pixels of a JPEG file, and whether all of them are there.

libjpeg decodes what is damaged as well as it can and only warns, of two missing bytes as of half a picture. Pillow
does not pass its warnings on. So a picture is decoded strictly; where the decoder warns, it is counted what was there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import simplejpeg

from packshot.catalog.containers.jpeg import EOI, Jpeg, restart_interval, scans
from packshot.catalog.containers.planes import Make, Pixels, scratch

FILLING = b"\x5a\xc3\x17\x69" * 1024
"""What is put where a picture ends early. It is no padding that a decoder would take for the end."""
FEW = 16
"""Bytes at the end of a picture that cannot all be without effect on it."""
_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


@dataclass(frozen=True)
class Decoded:
    """H x W x 3 uint8 RGB, what is `damaged` about them in words, and `notes` on what is odd beside them.

    `pixels` is None where only another decoder can read them, `cut` where the file ends before its picture does.
    """

    pixels: Pixels | None
    damage: str | None = None
    cut: bool = False
    notes: tuple[str, ...] = ()


def decode(jpeg: Jpeg, plane: Make = scratch) -> Decoded:
    """Decode into a `plane`, and say what is damaged. Raises ValueError for what cannot be decoded at all."""
    frame = jpeg.frame
    space = {1: "RGB", 3: "RGB", 4: "CMYK"}.get(frame.channels) if frame is not None else None
    if frame is None or space is None:
        return Decoded(None, _scans_missing(jpeg))
    into = plane((frame.height, frame.width, 3)) if space == "RGB" else None
    try:
        pixels = simplejpeg.decode_jpeg(jpeg.core, space, strict=True, buffer=into)
        found = Decoded(pixels, _scans_missing(jpeg))
    except ValueError as warning:
        if "subsampling" in str(warning):
            return Decoded(None, _scans_missing(jpeg))
        pixels = simplejpeg.decode_jpeg(jpeg.core, space, strict=False, buffer=into)
        found = _judged(jpeg, space, pixels, str(warning))
    return found if space == "RGB" else replace(found, pixels=None)


def _judged(jpeg: Jpeg, space: str, pixels: Pixels, warning: str) -> Decoded:
    """What the first warning of the decoder comes down to."""
    notes: tuple[str, ...] = ()
    if "JFIF" in warning or "Adobe" in warning:
        notes = (f"header_odd: {warning}",)
        further = _warning(jpeg.bare, space)
        if further is None:
            return Decoded(pixels, _scans_missing(jpeg), notes=notes)
        warning = further
    missing = _scans_missing(jpeg)
    if "Premature end of JPEG file" in warning:
        missing = missing or _end_missing(jpeg, space)
        note = "end_missing: the end marker is missing, with all pixels there"
        return Decoded(pixels, missing, missing is not None, notes if missing else (*notes, note))
    padding = _PADDING.search(warning)
    if missing is None and padding is not None and _is_padding(jpeg, int(padding.group(1))):
        note = "padded: bytes that mean nothing stand before the end marker"
        missing = _end_missing(jpeg, space)
        return Decoded(pixels, missing, missing is not None, notes if missing else (*notes, note))
    early = _rows_missing(jpeg, space) if "premature end" in warning else None
    return Decoded(pixels, missing or early or warning.removeprefix("Corrupt JPEG data: "), notes=notes)


def _warning(content: bytes, space: str) -> str | None:
    try:
        simplejpeg.decode_jpeg(content, space, strict=True)
    except ValueError as warning:
        return str(warning)
    return None


def _rows_missing(jpeg: Jpeg, space: str) -> str | None:
    """From where on a file lacks pixels at its end, in words; None where it has all.

    Bytes that follow the last pixel change none: the file is decoded with different ones behind it.
    """
    there = _data(jpeg)
    return _early(_lenient(there + EOI, space), there, space)


def _end_missing(jpeg: Jpeg, space: str) -> str | None:
    """What of a picture is missing whose data do not end in an end marker right after it, in words; None for nothing.

    A file that was made at its full size before its content came is filled with something where the rest did not come,
    and a decoder takes that for data. So a picture may not need what fills its file.
    """
    there, restarts = _data(jpeg), _restarts_missing(jpeg)
    shown = _lenient(there + EOI, space)
    early = _early(shown, there, space) or restarts
    if early is not None or _early(shown, there[:-FEW], space) is not None:
        return early
    data = there.rstrip(there[-1:])
    if len(there) - len(data) < FEW:
        return "what follows the data of the picture is no end of one"
    return _early(shown, there[: len(data) + FEW], space)


def _data(jpeg: Jpeg) -> bytes:
    """The picture without its end marker."""
    return jpeg.core.removesuffix(EOI).rstrip(b"\xff")


def _early(shown: Pixels, there: bytes, space: str) -> str | None:
    """From where on pixels change with what stands behind some data, in words; None where none does."""
    other = _lenient(there + FILLING + EOI, space)
    rows = np.flatnonzero((shown != other).any(axis=(1, 2)))
    if not len(rows):
        return None
    return f"the data ends early: rows from {rows[0]} of {len(shown)} on are missing or incomplete"


def _lenient(content: bytes, space: str) -> Pixels:
    pixels: Pixels = simplejpeg.decode_jpeg(content, space, strict=False)
    return pixels


def _restarts_missing(jpeg: Jpeg) -> str | None:
    """How much of a picture with restart markers is missing by their count, in words; None where none is."""
    interval = restart_interval(jpeg)
    if not interval or jpeg.frame is None:
        return None
    found = list(scans(jpeg))
    expected = sum(-(-jpeg.frame.units(scan.channels) // interval) - 1 for scan in found)
    there = sum(scan.restarts for scan in found)
    return (
        f"the data ends early: {expected - there} of {expected} restart markers are missing"
        if there < expected
        else None
    )


def _scans_missing(jpeg: Jpeg) -> str | None:
    """Which share of a picture in several scans none of them brings, in words; None where nothing is missing."""
    frame, header = jpeg.frame, jpeg.content[jpeg.scan_at + 4 : jpeg.scan_at + 5]
    if frame is None or (not frame.progressive and header == bytes([frame.channels])):
        return None
    bits = {channel: np.full(64, 99) for channel in frame.ids}
    for scan in scans(jpeg):
        for channel in scan.channels:
            if channel in bits:
                bits[channel][scan.first : scan.last + 1] = scan.left
    incomplete = float(np.mean([values > 0 for values in bits.values()]))
    return f"scans are missing: {incomplete:.0%} of its detail is not complete" if incomplete else None


def _is_padding(jpeg: Jpeg, count: int) -> bool:
    """Whether the bytes before the end marker are all the same: what is left over from damage is not."""
    end = jpeg.content.find(EOI, jpeg.scan_at)
    return end >= 0 and len(set(jpeg.content[max(end - count, jpeg.scan_at) : end])) == 1
