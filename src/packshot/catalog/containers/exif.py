"""EXIF and TIFF directories, read entry by entry.

Metadata is not the picture: a value that no reader expects is an oddity to be noted. Pillow's own reader converts all
values at once, and raises on odd ones.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

ORIENTATION, COPYRIGHT, ARTIST, DESCRIPTION = 274, 33432, 315, 270
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675
SUB_IFDS, EXIF_IFD = 330, 34665
DNG_VERSION, MAKE, PHOTOMETRIC, SUBFILE_TYPE = 50706, 271, 262, 254
BITS, SAMPLE_KIND = 258, 339
SAMPLE_KINDS = {1: "whole numbers", 2: "signed numbers", 3: "floating point", 5: "complex", 6: "complex"}
THUMBNAIL_AT, THUMBNAIL_BYTES = 513, 514
SENSOR_DATA = (32803, 34892)
"""Photometric interpretations of what a camera's sensor saw: colour filter array, linear raw."""
MOST_DIRECTORIES = 64
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}
_RATIONALS = {5: "I", 10: "i"}
_REALS = {11: "f", 12: "d"}


@dataclass(frozen=True)
class Entry:
    """One entry of a directory: its tag, the kind and number of its values, and where these start in the block."""

    tag: int
    kind: int
    count: int
    at: int

    @property
    def size(self) -> int:
        """Bytes of its values; 0 for a kind that there is not."""
        return _SIZES.get(self.kind, 0) * self.count


@dataclass(frozen=True)
class Directory:
    """The entries of a directory by tag, where it and its pointer to the next stand; `cut` where its end is missing."""

    entries: dict[int, Entry]
    at: int
    next_at: int
    following: int
    cut: bool


@dataclass(frozen=True)
class Block:
    """A block of TIFF structure: a TIFF file, or what EXIF holds."""

    content: bytes

    @cached_property
    def order(self) -> str | None:
        """The byte order as `struct` names it; None where this is no such block."""
        return {b"II*\0": "<", b"MM\0*": ">"}.get(self.content[:4])

    @cached_property
    def first(self) -> Directory | None:
        """The directory that speaks of the picture."""
        if self.order is None or len(self.content) < 8:
            return None
        return self.directory(struct.unpack_from(f"{self.order}I", self.content, 4)[0])

    def directory(self, at: int) -> Directory | None:
        """The directory at a place, as far as it is there."""
        if self.order is None or not 8 <= at <= len(self.content) - 2:
            return None
        stated = struct.unpack_from(f"{self.order}H", self.content, at)[0]
        count = min(stated, (len(self.content) - at - 2) // 12)
        entries: dict[int, Entry] = {}
        for place in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{self.order}HHI", self.content, place)
            inline = _SIZES.get(kind, 0) * values <= 4
            start = place + 8 if inline else struct.unpack_from(f"{self.order}I", self.content, place + 8)[0]
            entries.setdefault(tag, Entry(tag, kind, values, start))
        next_at = at + 2 + 12 * count
        whole = count == stated and next_at + 4 <= len(self.content)
        following = struct.unpack_from(f"{self.order}I", self.content, next_at)[0] if whole else 0
        return Directory(entries, at, next_at, following, not whole)

    def directories(self) -> Iterator[Directory]:
        """The first directory and all that follow or lie below it, MOST_DIRECTORIES at most."""
        waiting, seen = [self.first], set[int]()
        while waiting and len(seen) < MOST_DIRECTORIES:
            found = waiting.pop(0)
            if found is None or found.at in seen:
                continue
            seen.add(found.at)
            yield found
            below = self.integers(found.entries.get(SUB_IFDS))
            waiting.extend(self.directory(at) for at in (found.following, *below[:MOST_DIRECTORIES]))

    def raw(self, entry: Entry | None) -> bytes:
        """The bytes of an entry's values; empty where they are not all there."""
        if entry is None or entry.at + entry.size > len(self.content):
            return b""
        return self.content[entry.at : entry.at + entry.size]

    def integers(self, entry: Entry | None) -> tuple[int, ...]:
        """The values of an entry of whole numbers; empty for any other."""
        content = self.raw(entry)
        if entry is None or entry.kind not in _INTEGERS or not content:
            return ()
        return struct.unpack(f"{self.order}{entry.count}{_INTEGERS[entry.kind]}", content)

    def integer(self, entry: Entry | None) -> int | None:
        """The first of `integers`."""
        values = self.integers(entry)
        return values[0] if values else None

    def numbers(self, entry: Entry | None) -> tuple[float, ...]:
        """The values of an entry of numbers of any kind; what is no number, like 1/0, is NaN."""
        content = self.raw(entry)
        if entry is None or not content:
            return ()
        if entry.kind in _REALS:
            return struct.unpack(f"{self.order}{entry.count}{_REALS[entry.kind]}", content)
        if entry.kind in _RATIONALS:
            parts = struct.unpack(f"{self.order}{2 * entry.count}{_RATIONALS[entry.kind]}", content)
            return tuple(a / b if b else math.nan for a, b in zip(parts[::2], parts[1::2], strict=True))
        return tuple(map(float, self.integers(entry)))

    def text(self, entry: Entry | None) -> str:
        """The value of an entry of text."""
        content = self.raw(entry) if entry is not None and entry.kind in (1, 2, 7) else b""
        return content.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


def orientation(block: Block) -> int | None:
    """1 to 8 as EXIF counts them; None where the block does not say."""
    if block.first is None:
        return None
    value = block.integer(block.first.entries.get(ORIENTATION))
    return value if value is not None and 1 <= value <= 8 else None


def dots_per_inch(block: Block) -> tuple[float, float] | None:
    """Horizontal and vertical; None where the block does not say it in inches or centimetres, or says no number."""
    if block.first is None:
        return None
    entries = block.first.entries
    scale = {2: 1.0, 3: 2.54}.get(block.integer(entries.get(RESOLUTION_UNIT)) or 2)
    across, down = (block.numbers(entries.get(tag)) for tag in (X_RESOLUTION, Y_RESOLUTION))
    if scale is None or not (across and down and across[0] > 0 and down[0] > 0):
        return None
    return across[0] * scale, down[0] * scale


def oddity(content: bytes) -> str | None:
    """What is odd about EXIF, in words; None for nothing."""
    block = Block(content)
    if block.first is None:
        return "it has no readable directory"
    if block.first.cut:
        return "its directory is cut off"
    for entry in block.first.entries.values():
        found = _odd(block, entry)
        if found is not None:
            return f"entry {entry.tag} {found}"
    return None


def _odd(block: Block, entry: Entry) -> str | None:
    if entry.kind not in _SIZES:
        return f"is of kind {entry.kind}, which there is not"
    if entry.at + entry.size > len(block.content):
        return "points outside"
    if entry.kind in (*_REALS, *_RATIONALS) and not all(map(math.isfinite, block.numbers(entry))):
        return "is no number"
    return None


def upright(content: bytes) -> bytes:
    """EXIF of a picture that stands upright: orientation 1, and without the old thumbnail; all else stays in place.

    Directories of a maker's own hold offsets from the start of the block, so nothing is moved.
    """
    block = Block(content)
    if block.first is None or block.order is None:
        return content
    result = bytearray(turned_upright(content))
    if block.first.following:
        end = _without_thumbnail(block, result)
        struct.pack_into(f"{block.order}I", result, block.first.next_at, 0)
        del result[end:]
    return bytes(result)


def turned_upright(content: bytes) -> bytes:
    """A block, or a TIFF file, whose first directory says that the picture stands upright; nothing else is changed."""
    block = Block(content)
    entry = block.first.entries.get(ORIENTATION) if block.first is not None else None
    if entry is None or not block.integers(entry):
        return content
    one = struct.pack(f"{block.order}{_INTEGERS[entry.kind]}", 1) * entry.count
    return content[: entry.at] + one + content[entry.at + entry.size :]


def _without_thumbnail(block: Block, result: bytearray) -> int:
    """Blank the thumbnail's bytes; where it stands last, where the block may end."""
    assert block.first is not None
    second = block.directory(block.first.following)
    at, size = (block.integer(second.entries.get(tag)) if second else None for tag in (THUMBNAIL_AT, THUMBNAIL_BYTES))
    if at is None or size is None or at < 8 or size <= 0:
        return len(result)
    end = min(at + size, len(result))
    result[at:end] = bytes(max(end - at, 0))
    return at if end >= len(result.rstrip(b"\0")) and end > at else len(result)


def written(texts: dict[int, str]) -> bytes:
    """A block that holds these texts by tag, and that the picture stands upright."""
    entries: list[tuple[int, int, bytes]] = [(ORIENTATION, 3, struct.pack("<H", 1))]
    entries += [(tag, 2, text.encode() + b"\0") for tag, text in texts.items() if text]
    entries.sort()
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    rows, values = b"", b""
    start = len(head) + 12 * len(entries) + 4
    for tag, kind, value in entries:
        count = len(value) // _SIZES[kind]
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", start + len(values))
        values += b"" if len(value) <= 4 else value + bytes(len(value) % 2)
        rows += struct.pack("<HHI", tag, kind, count) + place
    return head + rows + bytes(4) + values
