"""A local mirror: a folder for each set, with a label file beside the images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from packshot.catalog.source_record import SourceError
from packshot.catalog.sources.declared import MirrorPlace, SetDeclaration
from packshot.catalog.sources.table import SetFacts, SourceTable, labelled, read_label_csv, stack
from packshot.home import project_root
from packshot.progress import say


def mirror_folder(named: str) -> Path:
    """The mirror's folder; a relative name counts from the project."""
    return (project_root() / Path(named).expanduser()).resolve()


def what_is_missing(folder: Path, sets: Mapping[str, SetDeclaration]) -> str | None:
    """Why `folder` cannot serve these sets, or None where it can."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    lacking = [name for name, declared in sets.items() if not _labels(folder, declared).is_file()]
    if lacking:
        expected = ", ".join(str(_labels(folder, sets[name])) for name in lacking)
        return f"{folder} lacks {expected}"
    return None


def read_mirror(folder: Path, sets: Mapping[str, SetDeclaration]) -> SourceTable:
    """The labelled images of the mirror. Raises SourceError where a label file cannot be read."""
    frames, facts = [], {}
    for name, declared in sets.items():
        place = _place(name, declared)
        labels = _labels(folder, declared)
        digest = hashlib.sha256(labels.read_bytes()).hexdigest()
        if place.sha256 and digest != place.sha256:
            say(f"mirror: {labels} is not the label file that is declared (sha256 {digest[:12]}…); it is used as it is")
        frames.append(labelled(name, declared, folder / place.folder / place.images, read_label_csv(labels), labels))
        facts[name] = SetFacts(
            address=(folder / place.folder).as_posix(),
            commit=declared.public.commit if declared.public else None,
            licence=declared.licence,
            labels_sha256=digest,
            styles=declared.styles,
        )
    return SourceTable(stack(frames), facts)


def _place(name: str, declared: SetDeclaration) -> MirrorPlace:
    if declared.mirror is None:
        raise SourceError(
            f"the set {name} has no `mirror` in the declaration of sources; give it one or choose another"
        )
    return declared.mirror


def _labels(folder: Path, declared: SetDeclaration) -> Path:
    place = _place(declared.title, declared)
    return folder / place.folder / place.labels
