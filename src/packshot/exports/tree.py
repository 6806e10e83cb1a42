"""Accepted and enhanced pictures in a folder tree, sorted by what was said of them."""

from __future__ import annotations

import hashlib
import os
import string
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from packshot.catalog.image import BadImage
from packshot.config import ExportSettings
from packshot.errors import PackshotError
from packshot.exports.output import folder_export, safe_name
from packshot.exports.pictures import Shown, digest_of, shown_pictures
from packshot.exports.source import VerdictFile
from packshot.files import OutputNotWritable, fitting_name
from packshot.progress import say, track
from packshot.spreadsheet import write_csv

KIND = "tree"
TABLE, PICTURES = "tree.csv", "pictures"
COLUMNS = ("file", "batch_id", "path", "sku", "decision", "category", "style", "source")
FIELDS = ("decision", "category", "style", "sku", "sender", "batch")
LAYOUT = "{decision}/{category}/{style}"
UNKNOWN = "unknown"
PIECE = 2**20
"""Bytes that are copied at a time."""
Placing = Literal["link", "copy"]


class LayoutUnknown(PackshotError):
    """The layout of the tree names something that a verdict does not have."""

    exit_code = 2


def write_tree(
    rules: ExportSettings,
    files: Sequence[VerdictFile],
    out: Path,
    layout: str = LAYOUT,
    placing: Placing = "link",
    images: Path | None = None,
) -> dict[str, Any]:
    """Put every picture to show below `out/pictures`, in the folders that `layout` names, and list them in tree.csv.

    `link` makes hard links where the disk allows it (what changes one changes both), else copies. A picture that is
    gone, or is not the one that was judged any more, is left out and named. Raises LayoutUnknown, PicturesGone,
    OutputNotOurs.
    """
    _check_layout(layout)
    left_out: list[str] = []
    with folder_export(out, KIND, files) as building:
        rows = _placed(rules, shown_pictures(files, images), building, layout, placing, left_out)
        placed = write_csv(building / TABLE, COLUMNS, rows)
    return {"tree": str(out), "pictures": placed, "left_out": len(left_out), "examples_left_out": left_out[:5]}


def _placed(
    rules: ExportSettings,
    pictures: Iterator[Shown],
    building: Path,
    layout: str,
    placing: Placing,
    left_out: list[str],
) -> Iterator[dict[str, Any]]:
    taken: set[str] = set()
    for picture in track(pictures, "placing"):
        try:
            name = _name(picture, _folder(rules, picture, layout), taken)
            _place(picture, building / name, placing)
        except BadImage as error:
            left_out.append(picture.path)
            say(f"{picture.path} is left out: {error.detail}")
            continue
        facts = {column: picture.facts[column] for column in ("sku", "decision", "category", "style")}
        yield {"file": name, "batch_id": picture.batch_id, "path": picture.path, "source": picture.source, **facts}


def _check_layout(layout: str) -> None:
    try:
        parts = [part[1:] for part in string.Formatter().parse(layout) if part[1] is not None]
    except ValueError as error:
        raise LayoutUnknown(f"the layout {layout!r} cannot be read: {error}; write it as {LAYOUT}") from error
    unknown = [str(name) for name, spec, conversion in parts if name not in FIELDS or spec or conversion]
    if unknown:
        raise LayoutUnknown(f"the layout {layout!r} names {{{unknown[0]}}}; a picture has {', '.join(FIELDS)}")


def _folder(rules: ExportSettings, picture: Shown, layout: str) -> str:
    facts = {name: picture.facts.get(name) for name in FIELDS} | {"batch": picture.batch_id}
    if (picture.facts["style_confidence"] or 0.0) < rules.min_style_confidence:
        facts["style"] = None
    parts = layout.split("/")
    named = [part.format_map({name: safe_name(value, UNKNOWN) for name, value in facts.items()}) for part in parts]
    return "/".join([PICTURES, *(safe_name(part, UNKNOWN) for part in named if part)])


def _name(picture: Shown, folder: str, taken: set[str]) -> str:
    """A name below the root that no other picture has, also where upper and lower case are one."""
    relative = PurePosixPath(picture.relative)
    suffix = f".{safe_name(relative.suffix)}" if relative.suffix else ""
    name = fitting_name(f"{folder}/{safe_name(relative.stem)}{suffix}")
    if name.casefold() in taken:
        code = hashlib.sha256(f"{picture.batch_id}\0{picture.path}".encode()).hexdigest()[:16]
        name = fitting_name(f"{folder}/{safe_name(relative.stem)}-{code}{suffix}")
    taken.add(name.casefold())
    return name


def _place(picture: Shown, target: Path, placing: Placing) -> None:
    """Put a picture in place; what stands there is checked, so that nothing can change in between.

    Raises BadImage where it is gone, cannot be read, or is another than that which was judged; OutputNotWritable.
    """
    file = picture.locate()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        linked = placing == "link" and _linked(file, target)
        picture.check(digest_of(target) if linked else _copied(file, target))
    except OSError as error:
        raise OutputNotWritable(target, error) from error
    except BadImage:
        target.unlink(missing_ok=True)
        raise


def _linked(file: Path, target: Path) -> bool:
    """False on another disk, or one without hard links."""
    try:
        os.link(file, target)
    except OSError:
        return False
    return True


def _copied(file: Path, target: Path) -> str:
    """sha256 (hex) of the bytes that were copied. Raises BadImage where they cannot be read."""
    digest = hashlib.sha256()
    with target.open("wb") as sink:
        for piece in _pieces(file):
            digest.update(piece)
            sink.write(piece)
    return digest.hexdigest()


def _pieces(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as source:
            while piece := source.read(PIECE):
                yield piece
    except OSError as error:
        raise BadImage("missing_file", f"the file cannot be read: {error.strerror}", file.name) from error
