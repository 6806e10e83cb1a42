"""From finished shards to one verdict file, with nothing beside it that no row names."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.evaluation.thresholds import InForce
from packshot.files import remove_unfinished
from packshot.scoring.duplicates import Known, known_pictures
from packshot.scoring.judging import Scorer
from packshot.scoring.marking import enter_rows, looked_for, mark_copies
from packshot.scoring.plan import Plan
from packshot.scoring.plan_file import full_disk_told
from packshot.scoring.rules import profile_in_force
from packshot.scoring.rules.findings import Profile
from packshot.scoring.shards import FOLDER, OutputHolds, read_manifest, work_record, write_manifest
from packshot.scoring.verdicts import VERDICTS, listing_id, shard_tables, tally, verdict_parts, write_verdicts


class ShardsMissing(PackshotError):
    """A batch cannot be merged since not all of its shards are finished."""

    exit_code = 75


def is_merged(plan: Plan, known: Known) -> bool:
    """Whether the verdict file holds this very plan, and the index its pictures, where they are to be recorded."""
    said = read_manifest(plan.out)
    recorded = said.get("recorded") is True or not known.record
    return recorded and said.get("plan") == plan.id and (plan.out / VERDICTS).is_file()


def batch_of(out: Path) -> str | None:
    """The name of the batch whose verdicts an output folder holds, given once and kept; None where it has none yet."""
    named = read_manifest(out).get("batch_id")
    if named is None and (out / VERDICTS).is_file():
        named = tally(out / VERDICTS).batch_id  # a merge was killed after the rows and before the manifest
    return str(named) if named is not None else None


def check_same_batch(out: Path, batch_id: str | None, named: str) -> None:
    """Raise OutputHolds where `out`, which the user calls `named`, has the verdicts of a batch of another name."""
    known = batch_of(out)
    if batch_id is not None and known not in (None, batch_id):
        raise OutputHolds(
            f"{named} holds the verdicts of batch {known}, not of {batch_id}: exports and labels know them by that "
            f"name. Choose another output folder, for instance --out {named.rstrip('/')}-{batch_id}"
        )


def merge(plan: Plan, settings: Settings, scorer: Scorer, batch_id: str | None, bounds: InForce, known: Known) -> None:
    """Write `verdicts.parquet` from the shards, in their order. The batch keeps the name that it has; at the first time
    `batch_id`, by default a hash of the content.

    Copies of pictures are marked on the way: those within the batch, and of other batches those in the index `known`,
    which keeps what it learns where it is one to record in.

    The manifest, which names the thresholds that decided (`bounds`), is written last: until it
    says so, nothing counts as finished, and the same call again ends in the same state. Call it as the sole writer.
    Raises ShardsMissing, OutputNotWritable, DuplicatesUnusable.
    """
    waiting, files = plan.waiting(range(plan.shards))
    if waiting:
        raise ShardsMissing(
            f"{len(waiting)} of {plan.shards} shards of {plan.out} ({files} files) are not scored; "
            "score them, then merge again"
        )
    verdicts = plan.out / VERDICTS
    remove_unfinished(verdicts)
    batch = batch_id or batch_of(plan.out) or listing_id(plan.targets())
    lineage = asdict(scorer.lineage) | {"batch_id": batch}
    rows = _write_marked(plan, verdicts, lineage, profile_in_force(settings.scoring), known)
    _drop_unnamed(plan.out, verdicts)
    plan.drop_others()
    more = {"thresholds": bounds.as_record(), "plan": plan.id, "batch_id": batch, "rows": rows, "shards": plan.shards}
    more |= {"recorded": known.record or read_manifest(plan.out).get("recorded", False)}
    write_manifest(plan.out, scorer, images=str(plan.root), work=work_record(settings, scorer), **more)


def _write_marked(plan: Plan, verdicts: Path, lineage: dict[str, Any], profile: Profile, known: Known) -> int:
    """Write the rows, marked where copies are looked for; returns how many there are."""
    if not looked_for(profile):
        return write_verdicts(verdicts, shard_tables(plan.targets()), lineage)
    with known_pictures(known, lineage["batch_id"]) as pictures:
        for table in shard_tables(plan.targets()):
            enter_rows(table, pictures, profile)
        tables = (mark_copies(table, pictures, profile) for table in shard_tables(plan.targets()))
        return write_verdicts(verdicts, tables, lineage)


def _drop_unnamed(out: Path, verdicts: Path) -> None:
    """Remove the enhanced images that no row names, and what killed writers left."""
    for lock in (out / FOLDER).glob("*.lock"):
        lock.unlink(missing_ok=True)
    with named_images(verdicts) as is_named:
        for image in _files_below(out / "enhanced"):
            if not is_named(os.path.relpath(image, out)):
                Path(image).unlink(missing_ok=True)


@contextmanager
def named_images(verdicts: Path) -> Iterator[Callable[[str], bool]]:
    """Yields what says of a path whether a row has it as its enhanced image."""
    with full_disk_told(verdicts), closing(sqlite3.connect("")) as database:  # on disk but for a small cache
        database.execute("CREATE TABLE named (path BLOB PRIMARY KEY) WITHOUT ROWID")
        for part in verdict_parts(verdicts, ["enhanced_path"]):
            paths = part["enhanced_path"].drop_null().to_pylist()
            database.executemany("INSERT OR IGNORE INTO named VALUES (?)", ((os.fsencode(path),) for path in paths))
        query = "SELECT 1 FROM named WHERE path = ?"
        yield lambda path: database.execute(query, (os.fsencode(path),)).fetchone() is not None


def _files_below(folder: Path) -> Iterator[str]:
    waiting = [str(folder)] if folder.is_dir() else []
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    yield entry.path
