"""Where state lives: everything under `PACKSHOT_HOME` (default `.packshot` in the project, or in the user's home)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
PARAMS = "params.yaml"


def project_root() -> Path:
    """The checkout that holds `params.yaml`, `dvc.yaml` and `dags/`.

    `PACKSHOT_PROJECT` names it where the code runs from a copy (a workspace). Where the code was installed without a
    checkout it is the working folder.
    """
    named = os.environ.get("PACKSHOT_PROJECT")
    if named:
        return Path(named).resolve()
    return PROJECT_ROOT if (PROJECT_ROOT / PARAMS).is_file() else Path.cwd()


PRIVATE_UMASK = 0o077
UMASK_VARIABLE = "PACKSHOT_UMASK"
"""What the user's umask was, in octal, before a process of ours set PRIVATE_UMASK; its children inherit both."""


def keep_private() -> None:
    """From now on this process and its children make files that only their owner can read.

    State holds secrets, pictures and lineage. What is written for others, outside PACKSHOT_HOME, gets the user's own
    umask back: `permissions`.
    """
    before = os.umask(PRIVATE_UMASK)
    os.environ.setdefault(UMASK_VARIABLE, f"{before:03o}")


def permissions(path: Path, full: int) -> int:
    """The mode of a new file (`full`: 0o666) or folder (0o777) there: private in PACKSHOT_HOME, else by the umask."""
    if path.absolute().is_relative_to(Home.from_environment().root):
        return full & ~PRIVATE_UMASK
    return full & ~int(os.environ.get(UMASK_VARIABLE, "022"), 8)


@dataclass(frozen=True)
class Home:
    """The layout of the state folder. Attributes are absolute paths; nothing is created by reading them."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        """`PACKSHOT_HOME`, else `.packshot` in the project, else, where there is none, in the user's home."""
        named = os.environ.get("PACKSHOT_HOME")
        if named:
            return cls(Path(named).resolve())
        root = project_root()
        return cls((root if (root / PARAMS).is_file() else Path.home()) / ".packshot")

    @property
    def airflow(self) -> Path:
        """Airflow's home: its database, logs and generated configuration."""
        return self.root / "airflow"

    @property
    def passwords(self) -> Path:
        """Who may log in to the pages of `make up`, as JSON: user to password."""
        return self.airflow / "passwords.json"

    @property
    def services(self) -> Path:
        """What runs since `make up`: process ids and addresses."""
        return self.root / "services.json"

    @property
    def mlflow_db(self) -> Path:
        """The SQLite tracking store and registry."""
        return self.root / "mlflow" / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """Artefacts of runs and models."""
        return self.root / "mlflow" / "artifacts"

    @property
    def ledger_db(self) -> Path:
        """Packshot's own append-only ledger."""
        return self.root / "ledger.db"

    @property
    def dvc_remote(self) -> Path:
        """The default DVC remote: a folder."""
        return self.root / "dvc" / "remote"

    @property
    def dvc_cache(self) -> Path:
        """The DVC cache that all workspaces share."""
        return self.root / "dvc" / "cache"

    @property
    def workspaces(self) -> Path:
        """One git + DVC working copy a pipeline run."""
        return self.root / "workspaces"

    @property
    def features(self) -> Path:
        """Content-addressed cache of what the frozen backbone computes."""
        return self.root / "cache" / "features"

    @property
    def runtime(self) -> Path:
        """Calibrations of bundles, with their OpenVINO graphs."""
        return self.root / "runtime"

    def runtime_of(self, bundle_sha256: str) -> Path:
        """Calibrations of one bundle, a folder for each kind of machine and version."""
        return self.runtime / bundle_sha256[:32]

    @property
    def models(self) -> Path:
        """Files of registered versions, compared with the ledger: a folder for each digest."""
        return self.root / "models"

    @property
    def drills(self) -> Path:
        """What rehearsals leave to look at."""
        return self.root / "drills"

    @property
    def spool(self) -> Path:
        """What passes between an object store and scoring, a folder for each batch at work."""
        return self.root / "spool"

    @property
    def bundles(self) -> Path:
        """Model bundles that a Ray cluster brought to this machine, a folder for each digest."""
        return self.root / "cache" / "bundles"

    @property
    def checkpoints(self) -> Path:
        """Training checkpoints, a folder for each run key."""
        return self.root / "checkpoints"

    @property
    def downloads(self) -> Path:
        """Fetched source material (git clones, Debian packages)."""
        return self.root / "downloads"

    @property
    def inbox(self) -> Path:
        """New catalogue images wait here, a folder for each batch."""
        return self.root / "inbox"

    @property
    def verdicts(self) -> Path:
        """Scored batches: `<batch_id>/<model_version>/verdicts.parquet` and `enhanced/`."""
        return self.root / "verdicts"

    def verdicts_by(self, batch: str, version: int) -> Path:
        """Where the verdicts of one batch by one model version live."""
        return self.verdicts / batch / f"v{version}"

    @property
    def shadow(self) -> Path:
        """What versions in shadow said (`batches/`) and how it compares: apart from the verdicts that count."""
        return self.root / "shadow"

    def shadow_by(self, batch: str, version: int) -> Path:
        """What one version said of one batch in shadow."""
        return self.shadow / "batches" / batch / f"v{version}"

    @property
    def known_pictures(self) -> Path:
        """The index of all pictures that were scored: copies of them are found in it."""
        return self.root / "known_pictures.db"

    @property
    def drift(self) -> Path:
        """Drift reports and the history of checked windows."""
        return self.root / "drift"

    @property
    def labels(self) -> Path:
        """Labels that came after scoring, their pictures, and the queue of pictures to label."""
        return self.root / "labels"

    @property
    def scales(self) -> Path:
        """Shops' own scales, a file for each digest; which is in force the ledger says."""
        return self.root / "scales"

    @property
    def similar(self) -> Path:
        """Indexes of style vectors, a folder for each model."""
        return self.root / "similar"

    @property
    def logs(self) -> Path:
        """Logs of the services that `make up` and `make demo` start."""
        return self.root / "logs"
