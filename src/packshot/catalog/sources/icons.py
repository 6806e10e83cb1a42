"""Icon themes as a style set: the same objects, drawn by several hands."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from packshot.catalog.decoding.isolated import drawn
from packshot.catalog.limits import DECODABLE, BadImage, ImageLimits
from packshot.catalog.source_record import SourceError
from packshot.catalog.sources.declared import IconsPlace, IconTheme, SetDeclaration
from packshot.catalog.sources.stamps import as_png, on_white
from packshot.catalog.sources.table import COLUMNS
from packshot.files import write_bytes
from packshot.progress import track

SCALABLE = 1 << 10
SMALLEST_VECTOR = 32
"""Nominal size from which a drawing is made for its own sake; below it is a simplified glyph."""
SYMBOLIC = "symbolic"
SIZE = re.compile(r"(\d+)(?:x\1)?")
LIMITS = ImageLimits(max_megapixels=4, max_file_mb=16, min_side_px=1, formats=DECODABLE)


@dataclass(frozen=True)
class Icon:
    """One drawing: the file that holds it (aliases followed), its context, and what it is ranked by."""

    file: Path
    context: str
    rank: tuple[int, bool, str]


def make(name: str, declared: SetDeclaration, trees: Mapping[str, Path], folder: Path, seed: int) -> pd.DataFrame:
    """Write the images below `folder` and return their rows (`origin` relative to `folder`)."""
    place = declared.icons
    assert place is not None
    themes = {style: drawings(trees[theme.package], theme, place) for style, theme in place.themes.items()}
    rows = [
        row
        for thing in track(objects(themes, place, seed), name, unit="objects")
        for row in _styles(name, thing, themes, place, folder)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def wanted(place: IconsPlace) -> dict[str, Callable[[PurePosixPath], bool]]:
    """Package to a test for the files of it that are needed: its theme's drawings that are large enough."""
    return {theme.package: _needed(PurePosixPath(theme.folder), place) for theme in place.themes.values()}


def _needed(root: PurePosixPath, place: IconsPlace) -> Callable[[PurePosixPath], bool]:
    def needed(path: PurePosixPath) -> bool:
        return path.is_relative_to(root) and _context(path.relative_to(root), place) is not None

    return needed


def drawings(tree: Path, theme: IconTheme, place: IconsPlace) -> dict[str, Icon]:
    """Object name to the largest drawing that a theme has of it, among those large enough."""
    root = tree / theme.folder
    if not root.is_dir():
        raise SourceError(
            f"the package {theme.package} has no folder {theme.folder}; correct the declaration of sources"
        )
    best: dict[str, Icon] = {}
    for file in sorted(root.rglob("*")):
        icon = _icon(tree, root, file, place)
        if icon is not None and (file.stem not in best or icon.rank > best[file.stem].rank):
            best[file.stem] = icon
    return best


def objects(themes: Mapping[str, Mapping[str, Icon]], place: IconsPlace, seed: int) -> list[str]:
    """`take` objects drawn in at least `drawn_by` styles, those in most styles first, each drawing used once.

    Themes give one drawing to many names; a second name for a drawing that is used would be a duplicate.
    """
    names = {name for icons in themes.values() for name in icons}
    drawn = {name: [style for style, icons in themes.items() if name in icons] for name in names}
    wanted = sorted(
        (name for name in names if len(drawn[name]) >= place.drawn_by),
        key=lambda name: (-len(drawn[name]), hashlib.sha256(f"{seed}\n{name}".encode()).hexdigest()),
    )
    used: set[Path] = set()
    chosen: list[str] = []
    for name in wanted:
        files = {themes[style][name].file for style in drawn[name]}
        if len(chosen) < place.take and not files & used:
            used |= files
            chosen.append(name)
    return sorted(chosen)


def _icon(tree: Path, root: Path, file: Path, place: IconsPlace) -> Icon | None:
    relative = PurePosixPath(file.relative_to(root).as_posix())
    context = _context(relative, place)
    if context is None:
        return None
    target = file.resolve()
    if not target.is_file() or not target.is_relative_to(tree.resolve()):
        return None
    return Icon(target, context, (_size(relative.parts[:-1]), file.suffix == ".svg", file.as_posix()))


def _context(path: PurePosixPath, place: IconsPlace) -> str | None:
    """The context that a file of a theme (path relative to it) stands in; None where it is no usable drawing."""
    folders = path.parts[:-1]
    if path.suffix not in {".png", ".svg"} or SYMBOLIC in folders or path.stem.endswith(f"-{SYMBOLIC}"):
        return None
    if _size(folders) < (SMALLEST_VECTOR if path.suffix == ".svg" else place.side):
        return None
    return next((part for part in folders if part in place.contexts), None)


def _size(parts: tuple[str, ...]) -> int:
    for part in parts:
        if part == "scalable":
            return SCALABLE
        if match := SIZE.fullmatch(part):
            return int(match.group(1))
    return 0


def _styles(
    name: str, thing: str, themes: Mapping[str, Mapping[str, Icon]], place: IconsPlace, folder: Path
) -> Iterator[dict[str, Any]]:
    for style, icons in themes.items():
        icon = icons.get(thing)
        image = _render(icon.file, place) if icon else None
        if icon is None or image is None:
            continue
        # The style is not in the file's name alone: a folder for each keeps the names of the objects as they are.
        file = f"{style}/{thing}.png"
        write_bytes(folder / file, as_png(image))
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row.update(source=name, path=f"{name}/{file}", origin=file, sku=thing, style=style)
        row.update(title=thing.replace("-", " "), category="mimetypes" if icon.context == "mimes" else icon.context)
        yield row


def _render(file: Path, place: IconsPlace) -> NDArray[np.uint8] | None:
    """The drawing at `side` pixels on a white square; None where it cannot be drawn."""
    try:
        rgba = Image.fromarray(drawn(file, LIMITS, place.side))
    except BadImage:
        return None
    rgba.thumbnail((place.side, place.side), Image.Resampling.LANCZOS)
    return on_white(np.asarray(rgba), place.canvas, place.canvas)
