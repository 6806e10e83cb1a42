"""Which parts of a batch are finished: content-addressed shards under `OUT/.shards`.

A shard's id is a hash over its files (path, size, time of change, catalogue facts), the model, the code
and the rules. A finished shard is one Parquet file of that name, written by atomic rename; so a killed
run, started again, finds exactly what is done, and a changed file or rule makes a new shard.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import OutputNotWritable, write_json
from packshot.revision import code_rev
from packshot.scoring.listing import BatchFile
from packshot.scoring.scorer import Scorer

FOLDER = ".shards"


class OtherModel(PackshotError):
    """The output folder holds verdicts of another model."""


class OutputBusy(PackshotError):
    """Another process writes into the output folder."""

    exit_code = 75


@dataclass(frozen=True)
class Shard:
    """A run of consecutive files of the batch, and where its rows go."""

    files: tuple[BatchFile, ...]
    target: Path

    @property
    def finished(self) -> bool:
        """Whether its rows are on disk."""
        return self.target.is_file()


def plan_shards(files: Sequence[BatchFile], out: Path, settings: Settings, scorer: Scorer) -> list[Shard]:
    """Cut the batch into shards of `scoring.shard_size` files, each with its content-addressed target."""
    work = work_id(settings, scorer)
    size = settings.scoring.shard_size
    parts = [tuple(files[start : start + size]) for start in range(0, len(files), size)]
    return [Shard(part, out / FOLDER / f"{_shard_id(part, work)}.parquet") for part in parts]


def work_id(settings: Settings, scorer: Scorer) -> str:
    """sha256 hex over all that can change a verdict besides the file: model, code, rules, limits."""
    rules = settings.model_dump(mode="json", include={"scoring", "validation"})
    rules["scoring"].pop("shard_size")
    parts = [scorer.digest, code_rev(), rules]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _shard_id(files: Sequence[BatchFile], work: str) -> str:
    payload = [[file.path, file.size, file.modified_ns, sorted(file.facts.items())] for file in files]
    return hashlib.sha256(json.dumps([work, payload]).encode()).hexdigest()[:32]


def read_manifest(out: Path) -> dict[str, Any]:
    """What the output folder says of itself; empty where it is new or its manifest is damaged."""
    try:
        found = json.loads((out / FOLDER / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_manifest(out: Path, scorer: Scorer, **more: Any) -> None:
    """Say which model writes here, and what is finished."""
    record = {"model": scorer.lineage.label(), "model_digest": scorer.digest, **more}
    write_json(out / FOLDER / "manifest.json", record)


def check_same_model(out: Path, scorer: Scorer) -> None:
    """Raise OtherModel when verdicts of another model are kept in `out`."""
    manifest = read_manifest(out)
    if manifest.get("model_digest", scorer.digest) != scorer.digest:
        raise OtherModel(
            f"{out} holds the work of {manifest.get('model', 'another model')}, not of {scorer.lineage.label()}; "
            "verdicts of two models do not mix: choose another output folder"
        )


@contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """Hold the output folder for this process. Raises OutputBusy, or OutputNotWritable."""
    lock = out / FOLDER / "lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OutputNotWritable(out, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise OutputBusy(f"another process is writing into {out}; wait for it, or choose another folder") from error
    finally:
        os.close(handle)
