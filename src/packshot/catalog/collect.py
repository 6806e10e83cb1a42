"""Collect: bring the labelled images of a source into the workspace, byte for byte, and hold a part back.

Writes `data/raw` (images, manifest, `source.json`) and `data/heldback` (images that come later as new batches).
Both appear at once when everything is there; an unchanged source is recognised and nothing is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from packshot.catalog.labels import LabelStore
from packshot.catalog.manifest import COLUMNS as MANIFEST_COLUMNS
from packshot.catalog.manifest import INBOX, KEY, MADE_BY_SPLIT, conform
from packshot.catalog.source_record import HELD_BACK, RAW, SOURCE, SetRecord, SourceError, SourceRecord, read_source
from packshot.catalog.sources.choice import Choice, choose, read
from packshot.catalog.sources.labelled import with_labelled
from packshot.catalog.sources.own import read_own
from packshot.catalog.sources.table import LABELS, SetFacts, SourceTable
from packshot.config import HeldBack, Profile, Settings
from packshot.files import OutputNotWritable, write_json, write_parquet, write_text
from packshot.home import Home
from packshot.progress import say, track

MANIFEST = RAW / "manifest.parquet"
IMAGES = RAW / "images"
HELD_BACK_COLUMNS = ("path", "sku", "title", "sender", "category")
LARGEST_SHARE_HELD_BACK = 1 / 3
CHUNK = 1 << 20


class NothingCollected(SourceError):
    """The source has no image at all."""

    exit_code = 65


@dataclass(frozen=True)
class CollectReport:
    """What `collect` did."""

    record: SourceRecord
    changed: bool
    """False: the source is what it was, and nothing was written."""
    rows: int
    missing: int
    """Rows whose file is missing or may not be copied; validation quarantines them."""
    held_back: Mapping[str, int]

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "profile": self.record.profile,
            "source": self.record.chosen,
            "why": self.record.why,
            "changed": self.changed,
            "rows": self.rows,
            "missing": self.missing,
            "held_back": dict(self.held_back),
        }


def collect(settings: Settings, workspace: Path, *, catalog: Path | None = None, force: bool = False) -> CollectReport:
    """Collect the source that `settings.source` chooses, or the user's own `catalog` (CSV or Parquet).

    With `catalog`, further sets that `profiles.own.sets` names are taken from the source, to borrow their labels.
    Pictures that got labels after scoring come beside it, as the set `inbox`, `drift.min_new_labels` at a time.

    `force` collects again where the source is unchanged. Raises SourceError (or a subclass: an unreachable source, a
    catalogue file with wrong columns), NothingCollected for an empty one, OutputNotWritable for a full or
    read-only disk.
    """
    choice, table = _read(settings, workspace, catalog)
    store = LabelStore(Home.from_environment().labels)
    table = with_labelled(table, store, _labelled_before(workspace), settings.drift.min_new_labels)
    if table.images.empty:
        raise NothingCollected(f"{choice.chosen} has no images; there is nothing to judge or to train on")
    profile = settings.profiles[choice.profile]  # type: ignore[index]
    fingerprint = _fingerprint(choice, profile, table, settings.source.seed)
    before = _record_before(workspace)
    if before and before.fingerprint == fingerprint and not force and _is_whole(workspace):
        say(f"collect: {choice.chosen} is unchanged; nothing to do")
        return _report(workspace, before, changed=False)
    held: dict[str, list[int]] = {
        batch: _held_back_rows(table.images, rule, settings.source.seed) for batch, rule in profile.held_back.items()
    }
    record = SourceRecord(
        profile=choice.profile,
        chosen=choice.chosen,
        why=choice.why,
        fingerprint=fingerprint,
        collected_at=before.collected_at if before and before.fingerprint == fingerprint else _now(),
        sets=_set_records(table, held),
    )
    with _outputs(workspace) as (raw, heldback):
        _write_raw(raw, table.images.drop(index=[row for rows in held.values() for row in rows]))
        for batch, rows in held.items():
            _write_held_back(heldback / batch, table.images.loc[rows])
        write_json(raw / SOURCE.name, dataclasses.asdict(record))
    report = _report(workspace, record, changed=True)
    _say_what_came(report)
    return report


def _read(settings: Settings, workspace: Path, catalog: Path | None) -> tuple[Choice, SourceTable]:
    if catalog is not None:
        return _read_own(settings, workspace, catalog)
    choice = choose(settings, workspace)
    say(f"source: {choice.chosen} ({choice.why})")
    return choice, read(choice, settings)


def _read_own(settings: Settings, workspace: Path, catalog: Path) -> tuple[Choice, SourceTable]:
    """The own catalogue, and, to borrow labels from, what other sets its profile names."""
    own = read_own(catalog, settings.catalog, workspace)
    named = f"own catalogue {catalog.name}"
    borrowed = [name for name in settings.profiles["own"].sets if name != "own"]
    if not borrowed:
        return Choice("own", named, f"named by the user: {catalog.name}", {}), own
    base = choose(settings, workspace)
    missing = [name for name in borrowed if name not in base.sets]
    if missing:
        raise SourceError(
            f"profiles.own.sets names {', '.join(missing)}, which {base.chosen} does not have; "
            f"it has {', '.join(base.sets)}"
        )
    base = dataclasses.replace(base, sets={name: base.sets[name] for name in borrowed})
    say(f"source of {', '.join(borrowed)}: {base.chosen} ({base.why})")
    others = read(base, settings)
    table = SourceTable(pd.concat([own.images, others.images], ignore_index=True), {**own.facts, **others.facts})
    told = f"{named} with {', '.join(borrowed)} of {base.chosen}"
    return Choice("own", told, f"named by the user: {catalog.name}; {base.why}", base.sets), table


def _fingerprint(choice: Choice, profile: Profile, table: SourceTable, seed: int) -> str:
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        digest.update(json.dumps(value, sort_keys=True, default=str).encode())
        digest.update(b"\n")

    add([choice.profile, seed, profile.model_dump(mode="json")])
    add({name: declared.model_dump(mode="json") for name, declared in choice.sets.items()})
    add({name: dataclasses.asdict(facts) for name, facts in table.facts.items()})
    for row in table.images.to_dict("records"):
        add([row["source"], row["path"], _content(row["origin"]), *(row[label] for label in LABELS)])
    return digest.hexdigest()


def _content(origin: str | None) -> str | None:
    """sha256 hex of a file's bytes: size and time stay the same when a picture is replaced by a careful copy."""
    if origin is None:
        return None
    try:
        with open(origin, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _labelled_before(workspace: Path) -> set[str]:
    """Content of the pictures that got labels after scoring and are in the catalogue."""
    if not (workspace / MANIFEST).exists():
        return set()
    frame = pd.read_parquet(workspace / MANIFEST, columns=["source", "image_id"])
    return set(frame.loc[frame["source"] == INBOX, "image_id"].dropna())


def _record_before(workspace: Path) -> SourceRecord | None:
    try:
        return read_source(workspace)
    except SourceError:
        return None


def _is_whole(workspace: Path) -> bool:
    """Whether every file that the last run wrote is still there."""
    manifest = workspace / MANIFEST
    if not manifest.exists() or not (workspace / HELD_BACK).is_dir():
        return False
    frame = pd.read_parquet(manifest, columns=["path", "image_id"])
    present = frame.loc[frame["image_id"].notna(), "path"]
    return all((workspace / IMAGES / path).is_file() for path in present)


def _held_back_rows(images: pd.DataFrame, rule: HeldBack, seed: int) -> list[int]:
    """Index of the rows to hold back: whole groups in an order drawn by seed, until there are enough.

    Never more than a third of the set, so that a small set still has something to train on.
    """
    members = images[(images["source"] == rule.set) & images["origin"].notna()]
    enough = min(rule.count, int(len(members) * LARGEST_SHARE_HELD_BACK))
    groups = members.groupby(members["sender"].fillna(members["sku"]).fillna(members["path"]), sort=True).groups
    small = [group for group, rows in groups.items() if len(rows) <= rule.largest_group]
    chosen: list[int] = []
    for group in sorted(small, key=lambda name: _draw(seed, rule.set, str(name))):
        if len(chosen) >= enough:
            break
        chosen.extend(groups[group])
    return sorted(chosen)


def _draw(seed: int, name: str, group: str) -> str:
    return hashlib.sha256(f"{seed}\n{name}\n{group}".encode()).hexdigest()


def _set_records(table: SourceTable, held: Mapping[str, list[int]]) -> dict[str, SetRecord]:
    away = [row for rows in held.values() for row in rows]
    rows = table.images["source"].value_counts()
    held_back = table.images.loc[away, "source"].value_counts()
    return {
        name: SetRecord(
            rows=int(rows.get(name, 0)) - int(held_back.get(name, 0)),
            held_back=int(held_back.get(name, 0)),
            **_facts(facts),
        )
        for name, facts in table.facts.items()
    }


def _facts(facts: SetFacts) -> dict[str, Any]:
    return {field.name: getattr(facts, field.name) for field in dataclasses.fields(facts)}


@contextmanager
def _outputs(workspace: Path) -> Iterator[tuple[Path, Path]]:
    """Fresh folders for `data/raw` and `data/heldback` that take their places when the block ends well.

    `data/raw`, which holds the fingerprint, comes last: a run killed in between is done again, never taken
    for finished.
    """
    data = workspace / RAW.parent
    building: Path | None = None
    try:
        data.mkdir(parents=True, exist_ok=True)
        for leftover in data.glob(".collect-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        building = Path(tempfile.mkdtemp(prefix=".collect-", dir=data))
        raw, heldback = building / "raw", building / "heldback"
        (raw / "images").mkdir(parents=True)
        heldback.mkdir()
        yield raw, heldback
        for fresh, place in ((heldback, workspace / HELD_BACK), (raw, workspace / RAW)):
            if place.exists():
                place.rename(building / f"old-{fresh.name}")
            fresh.rename(place)
    except OSError as error:
        raise OutputNotWritable(data, error) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)


def _write_raw(raw: Path, images: pd.DataFrame) -> None:
    copied = [
        _copy(row["origin"], raw / "images" / row["path"])
        for row in track(images.to_dict("records"), "collect", total=len(images))
    ]
    frame = images.assign(
        image_id=pd.array([digest for digest, _ in copied], dtype="object"),
        bytes=pd.array([size for _, size in copied], dtype="Int64"),
        **{name: None for name in ("width", "height", "format")},
    )
    # Doubled rows stay: it is validation that says so, row by row.
    ordered = conform(
        frame[[name for name in MANIFEST_COLUMNS if name in frame]], where="collect", optional=MADE_BY_SPLIT
    )
    write_parquet(raw / MANIFEST.name, ordered.sort_values(list(KEY), kind="stable").reset_index(drop=True))


def _copy(origin: str | None, target: Path) -> tuple[str | None, int | None]:
    """Copy the bytes as they are; their sha256 and number, or nothing where the file cannot be read."""
    if origin is None or not os.access(origin, os.R_OK):
        return None, None
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(origin, "rb") as source, open(target, "wb") as copy:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            copy.write(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _write_held_back(folder: Path, images: pd.DataFrame) -> None:
    """The images of one batch as a shop would send them: files and a catalogue, no labels."""
    folder.mkdir()
    rows = images.assign(
        path=[path.removeprefix(f"{name}/") for name, path in zip(images["source"], images["path"], strict=True)]
    )
    for row in rows.to_dict("records"):
        _copy(row["origin"], folder / row["path"])
    catalogue = rows[list(HELD_BACK_COLUMNS)].sort_values("path")
    write_text(folder / "catalog.csv", catalogue.to_csv(index=False, lineterminator="\n"))


def _report(workspace: Path, record: SourceRecord, *, changed: bool) -> CollectReport:
    known = pd.read_parquet(workspace / MANIFEST, columns=["image_id"])["image_id"]
    held_back = {
        folder.name: len(pd.read_csv(folder / "catalog.csv"))
        for folder in sorted((workspace / HELD_BACK).iterdir())
        if (folder / "catalog.csv").exists()
    }
    return CollectReport(record, changed, len(known), int(known.isna().sum()), held_back)


def _say_what_came(report: CollectReport) -> None:
    sets = ", ".join(f"{name} {entry.rows}" for name, entry in report.record.sets.items())
    held = ", ".join(f"{count} {batch}" for batch, count in report.held_back.items()) or "none"
    say(f"collect: {report.rows} rows ({sets}); held back for later batches: {held}")
    if report.missing:
        say(f"collect: {report.missing} rows have no file that may be read; validation will quarantine them")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
