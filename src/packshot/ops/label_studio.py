"""Labels leave for Label Studio and come back from it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from packshot.catalog.label_studio import COLUMNS, rows, tasks
from packshot.catalog.labels import Label, LabelsRefused, LabelStore, Picture
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import write_json
from packshot.home import Home
from packshot.ops.labels import add_labels, scored_pictures
from packshot.ops.pipeline import Outcome
from packshot.progress import say
from packshot.serving.label_queue import read_queue
from packshot.spreadsheet import write_csv

LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves files of its machine; its document root is PACKSHOT_HOME then."""


class LabelFileMissing(PackshotError):
    """A file of labels cannot be read."""

    exit_code = 66


def export_labels(target: Path, prefix: str = LOCAL_FILES) -> Outcome:
    """Write all labels, and the pictures of the label queue, as Label Studio's JSON. `prefix`: what a picture's address
    begins with, before its place below PACKSHOT_HOME. Raises LabelStoreDamaged, OutputNotWritable."""
    home = Home.from_environment()

    def address(picture: Label | Picture) -> str:
        place = home.labels / picture.file if isinstance(picture, Label) else picture.location
        below = place.relative_to(home.root) if place.is_relative_to(home.root) else place
        return prefix + quote(below.as_posix())

    queued = {str(image_id) for image_id in read_queue(home.labels)["image_id"]}
    waiting = [picture for picture in scored_pictures() if picture.image_id in queued] if queued else []
    made = tasks(LabelStore(home.labels).labels(), waiting, address)
    write_json(target, made)
    annotations = sum(len(task["annotations"]) for task in made)
    say(f"labels: {len(made)} tasks with {annotations} annotations in {target}")
    return Outcome({"tasks": len(made), "annotations": annotations, "file": str(target)}, done=True)


def import_labels(settings: Settings, file: Path) -> Outcome:
    """Add the annotations of an export of Label Studio, all or none, under the rules of a file of labels.

    Raises NotLabelStudio, LabelFileMissing, LabelsRefused; row 2 of the latter is the first annotation.
    """
    try:
        found = rows(file)
    except OSError as error:
        raise LabelFileMissing(f"{file} cannot be read: {error.strerror or error}") from error
    if not found:
        say(f"{file} has no annotation that labels anything")
        return Outcome({"added": 0}, done=False)
    with TemporaryDirectory(prefix="packshot-label-studio-") as scratch:
        table = Path(scratch) / "labels.csv"
        write_csv(table, COLUMNS, found)
        try:
            return add_labels(settings.catalog_read_as(",", "utf-8"), table)
        except LabelsRefused as error:
            raise LabelsRefused(str(error).replace(str(table), str(file))) from error
