"""`data/sources.yaml`: every collection that Packshot can draw on, with its address, commit, licence and labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from packshot.catalog.source_record import SourceError
from packshot.config import Positive, Section, Unit
from packshot.home import project_root


class MirrorPlace(Section):
    """A folder of a local mirror."""

    folder: str
    labels: str
    """CSV beside the images folder; its column `file` names the image."""
    images: str
    sha256: str | None = None
    """Of the label file. A mirror that differs is used, and said to differ: it belongs to the user."""


class PublicPlace(Section):
    """A public git repository at one commit."""

    address: str
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")]
    """Git checks every object it fetches against this id, so it is the checksum of all the files."""
    layout: Literal["scored_table", "sender_table", "style_folders", "product_table"]
    labels: str
    """Label file, or the folder of label folders."""
    images: str
    """Folder of the images, or what the image paths of the label file start from."""
    sha256: str | None = None
    """Of the label file; a difference is an error."""
    limit: Positive | None = None
    """Take about this many images of the whole collection (whole senders), drawn by seed."""


class StampsPlace(Section):
    """Photographs of objects in a Debian package, degraded on purpose and scored against the original."""

    package: str
    folder: str
    categories: tuple[str, ...]
    """Folders that hold photographs of things; the others hold letters, signs and houses."""
    take: Positive
    versions: Annotated[int, Field(ge=1)]
    """Degraded versions of each photograph."""
    flat_share: Unit
    """A picture with a larger share of equal neighbouring pixels is a drawing, and left out."""
    least_side: Positive
    """Longest side, in pixels, from which a picture is large enough."""
    canvas: tuple[Positive, Positive]
    """Smallest and largest side of the white square the object is put on, in pixels."""


class IconTheme(Section):
    """One icon theme: a style."""

    package: str
    folder: str


class IconsPlace(Section):
    """Icon themes in Debian packages that draw the same objects, each in its own style."""

    themes: dict[str, IconTheme]
    """Style label to theme."""
    contexts: tuple[str, ...]
    """Folders of a theme that icons are taken from."""
    take: Positive
    drawn_by: Positive
    """In how many of the styles an object must be drawn."""
    side: Positive
    """Side of the drawing, in pixels; smaller bitmaps are left out, nothing is enlarged."""
    canvas: Positive
    """Side of the white square the drawing is put on, in pixels."""


class SetDeclaration(Section):
    """One set: where it comes from, under which licence, and which of its columns are which of the manifest's."""

    title: str
    licence: str
    shows_people: bool = False
    columns: dict[str, str] = {}
    """Manifest column to the column of the label file."""
    tags: dict[str, str] = {}
    """Tag to a true/false column of the label file."""
    styles: tuple[str, ...] = ()
    """All style labels that the set may have, in their exact spelling."""
    mirror: MirrorPlace | None = None
    public: PublicPlace | None = None
    stamps: StampsPlace | None = None
    icons: IconsPlace | None = None


class Sources(Section):
    """The whole file."""

    sets: dict[str, SetDeclaration]

    def of(self, names: tuple[str, ...], where: Path) -> dict[str, SetDeclaration]:
        """The declarations of the sets `names`, in that order. Raises SourceError naming an undeclared one."""
        unknown = [name for name in names if name not in self.sets]
        if unknown:
            raise SourceError(
                f"{where} does not declare the set(s) {', '.join(unknown)} that the profile in params.yaml names; "
                f"it declares {', '.join(sorted(self.sets))}"
            )
        return {name: self.sets[name] for name in names}


def sources_path(workspace: Path) -> Path:
    """`PACKSHOT_SOURCES`, else `data/sources.yaml` of the workspace, else of the project."""
    named = os.environ.get("PACKSHOT_SOURCES")
    if named:
        return Path(named)
    here = workspace / "data" / "sources.yaml"
    return here if here.exists() else project_root() / "data" / "sources.yaml"


def read_sources(path: Path) -> Sources:
    """Read and check the file. Raises SourceError naming the file, the key and what is wrong with it."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"cannot read the declaration of sources {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} is not valid YAML: {error}") from error
    try:
        return Sources.model_validate(raw)
    except ValidationError as error:
        problems = "\n".join(
            f"  {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()
        )
        raise SourceError(f"{path} has {error.error_count()} problem(s):\n{problems}") from error
