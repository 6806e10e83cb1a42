"""PNG, chunk by chunk: what the pixels are made from, what is damaged, and what is only said about the picture."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
"""Chunks that pixels are made from."""
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
MOST_CHUNKS = 100_000
MOST_TEXT, MOST_PROFILE = 1_000_000, 4_000_000
"""Bytes of a text and of a colour profile, unpacked, beyond which they are left alone."""


@dataclass(frozen=True)
class Chunk:
    """Name and place of a chunk's content; `sound` where its checksum is right."""

    kind: bytes
    start: int
    end: int
    sound: bool


@dataclass(frozen=True)
class Png:
    """`core`: the file with nothing but its pixels; `damage` of these in words; `notes` on all the rest; the other
    `chunks` that are whole, and how many `frames` an animation has."""

    core: bytes
    damage: str | None
    notes: tuple[str, ...]
    chunks: tuple[tuple[bytes, bytes], ...]
    frames: int


def read(content: bytes) -> Png:
    """Take a PNG file apart. Never raises: what is missing, the decoder of `core` will miss."""
    found = list(_chunks(content))
    header = next((content[chunk.start : chunk.end] for chunk in found if chunk.kind == b"IHDR"), b"")
    pixels = [chunk for chunk in found if chunk.kind in PIXELS and (chunk.kind != b"tRNS" or _usable(chunk, header))]
    others = [chunk for chunk in found if chunk.kind not in (*PIXELS, b"IEND")]
    unsound = {chunk.kind for chunk in pixels if not chunk.sound}
    notes = [
        f"png_chunk: the chunk {chunk.kind.decode('latin-1')} is damaged and was passed over"
        for chunk in {chunk.kind: chunk for chunk in found if not chunk.sound and chunk.kind not in unsound}.values()
        if chunk.kind != b"IEND"
    ]
    if any(chunk.kind == b"tRNS" and chunk.sound and chunk not in pixels for chunk in found):
        notes.append("png_chunk: the chunk tRNS is not of the picture's kind and was passed over")
    if not any(chunk.kind == b"IEND" for chunk in found):
        notes.append("end_missing: the end of the file is missing, with all pixels there")
    notes += [
        f"png_text: a text that cannot be read, or of more than {MOST_TEXT // 1_000_000} MB, was passed over"
        for chunk in others
        if chunk.kind in TEXTS and chunk.sound and text(chunk.kind, content[chunk.start : chunk.end]) is None
    ][:1]
    damage = f"checksum of {', '.join(sorted(kind.decode() for kind in unsound))} is wrong" if unsound else None
    kept = tuple((chunk.kind, content[chunk.start : chunk.end]) for chunk in others if chunk.sound)
    frames = next((int.from_bytes(body[:4], "big") for kind, body in kept if kind == b"acTL"), 1)
    return Png(_core(content, pixels), damage, tuple(notes), kept, frames)


def _usable(chunk: Chunk, header: bytes) -> bool:
    """Whether a chunk of transparency is whole and of a length that fits the picture's kind of colour."""
    length, kind = chunk.end - chunk.start, header[9:10]
    fits = {b"\0": length == 2, b"\2": length == 6, b"\3": 0 < length <= 256}
    return chunk.sound and fits.get(kind, False)


def _core(content: bytes, pixels: list[Chunk]) -> bytes:
    parts = [SIGNATURE]
    for chunk in pixels:
        body = content[chunk.start : chunk.end]
        parts += [written(chunk.kind, body)] if not chunk.sound else [content[chunk.start - 8 : chunk.end + 4]]
    return b"".join([*parts, written(b"IEND", b"")])


def written(kind: bytes, body: bytes) -> bytes:
    """A chunk as it stands in a file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _chunks(content: bytes) -> Iterator[Chunk]:
    at, view = len(SIGNATURE), memoryview(content)
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(content):
            return
        length, kind = struct.unpack_from(">I4s", content, at)
        start, end = at + 8, at + 8 + length
        if not kind.isalpha() or (end + 4 > len(content) and kind not in PIXELS):
            if kind.isalpha():
                yield Chunk(kind, start, start, False)
            resumed = re.compile(rb"IDAT|PLTE|tRNS|IEND").search(content, start)
            if resumed is None:
                return
            at = resumed.start() - 4
            continue
        end = min(end, len(content))
        stated = int.from_bytes(content[end : end + 4], "big")
        yield Chunk(kind, start, end, zlib.crc32(view[at + 4 : end]) == stated and end + 4 <= len(content))
        if kind == b"IEND":
            return
        at = end + 4


def unpacked(packed: bytes, most: int) -> bytes | None:
    """Unpack zlib data of at most `most` bytes; None where it is damaged or larger."""
    try:
        unpacker = zlib.decompressobj()
        result = unpacker.decompress(packed, most + 1)
    except zlib.error:
        return None
    return result if len(result) <= most and unpacker.eof else None


def profile(body: bytes) -> bytes | None:
    """The colour profile in an iCCP chunk; None where it cannot be unpacked."""
    _, found, packed = body.partition(b"\0")
    return unpacked(packed[1:], MOST_PROFILE) if found else None


def text(kind: bytes, body: bytes) -> tuple[str, bytes] | None:
    """Keyword and text (bytes) of a text chunk; None where it cannot be unpacked."""
    key, found, rest = body.partition(b"\0")
    if not found:
        return None
    value: bytes | None = rest
    if kind == b"zTXt":
        value = unpacked(rest[1:], MOST_TEXT)
    elif kind == b"iTXt":
        packed, parts = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
        if len(parts) < 3:
            return None
        value = unpacked(parts[2], MOST_TEXT) if packed else parts[2]
    if value is None or len(value) > MOST_TEXT:
        return None
    return key.decode("latin-1"), value
