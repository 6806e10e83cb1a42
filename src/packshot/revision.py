"""What a result was made from: the data, the code and the parameters, each as one short hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from packshot.closure import PACKAGE, code_digest
from packshot.errors import PackshotError
from packshot.home import project_root

if TYPE_CHECKING:
    from packshot.config import Settings

SPLIT_MANIFEST = Path("data/splits/manifest.parquet")
LOCK = "requirements.lock"
Part = Literal["collect", "validate", "split", "features", "train", "evaluate", "score", "all"]
_ENTRIES: dict[Part, tuple[str, ...]] = {
    "collect": ("catalog.collect",),
    "validate": ("catalog.validate",),
    "split": ("catalog.split",),
    "features": ("training.features",),
    "train": ("training.features", "training.run"),
    "evaluate": ("evaluation.run",),
    "score": ("scoring.rows", "scoring.merging", "scoring.runtime", "bundle"),
    "all": ("cli",),
}
"""Below the package, since a module that is named in full counts as needed by who names it."""


class DataRevisionMissing(PackshotError):
    """There is no split manifest to take the data revision from."""


@dataclass(frozen=True)
class RunKey:
    """Identity of a training run: the same key never needs training twice."""

    data_rev: str
    code_rev: str
    params_hash: str

    @property
    def short(self) -> str:
        """12 hex digits over the three parts; names folders."""
        joined = "\n".join((self.data_rev, self.code_rev, self.params_hash))
        return hashlib.sha256(joined.encode()).hexdigest()[:12]

    def tags(self) -> dict[str, str]:
        """The key as MLflow tags."""
        return {
            "packshot.data_rev": self.data_rev,
            "packshot.code_rev": self.code_rev,
            "packshot.params_hash": self.params_hash,
        }


def data_rev(workspace: Path) -> str:
    """The DVC content hash (md5, 32 hex digits) of the split manifest.

    That file names every image by the sha256 of its bytes, with labels, groups and split, so its
    hash stands for all the data. Raises DataRevisionMissing where no split was made yet.
    """
    manifest = workspace / SPLIT_MANIFEST
    if not manifest.exists():
        raise DataRevisionMissing(f"{manifest} does not exist; run `packshot collect`, `validate` and `split` first")
    return hashlib.md5(manifest.read_bytes(), usedforsecurity=False).hexdigest()


def entries(part: Part) -> tuple[str, ...]:
    """The modules where a part of the work begins; what it depends on is what they import.

    `train` stands for the making of a model, features included, and is the code of a run key. `score` is what turns
    files into verdicts; how its model is found is not part of it.
    """
    return tuple(f"{PACKAGE.name}.{name}" for name in _ENTRIES[part])


def code_rev(part: Part = "train") -> str:
    """16 hex digits over the code that a part of the work depends on, and the lock file.

    The same closure as the deps of the stage in dvc.yaml, so that DVC and a run key never disagree about code.
    """
    found = hashlib.sha256(code_digest(*entries(part)).encode())
    lock = lock_file()
    if lock is not None:
        found.update(lock.read_bytes())
    return found.hexdigest()[:16]


def lock_file() -> Path | None:
    """The lock file beside the sources that run, else that of the project; None where code was installed without."""
    places = (PACKAGE.parents[1] / LOCK, project_root() / LOCK)
    return next((place for place in places if place.is_file()), None)


def run_key(settings: Settings, workspace: Path) -> RunKey:
    """The key of a run on the data in `workspace` with the code and settings in force."""
    return RunKey(data_rev(workspace), code_rev(), settings.params_hash())
