"""The pictures to show, in the sizes that pages show them in."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from packshot.catalog.decoding.attempts import Attempts
from packshot.catalog.decoding.isolated import inspect, read_carried
from packshot.catalog.image import BadImage, ImageLimits, encode
from packshot.catalog.limits import content_of
from packshot.catalog.statistics import shrink
from packshot.config import Settings
from packshot.exports.journal import Journal
from packshot.exports.output import safe_name, sole_export, write_marker
from packshot.exports.pictures import Shown, shown_pictures
from packshot.exports.source import VerdictFile
from packshot.files import OutputNotWritable, fitting_name
from packshot.progress import say, track
from packshot.spreadsheet import write_csv

KIND = "renditions"
TABLE, JOURNAL, ATTEMPTS = "renditions.csv", ".renditions.jsonl", ".decoding.attempts"
COLUMNS = ("batch_id", "path", "sku", "size", "longest_side", "file", "source")
_SUFFIXES = {"JPEG": (".jpg", ".jpeg"), "WEBP": (".webp",)}


@dataclass(frozen=True)
class Rendition:
    """One picture in one size. `key` changes with all that the file is made from."""

    size: str
    longest_side: int
    name: str
    key: str


@dataclass
class _Counts:
    made: int = 0
    found: int = 0
    left_out: int = 0


def write_renditions(
    settings: Settings, files: Sequence[VerdictFile], out: Path, images: Path | None = None
) -> dict[str, Any]:
    """Write every picture to show below `out/SIZE/BATCH/`, for each size of `exports.renditions`; renditions.csv lists
    them.

    No picture is enlarged; colour profiles are taken over; transparency is shown on white. What an earlier run made
    from the same picture and settings stays, also after a kill; what no row names any more is removed at the end. A
    picture that is gone or changed since it was judged is left out and named. Raises PicturesGone, OutputNotOurs.
    """
    counts = _Counts()
    with sole_export(out, KIND):
        write_marker(out, KIND, files)
        journal, attempts = Journal(out / JOURNAL), Attempts(out / ATTEMPTS)
        rows = _made(settings, shown_pictures(files, images), out, journal, attempts, counts)
        listed = write_csv(out / TABLE, COLUMNS, rows)
        attempts.rest()
        removed = journal.forget_others()
    return {
        "renditions": listed,
        "made": counts.made,
        "found": counts.found,
        "removed": removed,
        "pictures_left_out": counts.left_out,
        "table": str(out / TABLE),
    }


def _made(
    settings: Settings, pictures: Iterator[Shown], out: Path, journal: Journal, attempts: Attempts, counts: _Counts
) -> Iterator[dict[str, Any]]:
    taken: set[str] = set()
    for picture in track(pictures, "renditions"):
        try:
            wanted = _wanted(settings, picture, taken)
            waiting = [one for one in wanted if not journal.has(one.name, one.key)]
            if waiting:
                _make(settings, picture, waiting, out, journal, attempts)
        except BadImage as error:
            counts.left_out += 1
            say(f"{picture.path} is left out: {error.detail}")
            continue
        counts.made += len(waiting)
        counts.found += len(wanted) - len(waiting)
        for one in wanted:
            journal.keep(one.name)
            facts = {"batch_id": picture.batch_id, "path": picture.path, "sku": picture.facts["sku"]}
            sizes = {"size": one.size, "longest_side": one.longest_side, "file": one.name}
            yield facts | sizes | {"source": picture.source}


def _wanted(settings: Settings, picture: Shown, taken: set[str]) -> list[Rendition]:
    rules = settings.exports
    identity = picture.digest or _stamp(picture)
    within = _within(picture, rules.rendition_format, taken)
    found = []
    for size, longest in rules.renditions.items():
        parts = [identity, longest, rules.rendition_format, rules.rendition_quality]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        found.append(Rendition(size, longest, f"{size}/{within}", key))
    return found


def _stamp(picture: Shown) -> str:
    """Which enhanced file it is, for verdicts that name no checksum of it."""
    status = picture.locate().stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _within(picture: Shown, format: str, taken: set[str]) -> str:
    suffixes = _SUFFIXES[format]
    relative = PurePosixPath(
        picture.relative.removeprefix("enhanced/") if picture.source == "enhanced" else picture.path
    )
    name = f"{safe_name(picture.batch_id)}/{relative}"
    if relative.suffix.lower() not in suffixes:
        name = fitting_name(f"{name}{suffixes[0]}")
    if name.casefold() in taken:
        code = hashlib.sha256(f"{picture.batch_id}\0{picture.path}".encode()).hexdigest()[:16]
        name = fitting_name(str(PurePosixPath(name).with_suffix(f".{code}{suffixes[0]}")))
    taken.add(name.casefold())
    return name


def _make(
    settings: Settings, picture: Shown, waiting: Sequence[Rendition], out: Path, journal: Journal, attempts: Attempts
) -> None:
    """Read once, write each size. Raises BadImage for a picture that cannot be rendered."""
    limits, rules = ImageLimits.from_settings(settings.validation), settings.exports
    content, _ = content_of(picture.locate(), limits)
    picture.check(hashlib.sha256(content).hexdigest())
    _, pixels = inspect(content, limits, attempts=attempts)
    carried = read_carried(content, limits, attempts=attempts)
    quality, profile, rights = rules.rendition_quality, carried.profile, carried.metadata.rights()
    for one in sorted(waiting, key=lambda one: -one.longest_side):
        pixels = shrink(pixels, one.longest_side)
        target = out / one.name
        journal.begin(one.name)
        try:
            encode(
                pixels,
                target,
                format=rules.rendition_format,
                jpeg_quality=quality,
                profile=profile,
                described=rights,
            )
        except OutputNotWritable as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENAMETOOLONG:
                raise BadImage(
                    "missing_file", "the name is too long to write a rendition under", picture.path
                ) from error
            raise
        journal.add(one.name, one.key)
