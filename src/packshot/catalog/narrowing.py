"""Some sets of a split catalogue as a workspace of their own: groups and splits stay those of the whole."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

from packshot.catalog.manifest import read_manifest, write_manifest
from packshot.catalog.source_record import RAW, SOURCE, SourceError, read_source
from packshot.config import Settings
from packshot.files import atomic_folder, write_json
from packshot.revision import SPLIT_MANIFEST

IMAGES = RAW / "images"


def narrow(settings: Settings, whole: Path, profile: str, target: Path) -> None:
    """Make `target` a workspace of the sets that a profile names, out of `whole`, which has been split.

    Rows keep the group and the split that they have in `whole`, so what is test there is test here. Pictures are linked
    where the disk allows it. Raises SourceError where `whole` lacks a set of the profile.
    """
    sets = settings.profiles[profile].sets  # type: ignore[index]
    record, manifest = read_source(whole), read_manifest(whole / SPLIT_MANIFEST)
    lacking = [name for name in sets if name not in record.sets or not (manifest["source"] == name).any()]
    if lacking:
        raise SourceError(
            f"{whole} has no picture of {', '.join(lacking)}, which profiles.{profile} needs; it was collected from "
            f"{record.chosen}. Choose a source that has them: PACKSHOT_SOURCE=mirror or public"
        )
    rows = manifest[manifest["source"].isin(sets)]
    narrowed = dataclasses.replace(
        record,
        profile=profile,
        sets={
            name: dataclasses.replace(record.sets[name], rows=int((rows["source"] == name).sum()), held_back=0)
            for name in sets
        },
    )
    with atomic_folder(target / RAW) as building:
        for path in rows["path"]:
            _link(whole / IMAGES / path, building / IMAGES.name / path)
        write_json(building / SOURCE.name, dataclasses.asdict(narrowed))
    write_manifest(target / SPLIT_MANIFEST, rows)


def _link(origin: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(origin, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(origin, target)
