"""Which parts of a batch are finished, and who may work on which: content-addressed shards under `OUT/.shards`.

A shard's id is a hash over its files (path, size, time of change, catalogue facts), the model, the code
and the rules. A finished shard is one Parquet file of that name, written by atomic rename; so a killed
run, started again, finds exactly what is done, and a changed file or rule makes a new shard.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import OutputNotWritable, make_folder, remove_unfinished, write_json
from packshot.relocation import present
from packshot.revision import code_rev
from packshot.scoring.listing import BatchFile
from packshot.scoring.scorer import Scorer

FOLDER = ".shards"
ATTEMPTS = ".attempts"
RUNTIME_SETTINGS = (
    *("runtime", "precision", "max_srcc_loss", "max_mean_shift", "min_enhanced_psnr"),
    *("calibration_rows", "quantisation_pictures"),
)
"""They choose a runtime; the one that was chosen counts instead."""
SHARING = ("shard_size", "shards_per_task", "tasks_per_batch", "tasks_at_once", "engine", "ray_address")
"""How a batch is shared out, and to whom, changes no verdict."""
TUNING = ("thresholds", "costs")
"""They choose the bounds of the decision, which count instead."""


class OtherModel(PackshotError):
    """The output folder holds verdicts of another model."""


class OutputBusy(PackshotError):
    """Another process writes into the output folder."""

    exit_code = 75


class ShardBusy(PackshotError):
    """Another process is at this shard."""

    exit_code = 75


@dataclass(frozen=True)
class Shard:
    """A run of consecutive files of the batch, and where its rows go."""

    files: tuple[BatchFile, ...]
    target: Path
    taken: frozenset[str] = frozenset()
    """Names that its enhanced images may not take, since they are those of other files of the batch."""

    @property
    def attempts(self) -> Path:
        """Where it stands which of its files are being decoded."""
        return self.target.with_suffix(ATTEMPTS)

    @property
    def finished(self) -> bool:
        """Whether its rows are on disk."""
        return self.target.is_file()


def work_id(settings: Settings, scorer: Scorer) -> str:
    """sha256 hex over all that can change a verdict besides the file: model, what computes it, code, rules, limits."""
    rules = settings.model_dump(mode="json", include={"scoring", "validation"})
    for no_rule in (*SHARING, *TUNING, *RUNTIME_SETTINGS):
        rules["scoring"].pop(no_rule)
    parts = [scorer.digest, scorer.runtime, code_rev(), rules]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def shard_id(files: Sequence[BatchFile], taken: Collection[str], work: str) -> str:
    """32 hex digits over the files of a shard, the names that others have taken, and the work done on the files."""
    payload: list[Any] = [[file.path, file.size, file.modified_ns, sorted(file.facts.items())] for file in files]
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


def check_same_model(out: Path, scorer: Scorer) -> None:
    """Raise OtherModel when verdicts of another model are kept in `out`."""
    manifest = read_manifest(out)
    if manifest.get("model_digest", scorer.digest) != scorer.digest:
        raise OtherModel(
            f"{out} holds the work of {manifest.get('model', 'another model')}, not of {scorer.lineage.label()}; "
            "verdicts of two models do not mix: choose another output folder, for instance "
            f"--out {out}-{_suffix(scorer)}; what is in this one stays"
        )


def restart_manifest(out: Path, scorer: Scorer, plan: str, **more: Any) -> None:
    """Say that what `out` holds is not finished, unless it is finished for this plan."""
    if read_manifest(out).get("plan") != plan:
        write_manifest(out, scorer, **more)


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
