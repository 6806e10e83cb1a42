"""Photographs of objects on white with known quality: each as it is, and degraded on purpose.

The quality of a degraded version is its full-reference score against the original, which itself counts
as 1. All versions of one object share its SKU, so they never part between splits.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from packshot.catalog.decoding.isolated import read_rgba
from packshot.catalog.limits import BadImage, ImageLimits
from packshot.catalog.sources.declared import SetDeclaration, StampsPlace
from packshot.catalog.sources.table import COLUMNS
from packshot.files import write_bytes
from packshot.progress import say, track

Pixels = NDArray[np.uint8]
OPAQUE = 250
LEAST_OPAQUE_PIXELS = 2000
MARGIN = 1.15
"""Side of the white square for each pixel of the object's longest side."""
MIRRORED = "_mirror"
PRISTINE = "pristine"
LIMITS = ImageLimits(max_megapixels=16, max_file_mb=64, min_side_px=1, formats=("PNG",))


@dataclass(frozen=True)
class Stamp:
    """One photograph: its name (path below the stamps without ending), title, and pixels with alpha."""

    name: str
    title: str | None
    category: str
    rgba: Pixels


def make(name: str, declared: SetDeclaration, trees: Mapping[str, Path], folder: Path, seed: int) -> pd.DataFrame:
    """Write the images below `folder` and return their rows (`origin` relative to `folder`)."""
    place = declared.stamps
    assert place is not None
    chosen = _chosen(trees[place.package] / place.folder, place, seed)
    rows = [row for path in track(chosen, name, unit="objects") for row in _versions(name, path, place, folder, seed)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def wanted(place: StampsPlace) -> dict[str, Callable[[PurePosixPath], bool]]:
    """Package to a test for the files of it that are needed: pictures and names, no sounds, no drawings in SVG."""
    folders = [PurePosixPath(place.folder) / category for category in place.categories]

    def needed(path: PurePosixPath) -> bool:
        return path.suffix in {".png", ".txt"} and any(path.is_relative_to(folder) for folder in folders)

    return {place.package: needed}


def is_photograph(rgba: Pixels, place: StampsPlace) -> bool:
    """Whether the opaque pixels are enough, and differ from their neighbours as those of a photograph do."""
    opaque = rgba[..., 3] >= OPAQUE
    pairs = opaque[:, 1:] & opaque[:, :-1]
    if max(rgba.shape[:2]) < place.least_side or pairs.sum() < LEAST_OPAQUE_PIXELS:
        return False
    equal = (rgba[:, 1:, :3] == rgba[:, :-1, :3]).all(axis=2) & pairs
    return bool(equal.sum() / pairs.sum() <= place.flat_share)


def on_white(rgba: Pixels, smallest: int, largest: int) -> Pixels:
    """The object in the middle of a white square of `smallest` to `largest` pixels; never enlarged."""
    height, width = rgba.shape[:2]
    scale = min(1.0, largest / MARGIN / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        premultiplied = rgba.astype(np.float32)
        premultiplied[..., :3] *= premultiplied[..., 3:] / 255.0
        shrunk = cv2.resize(premultiplied, size, interpolation=cv2.INTER_AREA)
        height, width = shrunk.shape[:2]
    else:
        shrunk = rgba.astype(np.float32)
        shrunk[..., :3] *= shrunk[..., 3:] / 255.0
    side = min(largest, max(smallest, round(max(height, width) * MARGIN)))
    canvas = np.full((side, side, 3), 255.0, dtype=np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    window = canvas[top : top + height, left : left + width]
    window *= 1.0 - shrunk[..., 3:] / 255.0
    window += shrunk[..., :3]
    result: Pixels = np.rint(canvas.clip(0, 255)).astype(np.uint8)
    return result


def as_png(image: Pixels) -> bytes:
    """The image (H x W x 3, uint8, RGB) as PNG: no loss is added to the one that was meant."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _chosen(root: Path, place: StampsPlace, seed: int) -> list[Stamp]:
    """`take` photographs in an order drawn by seed, no picture twice, then by name."""
    files = sorted(file for category in place.categories for file in (root / category).rglob("*.png"))
    order = sorted(files, key=lambda file: _draw(seed, file.relative_to(root).as_posix()))
    chosen: list[Stamp] = []
    seen: set[str] = set()
    for file in order:
        if len(chosen) == place.take:
            break
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if file.stem.endswith(MIRRORED) or digest in seen:
            continue
        seen.add(digest)
        stamp = _read(root, file, content)
        if stamp is not None and is_photograph(stamp.rgba, place):
            chosen.append(stamp)
    return sorted(chosen, key=lambda stamp: stamp.name)


def _read(root: Path, file: Path, content: bytes) -> Stamp | None:
    try:
        rgba = read_rgba(content, LIMITS)
    except BadImage as bad:
        say(f"{file.name} is left out: {bad.detail}")
        return None
    relative = file.relative_to(root)
    text = file.with_suffix(".txt")
    lines = text.read_text(encoding="utf-8", errors="replace").splitlines() if text.exists() else []
    title = lines[0].strip().rstrip(".") if lines else None
    return Stamp(relative.with_suffix("").as_posix(), title or None, relative.parts[-2], rgba)


def _versions(name: str, stamp: Stamp, place: StampsPlace, folder: Path, seed: int) -> Iterator[dict[str, Any]]:
    # torch is loaded here, so that sources without full-reference scores do not wait for it.
    from packshot.degrade import DEGRADATIONS, LEVELS, apply
    from packshot.degrade.full_reference import scores

    generator = np.random.default_rng(int(_draw(seed, stamp.name)[:12], 16))
    original = on_white(stamp.rgba, *place.canvas)
    names = generator.choice(sorted(DEGRADATIONS), size=place.versions, replace=False)
    levels = generator.choice(LEVELS, size=place.versions)
    degraded = [
        apply(original, str(which), int(level), seed=int(generator.integers(2**31)))
        for which, level in zip(names, levels, strict=True)
    ]
    marks = scores([original] * place.versions, degraded)
    yield _row(name, stamp, folder, original, f"{stamp.name}.png", PRISTINE, 1.0)
    for which, level, image, mark in zip(names, levels, degraded, marks, strict=True):
        family = DEGRADATIONS[str(which)].family
        yield _row(name, stamp, folder, image, f"{stamp.name}_{which}_{level}.png", family, float(mark))


def _row(
    name: str, stamp: Stamp, folder: Path, image: Pixels, file: str, subset: str, quality: float
) -> dict[str, Any]:
    write_bytes(folder / file, as_png(image))
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row.update(source=name, path=f"{name}/{file}", origin=file, sku=stamp.name, subset=subset)
    row.update(title=stamp.title, category=stamp.category, quality_mos=round(quality, 4))
    return row


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\n{name}".encode()).hexdigest()
