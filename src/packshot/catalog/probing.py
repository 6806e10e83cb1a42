"""What each file of a manifest really is, found by decoding it once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pandas as pd

from packshot.catalog.decoding.attempts import Attempts
from packshot.catalog.decoding.isolated import inspect
from packshot.catalog.image import DECODABLE, BadImage, ImageLimits, resolve_inside
from packshot.catalog.near_duplicates import signature
from packshot.catalog.same_picture import HASHED_AT
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


def probe_files(
    paths: Sequence[str | None], root: Path, limits: ImageLimits, hash_size: int, attempts: Attempts
) -> pd.DataFrame:
    """Decode every path (relative to `root`), several at a time; one row a path, in order, with the columns FOUND.

    Only what would be dangerous to decode is refused here (`unreadable`: file size, pixel count, damage, a path
    outside `root`); format and smallest side are found and left to the expectations to judge. `attempts` remembers
    files that ended earlier processes.
    """
    probing = _Probing(root, replace(limits, min_side_px=1, formats=DECODABLE), hash_size, attempts)
    findings = track(_findings(paths, probing), "probe", total=len(paths))
    frame = pd.DataFrame(list(findings), columns=list(FOUND))
    return frame.astype(FOUND).reset_index(drop=True)


@dataclass(frozen=True)
class _Probing:
    root: Path
    limits: ImageLimits
    hash_size: int
    attempts: Attempts

    def suspects(self, path: str | None) -> bool:
        """Whether the file is to be decoded with nothing beside it."""
        try:
            return path is not None and self.attempts.suspects(resolve_inside(self.root, path))
        except BadImage:
            return False

    def one(self, path: str | None) -> Finding:
        """What a file is. Never raises for what is wrong with it."""
        finding: Finding = dict.fromkeys(FOUND)
        if path is None:
            return finding
        try:
            file = resolve_inside(self.root, path)
            # no more is looked at, and several whole pictures would take much memory
            info, pixels = inspect(file, self.limits, longest=HASHED_AT, attempts=self.attempts)
        except BadImage as bad:
            return {**finding, "unreadable": bad.reason, "unreadable_detail": bad.detail}
        mark = signature(pixels, self.hash_size)
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


def _findings(paths: Sequence[str | None], probing: _Probing) -> Iterator[Finding]:
    """Chunk by chunk, so that no more than a chunk of work waits at any time."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_WORKERS)) as pool:
        remaining = iter(paths)
        while chunk := list(islice(remaining, CHUNK)):
            alone = {place: probing.one(path) for place, path in enumerate(chunk) if probing.suspects(path)}
            beside = pool.map(probing.one, (path for place, path in enumerate(chunk) if place not in alone))
            yield from (alone.get(place) or next(beside) for place in range(len(chunk)))
