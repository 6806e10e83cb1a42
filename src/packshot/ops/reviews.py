"""What people decided at the desk comes back as labels, for the shop's own scale and the next collection."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from packshot.catalog.labels import DECISIONS, VALUES, Picture
from packshot.config import Settings
from packshot.drift.queue import UNSURE
from packshot.exports.pictures import digest_of
from packshot.ops.labels import add_labels, scored_pictures, styles_told
from packshot.ops.pipeline import Outcome
from packshot.progress import say
from packshot.registry.events import Reviewed
from packshot.registry.ledger import Ledger
from packshot.service.review import KIND, standing
from packshot.spreadsheet import write_csv

COLUMNS = ("image_id", *VALUES, "who", "when", "why")
WHY = f"{UNSURE}: the desk's queue"
"""It begins as those that the label queue chose for that, which hold nobody to a promise."""


def reviews_as_labels(settings: Settings) -> Outcome:
    """Add the decisions that stand, accept or reject, on pictures of the inbox to the store of labels, with the scores
    and styles that people corrected; a style that the champion does not know is left out.

    Whoever took a decision back afterwards says so by a later one: the store only grows. Raises LabelsRefused.
    """
    events = Ledger.from_environment().events(settings.registry.model_name, KIND)
    decided = standing(event for event in events if isinstance(event, Reviewed))
    known = {picture.image_id: picture for picture in scored_pictures()}
    rows = _rows(decided, known, styles_told(settings))
    elsewhere = len(decided) - len(rows)
    if elsewhere:
        say(f"desk: {elsewhere} decisions teach nothing: on pictures outside the inbox, or for the repaired one")
    if not rows:
        return Outcome({"decided": len(decided), "added": 0}, done=False)
    with TemporaryDirectory(prefix="packshot-desk-") as scratch:
        file = Path(scratch) / "desk.csv"
        write_csv(file, COLUMNS, rows)
        added = add_labels(settings.catalog_read_as(",", "utf-8"), file)
    return Outcome({"decided": len(decided), **added.record}, added.done)


def _rows(decided: Iterable[Reviewed], known: dict[str, Picture], styles: Collection[str]) -> list[dict[str, str]]:
    """One for each person and content, the newest."""
    rows = {}
    for each in decided:
        image_id = each.payload.image_id or ""
        picture, said = known.get(image_id), _said(each, styles)
        if said and picture is not None and picture.location.is_file() and digest_of(picture.location) == image_id:
            rows[image_id, each.actor] = said | {"image_id": image_id, "who": each.actor, "when": each.at, "why": WHY}
    return list(rows.values())


def _said(each: Reviewed, styles: Collection[str]) -> dict[str, str]:
    """What a decision tells of its picture, by the columns of a file of labels."""
    told = each.payload
    said: dict[str, str] = {}
    if told.outcome in DECISIONS:
        said["decision"] = told.outcome
    if told.score is not None:
        said["quality_mos"] = f"{told.score:.4f}"
    if told.style is not None and (not styles or told.style in styles):
        said["style"] = told.style
    return said
