"""What the last finished demo was made from, and whether that still holds."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packshot.config import Profile, Settings, dump_settings
from packshot.files import write_json
from packshot.home import Home, project_root
from packshot.revision import code_rev

STATE = "demo.json"
BESIDE_FLOORS = (
    "quality/srcc_folds/",
    "quality/srcc_subset_baseline/",
    "quality/plcc/",
    "style/accuracy_folds/",
    "style/accuracy_majority/",
    "style/macro_f1/",
    "enhance/psnr_gain",
    "enhance/psnr_gain_classic",
    "enhance/ssim_gain",
)


@dataclass(frozen=True)
class DemoState:
    """A finished demo: its inputs, its results, and the summary it printed."""

    stamp: str
    champion: int
    drill: int
    batches: tuple[str, ...]
    summary: dict[str, Any]

    def is_current(self, settings: Settings, home: Home) -> bool:
        """Whether the inputs are the same and every result is still there."""
        from packshot.registry.alias_check import alias_version

        reports = project_root() / "reports" / "latest"
        wanted = [reports / "index.html", reports / "metrics.json"]
        for batch in self.batches:
            folder = home.verdicts / batch / f"v{self.champion}"
            wanted += [folder / "verdicts.parquet", folder / "drift.json"]
        if self.stamp != stamp(settings) or not all(path.exists() for path in wanted):
            return False
        return alias_version(settings, "champion") == self.champion


def load_state(home: Home) -> DemoState | None:
    """The last finished demo of this home, None where there is none or its record is not readable."""
    try:
        raw = json.loads((home.root / STATE).read_text(encoding="utf-8"))
        return DemoState(**{**raw, "batches": tuple(raw["batches"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def save_state(home: Home, state: DemoState) -> None:
    """Remember a finished demo."""
    write_json(home.root / STATE, asdict(state))


def stamp(settings: Settings) -> str:
    """sha256 hex over the settings, the code, the wiring and the names, sizes and times of the source's files."""
    root = project_root()
    digest = hashlib.sha256()
    digest.update(dump_settings(settings).encode())
    digest.update(code_rev("all").encode())
    for name in ("MLFLOW_TRACKING_URI", "PACKSHOT_DVC_REMOTE"):
        digest.update(os.environ.get(name, "").encode() + b"\n")
    for path in [root / "dvc.yaml", root / "data" / "sources.yaml", *sorted((root / "dags").glob("*.py"))]:
        digest.update(path.read_bytes() if path.exists() else b"-")
    mirror = root / settings.source.mirror
    if settings.source.use in ("auto", "mirror") and mirror.is_dir():
        for line in _listing(mirror):
            digest.update(line)
    return digest.hexdigest()


def _listing(folder: Path) -> list[bytes]:
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            status = path.stat()
            found.append(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return sorted(found)


def figures(profile: Profile, metrics_file: Path) -> list[tuple[str, float, float | None]]:
    """(name, value, floor or None) of the figures that say most: those with floors, and their baselines.

    A figure that the floors name and the file lacks is an error of the step that wrote the file (KeyError).
    """
    metrics: dict[str, float] = json.loads(metrics_file.read_text(encoding="utf-8"))
    sets = (*profile.quality, *profile.style)
    names = list(profile.floors)
    for prefix in BESIDE_FLOORS:
        names += [prefix] if not prefix.endswith("/") else [f"{prefix}{name}" for name in sets]
    chosen = [name for name in dict.fromkeys(names) if name in metrics or name in profile.floors]
    return [(name, float(metrics[name]), profile.floors.get(name)) for name in chosen]
