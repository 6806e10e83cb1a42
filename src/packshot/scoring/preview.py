"""A small JPEG of each picture, made from the pixels that were judged and kept in its row."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from packshot.catalog.statistics import shrink
from packshot.scoring.verdicts import verdict_parts

QUALITY = 82


def preview(image: NDArray[np.uint8], side: int) -> bytes | None:
    """An RGB image, H x W x 3 uint8, as a JPEG of at most `side` pixels; None for a side of 0."""
    if side == 0:
        return None
    small = cv2.cvtColor(shrink(image, side), cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return content.tobytes() if done else None


def previews(verdicts: Path, paths: Collection[str]) -> dict[str, bytes]:
    """The previews of some rows of a verdict file by their path; those that have none are left out.

    Raises VerdictsUnreadable.
    """
    found: dict[str, bytes] = {}
    wanted = pa.array(sorted(paths), pa.string())
    for part in verdict_parts(verdicts, ["path", "preview"]):
        rows = part.filter(pc.is_in(part["path"], wanted)).to_pylist()
        found |= {row["path"]: row["preview"] for row in rows if row["preview"] is not None}
    return found
