"""Which parts of a batch are finished, and who may work on which: content-addressed shards under `OUT/.shards`.

A shard's id is a hash over its files (path, state on disk, catalogue facts), the model, the code and the rules. A
finished shard is one Parquet file of that name, written by atomic rename; so a killed run, started again, finds
exactly what is done. A changed file makes a new shard, which takes over the rows of the files that are as they were;
another rule, code or model never replaces verdicts: it needs an output folder of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import OutputNotWritable, make_folder, remove_unfinished, write_json
from packshot.progress import say
from packshot.relocation import present
from packshot.revision import code_rev
from packshot.scoring.judging import Scorer
from packshot.scoring.listing import BatchFile
from packshot.scoring.verdicts import VERDICTS

FOLDER = ".shards"
ATTEMPTS = ".attempts"
RUNTIME_SETTINGS = (
    *("runtime", "precision", "max_srcc_loss", "max_mean_shift", "min_enhanced_psnr"),
    *("calibration_rows", "quantisation_pictures"),
)
"""They choose a runtime; the one that was chosen counts instead."""
SHARING = ("shard_size", "shards_per_task", "tasks_per_batch", "tasks_at_once", "engine", "ray_address")
"""How a batch is shared out, and to whom, changes no verdict."""
NO_LIMIT = ("decode_deadline_s", "max_unreadable_share", "max_bad_share", "min_class_share")
"""Of validation: how long a decoder is waited for, and what only a whole catalogue is asked."""
TUNING = ("thresholds", "costs")
"""They choose the bounds of the decision, which count instead."""
WORDS = ("source", "asks")
"""Of a rule's bound: where it comes from, which changes no verdict."""
NAMED_DIFFERENCES = 5


class OutputHolds(PackshotError):
    """The output folder holds verdicts that would be lost."""

    exit_code = 73


class OtherModel(OutputHolds):
    """The output folder holds verdicts of another model."""


class OutputBusy(PackshotError):
    """Another process writes into the output folder."""

    exit_code = 75


class ShardBusy(PackshotError):
    """Another process is at this shard."""

    exit_code = 75


@dataclass(frozen=True)
class KeptRow:
    """A verdict that still holds: a row, counted from 0, of a shard of an earlier plan."""

    shard: Path
    row: int


@dataclass(frozen=True)
class Shard:
    """A run of consecutive files of the batch, and where its rows go."""

    files: tuple[BatchFile, ...]
    target: Path
    taken: frozenset[str] = frozenset()
    """Names that its enhanced images may not take, since they are those of other files of the batch."""
    kept: Mapping[int, KeptRow] = field(default_factory=dict)
    """By the place of a file in `files`: its row, where it has one already."""

    @property
    def attempts(self) -> Path:
        """Where it stands which of its files are being decoded."""
        return self.target.with_suffix(ATTEMPTS)

    @property
    def finished(self) -> bool:
        """Whether its rows are on disk."""
        return self.target.is_file()

    @property
    def waiting(self) -> tuple[BatchFile, ...]:
        """The files that are still to be judged, unless it is finished."""
        return tuple(file for place, file in enumerate(self.files) if place not in self.kept)


def work_record(settings: Settings, scorer: Scorer) -> dict[str, Any]:
    """By name all that can change a verdict besides the file: model, what computes it, code, rules, limits."""
    rules = settings.model_dump(mode="json", include={"scoring", "validation"})
    scoring = rules["scoring"]
    for no_rule in (*SHARING, *TUNING, *RUNTIME_SETTINGS, "sources"):
        scoring.pop(no_rule)
    for no_limit in NO_LIMIT:
        rules["validation"].pop(no_limit)
    profile = scoring["profiles"][scoring["profile"]]
    for bound in profile.values():
        for word in WORDS:
            bound.pop(word)
    scoring["profiles"] = {scoring["profile"]: profile}
    scale = {"shop's scale": scorer.scale.id} if scorer.scale else {}
    return {
        "model": scorer.digest,
        "runtime": scorer.runtime,
        "code": code_rev("score"),
        **scale,
        **dict(_named("", rules)),
    }


def _named(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Settings by their names with dots."""
    if not isinstance(value, dict):
        yield prefix, value
        return
    for name, inner in value.items():
        yield from _named(f"{prefix}.{name}" if prefix else name, inner)


def work_id(settings: Settings, scorer: Scorer) -> str:
    """sha256 hex over `work_record`."""
    return hashlib.sha256(json.dumps(work_record(settings, scorer), sort_keys=True).encode()).hexdigest()


def shard_id(files: Sequence[BatchFile], taken: Collection[str], work: str) -> str:
    """32 hex digits over the files of a shard, the names that others have taken, and the work done on the files."""
    payload: list[Any] = [[file.path, file.stamp, sorted(file.facts.items())] for file in files]
    if taken:
        payload.append(sorted(taken))
    return hashlib.sha256(json.dumps([work, payload]).encode()).hexdigest()[:32]


def read_manifest(out: Path) -> dict[str, Any]:
    """What the output folder says of itself; empty where it is new or its manifest is damaged."""
    try:
        found = json.loads((out / FOLDER / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    if str(found.get("images")).startswith("/"):
        found["images"] = str(present(Path(found["images"])))
    return found


def write_manifest(out: Path, scorer: Scorer, **more: Any) -> None:
    """Say which model writes here, and what is finished. Call it as the sole writer."""
    record = {
        "model": scorer.lineage.label(),
        "model_digest": scorer.digest,
        "runtime": scorer.runtime,
        **more,
    }
    target = out / FOLDER / "manifest.json"
    remove_unfinished(target)
    write_json(target, record)


def check_same_model(out: Path, scorer: Scorer, named: str | None = None) -> None:
    """Raise OtherModel when verdicts of another model are kept in `out`, which the user calls `named`."""
    manifest, place = read_manifest(out), named or str(out)
    if manifest.get("model_digest", scorer.digest) != scorer.digest:
        raise OtherModel(
            f"{place} holds the work of {manifest.get('model', 'another model')}, not of {scorer.lineage.label()}; "
            "verdicts of two models do not mix: choose another output folder, for instance "
            f"--out {place}-{_suffix(scorer)}; what is in this one stays"
        )


def check_same_work(out: Path, work: Mapping[str, Any], named: str) -> None:
    """Raise OutputHolds when `out`, which the user calls `named`, holds verdicts of other rules or code, or has lost
    what says how they were made. Where there are none yet, it is only said that shards are begun again."""
    before, merged = read_manifest(out).get("work"), (out / VERDICTS).is_file()
    if not isinstance(before, dict):
        if merged:
            raise OutputHolds(_not_replaced(named, "and no record of what made them", work))
        return
    differing = differences(before, work)
    if not differing:
        return
    if merged:
        raise OutputHolds(_not_replaced(named, f"made otherwise ({differing})", work))
    say(f"{named} holds shards made otherwise ({differing}), of which no verdicts were made yet: begun again")


def _not_replaced(named: str, what: str, work: Mapping[str, Any]) -> str:
    name = hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:8]
    return (
        f"{named} holds verdicts {what}, and they are not replaced. Choose another output folder, for instance "
        f"--out {named.rstrip('/')}-{name}, or score as before; what is in this one stays"
    )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two records of work, in words; empty where nothing does."""
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    said = [f"{name}: {_short(before.get(name))}, now {_short(now.get(name))}" for name in names[:NAMED_DIFFERENCES]]
    more = len(names) - NAMED_DIFFERENCES
    return "; ".join([*said, *([f"{more} more"] if more > 0 else [])])


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return f"{text[:12]}…" if len(text) > 40 else text


def restart_manifest(out: Path, scorer: Scorer, plan: str, work: Mapping[str, Any], images: str) -> None:
    """Say that what `out` holds is not finished, unless it is finished for this plan, and where its images lie."""
    before = read_manifest(out)
    if before.get("plan") != plan:
        batch = {"batch_id": before["batch_id"]} if "batch_id" in before else {}
        write_manifest(out, scorer, images=images, work=dict(work), **batch)
    elif before.get("images") != images:
        write_json(out / FOLDER / "manifest.json", before | {"images": images})


def _suffix(scorer: Scorer) -> str:
    version = scorer.lineage.model_version
    return f"v{version}" if version else scorer.digest[:8]


@contextmanager
def claimed(shard: Shard) -> Iterator[None]:
    """Hold one shard for this process. Raises ShardBusy, OutputNotWritable."""
    lock = shard.target.with_suffix(".lock")
    with _locked(lock, fcntl.LOCK_EX, ShardBusy(f"another process is at shard {shard.target.stem}")):
        yield
        if shard.finished:
            lock.unlink(missing_ok=True)  # who got hold of the same file before finds the shard finished


@contextmanager
def one_of_writers(out: Path) -> Iterator[None]:
    """Hold the output folder together with others that score shards of it. Raises OutputBusy, OutputNotWritable."""
    busy = OutputBusy(f"another process is planning, merging or scoring all of {out}; wait for it")
    with _locked(out / FOLDER / "lock", fcntl.LOCK_SH, busy):
        yield


@contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """Hold the output folder for this process. Raises OutputBusy, or OutputNotWritable."""
    busy = OutputBusy(f"another process is writing into {out}; wait for it, or choose another folder")
    with _locked(out / FOLDER / "lock", fcntl.LOCK_EX, busy):
        yield


@contextmanager
def _locked(lock: Path, how: int, busy: PackshotError) -> Iterator[None]:
    # flock: the kernel gives it back when its process dies, and NFS from version 4 on knows it between machines
    try:
        make_folder(lock.parent)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OutputNotWritable(lock, error) from error
    try:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise busy from error
        yield
    finally:
        os.close(handle)
