"""Picture files put together byte by byte: odd metadata, colours of presses and cameras, raw files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageCms

Pixels = np.ndarray


def photograph(height: int = 160, width: int = 120, seed: int = 0) -> Pixels:
    """H x W x 3: soft shapes in colours, with some grain."""
    generator = np.random.default_rng(seed)
    small = Image.fromarray(generator.integers(30, 226, (6, 5, 3), dtype=np.uint8))
    soft = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float64)
    return np.clip(soft + generator.normal(0, 6, soft.shape), 0, 255).astype(np.uint8)


def saved(pixels: Pixels, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=format, **options)
    return buffer.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segment(content: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG file with a segment more, at its front."""
    return content[:2] + segment(marker, body) + content[2:]


def directory(entries: Sequence[tuple[int, int, int, bytes]], at: int, following: int = 0) -> bytes:
    """A little-endian TIFF directory that stands at `at`: tag, kind, count and content of each entry."""
    entries = sorted(entries)
    rows, values = b"", b""
    start = at + 2 + 12 * len(entries) + 4
    for tag, kind, count, content in entries:
        place = content.ljust(4, b"\0") if len(content) <= 4 else struct.pack("<I", start + len(values))
        values += b"" if len(content) <= 4 else content
        rows += struct.pack("<HHI", tag, kind, count) + place
    return struct.pack("<H", len(entries)) + rows + struct.pack("<I", following) + values


def block(entries: Sequence[tuple[int, int, int, bytes]], thumbnail: bytes = b"") -> bytes:
    """EXIF, with a thumbnail in a second directory."""
    head = b"II*\0" + struct.pack("<I", 8)
    first = directory(entries, 8)
    if not thumbnail:
        return head + first
    second_at = 8 + len(first)
    at = second_at + len(directory([(513, 4, 1, bytes(4)), (514, 4, 1, bytes(4))], second_at))
    second = [(513, 4, 1, struct.pack("<I", at)), (514, 4, 1, struct.pack("<I", len(thumbnail)))]
    return head + directory(entries, 8, second_at) + directory(second, second_at) + thumbnail


def turned(orientation: int) -> tuple[int, int, int, bytes]:
    return (274, 3, 1, struct.pack("<H", orientation))


def text(tag: int, words: str) -> tuple[int, int, int, bytes]:
    return (tag, 2, len(words) + 1, words.encode() + b"\0")


def packet(inner: str) -> bytes:
    """An XMP packet with these attributes and elements."""
    spaces = (
        'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    )
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{rdf}"><rdf:Description {spaces} {inner}/></rdf:RDF>'
        "</x:xmpmeta>"
    ).encode()


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    found = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", found)


def with_chunk(content: bytes, added: bytes) -> bytes:
    """A PNG file with a chunk more, behind its header."""
    return content[:33] + added + content[33:]


def primaries(red: tuple[float, float], green: tuple[float, float], blue: tuple[float, float]) -> bytes:
    """A v2 matrix profile of these chromaticities with a gamma of 2.2, white D65."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    white, d50 = np.array([0.95047, 1.0, 1.08883]), np.array([0.9642, 1.0, 0.8249])
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in (red, green, blue)]).T
    matrix = columns * np.linalg.solve(columns, white)
    scale = np.diag((bradford @ d50) / (bradford @ white))
    adapted = np.linalg.inv(bradford) @ scale @ bradford @ matrix
    fixed = lambda values: b"".join(struct.pack(">i", round(value * 65536)) for value in values)  # noqa: E731
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(d50)}
    tags |= {name: b"XYZ \0\0\0\0" + fixed(adapted[:, place]) for place, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys(
        (b"rTRC", b"gTRC", b"bTRC"), b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    )
    return _profile(b"RGB ", tags)


def grey_gamma(gamma: float) -> bytes:
    """A profile of grey."""
    fixed = struct.pack(">iii", *(round(value * 65536) for value in (0.9642, 1.0, 0.8249)))
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    return _profile(b"GRAY", {b"wtpt": b"XYZ \0\0\0\0" + fixed, b"kTRC": curve})


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(79),
        b"cprt": b"text\0\0\0\0none\0",
    } | tags
    at, table, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"test", 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s4sI", 2020, 1, 1, 0, 0, 0, b"acsp", b"\0\0\0\0", 0).ljust(44, b"\0")
    head += struct.pack(">iii", *(round(value * 65536) for value in (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


ADOBE_RGB = primaries((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))


def converted(pixels: Pixels, profile: bytes) -> Pixels:
    """sRGB pixels as the numbers that mean the same in the colours of a profile."""
    image = Image.fromarray(pixels)
    made = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), io.BytesIO(profile))
    return np.asarray(made)
