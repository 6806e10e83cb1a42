"""JPEG: its segments, its pixels, and whether all of them are there.

libjpeg decodes what is damaged as well as it can and only warns, of two missing bytes as of half a picture. Pillow
does not pass its warnings on. So a picture is decoded strictly; where the decoder warns, it is counted what was there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import simplejpeg

from packshot.catalog.containers.planes import Make, Pixels, scratch

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
_SOF = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_DECODED = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""Baseline, extended and progressive, with Huffman or arithmetic coding."""
_SOS, _COM = 0xDA, 0xFE
_APP = range(0xE0, 0xF0)
_PIXELS = frozenset({0xE0, 0xEE})
"""Application segments by which a decoder tells what colours the channels are."""
_MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")
MOST_SEGMENTS = 10_000
MOST_CANDIDATES = 64
FILLING = b"\x5a\xc3\x17\x69" * 1024
"""What is put where a picture ends early. It is no padding that a decoder would take for the end."""
_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


@dataclass(frozen=True)
class Segment:
    """A marker, and where the content of its segment starts and ends."""

    marker: int
    start: int
    end: int


@dataclass(frozen=True)
class Frame:
    """What the header of a frame says: its kind, bits a sample, size in pixels, and the number of each channel."""

    marker: int
    precision: int
    height: int
    width: int
    ids: bytes

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.ids)

    @property
    def strange(self) -> str | None:
        """Its coding in words, where it is one that is not decoded."""
        if self.marker not in _DECODED:
            return "JPEG with lossless coding" if self.marker in (0xC3, 0xC7, 0xCB, 0xCF) else "hierarchical JPEG"
        return f"JPEG of {self.precision} bits a channel" if self.precision != 8 else None


@dataclass(frozen=True)
class Jpeg:
    """A JPEG file: its segments up to the first scan, where that begins, and whether they had to be searched for."""

    content: bytes
    segments: tuple[Segment, ...]
    scan_at: int
    searched: bool = False

    @cached_property
    def frame(self) -> Frame | None:
        """The header of the frame; None where there is none."""
        for segment in self.segments:
            body = self.content[segment.start : segment.end]
            if segment.marker in _SOF and len(body) >= 6:
                height, width = (int.from_bytes(body[at : at + 2], "big") for at in (1, 3))
                return Frame(segment.marker, body[0], height, width, body[6 : 6 + 3 * body[5] : 3])
        return None

    @cached_property
    def core(self) -> bytes:
        """The file with nothing but what its pixels are made from."""
        return self._without(_PIXELS)

    def _without(self, kept: frozenset[int]) -> bytes:
        parts = [SOI]
        for segment in self.segments:
            if segment.marker in kept or not (segment.marker in _APP or segment.marker == _COM):
                parts.append(self.content[segment.start - 4 : segment.end])
        return b"".join([*parts, self.content[self.scan_at :]])

    @cached_property
    def bare(self) -> bytes:
        """`core` without the segments that only say what colours the channels are."""
        return self._without(frozenset())

    def bodies(self, marker: int, prefix: bytes) -> list[bytes]:
        """The contents of the application segments that begin with `prefix`, without it."""
        return [
            self.content[segment.start + len(prefix) : segment.end]
            for segment in self.segments
            if segment.marker == marker
            and self.content[segment.start : segment.start + len(prefix)] == prefix
            and segment.start + len(prefix) <= segment.end
        ]


@dataclass(frozen=True)
class Decoded:
    """H x W x 3 uint8 RGB, what is `damaged` about them in words, and `notes` on what is odd beside them.

    `pixels` is None where only another decoder can read them, `cut` where the file ends before its picture does.
    """

    pixels: Pixels | None
    damage: str | None = None
    cut: bool = False
    notes: tuple[str, ...] = ()


def parse(content: bytes) -> Jpeg | None:
    """Find the segments of a JPEG file; None where no scan is found."""
    found = _chain(content, 2)
    if found is not None and found.frame is not None and not found.searched:
        return found
    return _searched(content, found)


def _chain(content: bytes, at: int) -> Jpeg | None:
    """Follow the lengths of segments to the first scan."""
    segments: list[Segment] = []
    strayed = False
    while len(segments) < MOST_SEGMENTS:
        expected, at = at, content.find(b"\xff", at)
        if at < 0 or at + 4 > len(content):
            return None
        strayed |= at != expected
        marker = content[at + 1]
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            return None
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == _SOS:
            return Jpeg(content, tuple(segments), at, strayed)
        if end < at + 4 or end > len(content):
            return None
        segments.append(Segment(marker, at + 4, end))
        at = end
    return None


def _searched(content: bytes, first: Jpeg | None) -> Jpeg | None:
    """Where a length is wrong: the largest picture to which the segments from some table on lead.

    The smaller ones are thumbnails in the metadata.
    """
    found: list[Jpeg] = [] if first is None or first.frame is None else [first]
    at = content.find(b"\xff\xdb")
    while at >= 0 and len(found) < MOST_CANDIDATES:
        chain = _chain(content, at)
        if chain is not None and chain.frame is not None:
            found.append(Jpeg(content, chain.segments, chain.scan_at, searched=True))
            at = chain.scan_at
        at = content.find(b"\xff\xdb", at + 2)
    return max(found, key=_area, default=None)


def _area(jpeg: Jpeg) -> int:
    return jpeg.frame.height * jpeg.frame.width if jpeg.frame is not None else 0


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
        missing = _rows_missing(jpeg, space) or missing
        note = "end_missing: the end marker is missing, with all pixels there"
        return Decoded(pixels, missing, missing is not None, notes if missing else (*notes, note))
    padding = _PADDING.search(warning)
    if missing is None and padding is not None and _is_padding(jpeg, int(padding.group(1))):
        return Decoded(pixels, notes=(*notes, "padded: bytes that mean nothing stand before the end marker"))
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
    there = jpeg.core.removesuffix(EOI).rstrip(b"\xff")
    first, second = (simplejpeg.decode_jpeg(there + behind + EOI, space, strict=False) for behind in (b"", FILLING))
    rows = np.flatnonzero((first != second).any(axis=(1, 2)))
    if not len(rows):
        return None
    return f"the data ends early: rows from {rows[0]} of {len(first)} on are missing or incomplete"


def _scans_missing(jpeg: Jpeg) -> str | None:
    """Which share of a picture in several scans none of them brings, in words; None where nothing is missing."""
    frame, header = jpeg.frame, jpeg.content[jpeg.scan_at + 4 : jpeg.scan_at + 5]
    if frame is None or (frame.marker not in _PROGRESSIVE and header == bytes([frame.channels])):
        return None
    bits = {channel: np.full(64, 99) for channel in frame.ids}
    for channels, first, last, low in scans(jpeg):
        for channel in channels:
            if channel in bits:
                bits[channel][first : last + 1] = low
    incomplete = float(np.mean([values > 0 for values in bits.values()]))
    return f"scans are missing: {incomplete:.0%} of its detail is not complete" if incomplete else None


def scans(jpeg: Jpeg) -> Iterator[tuple[bytes, int, int, int]]:
    """Of each scan: its channels, the first and last coefficient, and the bits that are left for later scans."""
    content, at = jpeg.content, jpeg.scan_at
    while (found := _MARKER.search(content, at)) is not None and found.group(1) != EOI[1:]:
        body = found.end() + 2
        at = found.end() + int.from_bytes(content[found.end() : body], "big")
        if found.group(1)[0] == _SOS and at <= len(content) and at - body >= 4:
            count = content[body]
            first, last, bits = content[at - 3 : at]
            yield content[body + 1 : body + 1 + 2 * count : 2], first, last, bits & 15


def _is_padding(jpeg: Jpeg, count: int) -> bool:
    """Whether the bytes before the end marker are all the same: what is left over from damage is not."""
    end = jpeg.content.find(EOI, jpeg.scan_at)
    return end >= 0 and len(set(jpeg.content[max(end - count, jpeg.scan_at) : end])) == 1
