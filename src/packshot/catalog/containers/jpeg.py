"""JPEG: its segments, the header of its frame, and its scans; nothing is decoded here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
_SOF = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_DECODED = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""Baseline, extended and progressive, with Huffman or arithmetic coding."""
_SOS, _COM, _DRI = 0xDA, 0xFE, 0xDD
_APP = range(0xE0, 0xF0)
_PIXELS = frozenset({0xE0, 0xEE})
"""Application segments by which a decoder tells what colours the channels are."""
_MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")
MOST_SEGMENTS = 10_000
MOST_CANDIDATES = 64
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")


@dataclass(frozen=True)
class Segment:
    """A marker, and where the content of its segment starts and ends."""

    marker: int
    start: int
    end: int


@dataclass(frozen=True)
class Frame:
    """What the header of a frame says: its kind, bits a sample, size in pixels, and of each channel its number and how
    finely it is sampled (across in the upper four bits, down in the lower)."""

    marker: int
    precision: int
    height: int
    width: int
    ids: bytes
    sampling: bytes

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.ids)

    @property
    def progressive(self) -> bool:
        """Whether its scans refine each other."""
        return self.marker in _PROGRESSIVE

    def units(self, channels: bytes) -> int:
        """How many units (MCU) a scan of these channels has."""
        steps = [(value >> 4 or 1, value & 15 or 1) for value in self.sampling]
        most = (max(across for across, _ in steps), max(down for _, down in steps))
        if len(channels) > 1 or channels not in self.ids:
            return -(-self.width // (8 * most[0])) * -(-self.height // (8 * most[1]))
        across, down = steps[self.ids.index(channels)]
        return -(-self.width * across // (8 * most[0])) * -(-self.height * down // (8 * most[1]))

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
                end = 6 + 3 * body[5]
                return Frame(segment.marker, body[0], height, width, body[6:end:3], body[7:end:3])
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


@dataclass(frozen=True)
class Scan:
    """One pass over a picture: its channels, the first and last coefficient, the bits that are left for later scans,
    and how many restart markers its data has."""

    channels: bytes
    first: int
    last: int
    left: int
    restarts: int


def scans(jpeg: Jpeg) -> Iterator[Scan]:
    """Each scan whose header is whole."""
    content, at = jpeg.content, jpeg.scan_at
    found = _MARKER.search(content, at)
    while found is not None and found.group(1) != EOI[1:]:
        body = found.end() + 2
        at = found.end() + int.from_bytes(content[found.end() : body], "big")
        following = _MARKER.search(content, at)
        if found.group(1)[0] == _SOS and at <= len(content) and at - body >= 4:
            end = len(content) if following is None else following.start()
            restarts = sum(1 for _ in _RESTART.finditer(content, at, end))
            first, last, bits = content[at - 3 : at]
            yield Scan(content[body + 1 : body + 1 + 2 * content[body] : 2], first, last, bits & 15, restarts)
        found = following


def restart_interval(jpeg: Jpeg) -> int:
    """After how many units a restart marker stands in the data; 0 where none does."""
    bodies = [jpeg.content[one.start : one.end] for one in jpeg.segments if one.marker == _DRI]
    return int.from_bytes(bodies[-1][:2], "big") if bodies else 0
