"""The pictures that a shop shows: accepted as they came, or enhanced; each found on disk and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packshot.catalog.image import BadImage, resolve_inside
from packshot.errors import PackshotError
from packshot.exports.copies import copies_in
from packshot.exports.source import VerdictFile
from packshot.scoring.decisions import SHOWN

FACTS = ("sku", "sender", "category", "style", "style_confidence", "decision")
_READ = ("batch_id", "path", "image_id", "enhanced_path", "enhanced_id", *FACTS)


class PicturesGone(PackshotError):
    """The folder of the judged pictures is not where it was."""

    exit_code = 66


@dataclass(frozen=True)
class Shown:
    """One picture to show. `folder` holds it under `relative`; `digest` is the sha256 of its bytes, None where verdicts
    of an earlier version do not say it of an enhanced one."""

    batch_id: str
    path: str
    folder: Path
    relative: str
    source: Literal["original", "enhanced"]
    digest: str | None
    facts: dict[str, Any]

    def locate(self) -> Path:
        """The file, links followed. Raises BadImage where there is none, or the path leads out of its folder."""
        file = resolve_inside(self.folder, self.relative)
        if not file.is_file():
            raise BadImage("missing_file", "there is no such file", self.relative)
        return file

    def check(self, digest: str) -> None:
        """Raise BadImage where bytes of this sha256 (hex) are not those that were judged, or made."""
        if self.digest not in (None, digest):
            what = "judged" if self.source == "original" else "enhanced"
            raise BadImage("missing_file", f"the file has changed since it was {what}", self.relative)


def shown_pictures(files: Sequence[VerdictFile], images: Path | None = None) -> Iterator[Shown]:
    """Every accepted or enhanced picture, in the order of the verdicts, but for copies in whose place another of the
    same SKU is among them.

    `images`: the folder that was scored, where it has moved; then there may be one verdict file only. Raises
    PicturesGone.
    """
    if images is not None and len(files) > 1:
        raise PicturesGone(f"--images holds the pictures of one folder of verdicts, not of {len(files)}; name one")
    roots = [image_root(file, images) for file in files]
    copies = copies_in(files)
    for file, root in zip(files, roots, strict=True):
        for row in copies.each(file, (*_READ, "duplicate_of")):
            if row["decision"] in SHOWN and row["duplicate_of"] is None:
                yield _shown(row, file.folder, root)


def image_root(file: VerdictFile, named: Path | None) -> Path:
    """The folder of the pictures that a verdict file is about. Raises PicturesGone."""
    root = file.images(named)
    if root is None or not root.is_dir():
        raise PicturesGone(
            f"the pictures that {file.folder} is about are not at {named or 'the folder they were scored from'} any "
            "more; export that folder of verdicts alone and name the pictures' folder with --images"
        )
    return root


def digest_of(file: Path) -> str:
    """sha256 (hex) of a file's bytes: the `image_id` it would be judged under."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _shown(row: dict[str, Any], folder: Path, root: Path) -> Shown:
    facts = {name: row[name] for name in FACTS}
    if row["decision"] == "enhance" and row["enhanced_path"]:
        return Shown(row["batch_id"], row["path"], folder, row["enhanced_path"], "enhanced", row["enhanced_id"], facts)
    return Shown(row["batch_id"], row["path"], root, row["path"], "original", row["image_id"], facts)
