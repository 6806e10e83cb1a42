"""What each file of a manifest really is, found by decoding it once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pandas as pd

from packshot.catalog.decoding.isolated import inspect
from packshot.catalog.image import DECODABLE, BadImage, ImageLimits, resolve_inside
from packshot.catalog.near_duplicates import signature
from packshot.progress import track

FOUND: dict[str, str] = {
    "found_image_id": "object",
    "found_width": "Int64",
    "found_height": "Int64",
    "found_format": "object",
    "found_bytes": "Int64",
    "phash": "object",
    "thumbnail": "object",
    "unreadable": "object",
    "unreadable_detail": "object",
}
"""Columns that probing adds. `unreadable` is null or the reason code of BadImage."""

CHUNK = 512
MOST_WORKERS = 8

Finding = dict[str, object]


def probe_files(paths: Sequence[str | None], root: Path, limits: ImageLimits, hash_size: int) -> pd.DataFrame:
    """Decode every path (relative to `root`), several at a time; one row a path, in order, with the columns FOUND.

    Only what would be dangerous to decode is refused here (`unreadable`: file size, pixel count, damage, a path
    outside `root`); format and smallest side are found and left to the expectations to judge.
    """
    safe = ImageLimits(limits.max_megapixels, limits.max_file_mb, 1, DECODABLE)
    findings = track(_findings(paths, root, safe, hash_size), "probe", total=len(paths))
    frame = pd.DataFrame(list(findings), columns=list(FOUND))
    return frame.astype(FOUND).reset_index(drop=True)


def _findings(paths: Sequence[str | None], root: Path, limits: ImageLimits, hash_size: int) -> Iterator[Finding]:
    """Chunk by chunk, so that no more than a chunk of work waits at any time."""

    def one(path: str | None) -> Finding:
        return _probe_one(path, root, limits, hash_size)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_WORKERS)) as pool:
        remaining = iter(paths)
        while chunk := list(islice(remaining, CHUNK)):
            yield from pool.map(one, chunk)


def _probe_one(path: str | None, root: Path, limits: ImageLimits, hash_size: int) -> Finding:
    finding: Finding = dict.fromkeys(FOUND)
    if path is None:
        return finding
    try:
        info, pixels = inspect(resolve_inside(root, path), limits)
    except BadImage as bad:
        return {**finding, "unreadable": bad.reason, "unreadable_detail": bad.detail}
    mark = signature(pixels, hash_size)
    return {
        **finding,
        "found_image_id": info.image_id,
        "found_width": info.width,
        "found_height": info.height,
        "found_format": info.format,
        "found_bytes": info.bytes,
        "phash": mark.phash,
        "thumbnail": mark.thumbnail,
    }
