"""What a result was made from: the data, the code and the parameters, each as one short hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.home import project_root

SPLIT_MANIFEST = Path("data/splits/manifest.parquet")


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


def code_rev() -> str:
    """16 hex digits over the sources of `packshot` and the lock file."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parent
    for source in sorted(package.rglob("*.py")):
        digest.update(source.relative_to(package).as_posix().encode())
        digest.update(source.read_bytes())
    lock = project_root() / "requirements.lock"
    if lock.exists():
        digest.update(lock.read_bytes())
    return digest.hexdigest()[:16]


def run_key(settings: Settings, workspace: Path) -> RunKey:
    """The key of a run on the data in `workspace` with the code and settings in force."""
    return RunKey(data_rev(workspace), code_rev(), settings.params_hash())
