"""What people decided at the desk comes back as labels, for the shop's own scale and the next collection."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from packshot.catalog.labels import DECISIONS, Picture
from packshot.config import Settings
from packshot.drift.queue import UNSURE
from packshot.exports.pictures import digest_of
from packshot.ops.labels import add_labels, scored_pictures
from packshot.ops.pipeline import Outcome
from packshot.progress import say
from packshot.registry.events import Reviewed
from packshot.registry.ledger import Ledger
from packshot.service.review import KIND, standing
from packshot.spreadsheet import write_csv

COLUMNS = ("image_id", "decision", "who", "when", "why")
WHY = f"{UNSURE}: the desk's queue"
"""It begins as those that the label queue chose for that, which hold nobody to a promise."""


def reviews_as_labels(settings: Settings) -> Outcome:
    """Add the decisions that stand, accept or reject, on pictures of the inbox to the store of labels.

    Whoever took a decision back afterwards says so by a later one: the store only grows. Raises LabelsRefused.
    """
    events = Ledger.from_environment().events(settings.registry.model_name, KIND)
    decided = standing(event for event in events if isinstance(event, Reviewed))
    known = {picture.image_id: picture for picture in scored_pictures()}
    rows = _rows((each for each in decided if each.payload.outcome in DECISIONS), known)
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


def _rows(decided: Iterable[Reviewed], known: dict[str, Picture]) -> list[dict[str, str]]:
    """One for each person and content, the newest."""
    rows = {}
    for each in decided:
        image_id = each.payload.image_id or ""
        picture = known.get(image_id)
        if picture is not None and picture.location.is_file() and digest_of(picture.location) == image_id:
            told = {"image_id": image_id, "decision": each.payload.outcome, "who": each.actor, "when": each.at}
            rows[image_id, each.actor] = told | {"why": WHY}
    return list(rows.values())
