"""A state folder of its own for every test, with a real MLflow on SQLite (its schema is made once and copied)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from skilled_models import Shop, evidence, scored

from packshot.catalog.manifest import COLUMNS, write_manifest
from packshot.config import Gate, Profile, Settings, load_settings
from packshot.files import write_json
from packshot.home import Home
from packshot.registry.ledger import Ledger


@pytest.fixture(scope="session")
def settings() -> Settings:
    return load_settings(Path(__file__).resolve().parents[2] / "params.yaml")


@pytest.fixture(scope="session")
def empty_store(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from packshot.registry.tracking import client

    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client(settings).search_experiments()
    return root / "mlflow"


@pytest.fixture
def home(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    root = tmp_path / "home"
    monkeypatch.setenv("PACKSHOT_HOME", str(root))
    monkeypatch.setenv("PACKSHOT_ACTOR", "tester")
    for name in ("MLFLOW_TRACKING_URI", "PACKSHOT_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(empty_store, root / "mlflow")
    return Home.from_environment()


@pytest.fixture
def ledger(home: Home) -> Ledger:
    return Ledger.from_environment()


@pytest.fixture
def shop(settings: Settings, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    profile = Profile(
        sets=("shop",),
        quality=("shop",),
        style=("shop",),
        catalogue=("shop",),
        pristine=("shop",),
        held_back={},
        floors={"quality/srcc/shop": 0.6},
        ceilings={},
    )
    gates = (
        Gate(metric="quality/srcc/{quality}", kind="floor"),
        Gate(metric="quality/srcc/{quality}", kind="non_inferiority", margin=0.02, min_groups=20),
        Gate(metric="style/accuracy/{style}", kind="non_inferiority", margin=0.05, min_groups=20),
        Gate(metric="serving/latency_ms", kind="ceiling", value=2000),
    )
    registry = settings.registry.model_copy(update={"gates": gates})
    own = settings.model_copy(update={"profiles": {"own": profile}, "registry": registry})
    workspace = tmp_path / "workspace"
    rows = evidence(0, 0.9).per_image
    manifest = pd.DataFrame({name: rows.get(name) for name in COLUMNS}, index=rows.index)
    write_manifest(workspace / "data/splits/manifest.parquet", manifest.assign(split="test"))
    source = {"profile": "own", "chosen": "own", "why": "test", "fingerprint": "0", "collected_at": "2026-01-01"}
    source["sets"] = {"shop": {"rows": len(rows), "held_back": 0, "address": "here", "licence": "CC0", "styles": []}}
    write_json(workspace / "data/raw/source.json", source)

    monkeypatch.setattr("packshot.registry.promote.score_heldout_once", scored)
    monkeypatch.setattr("packshot.registry.promote.measure", lambda *_: {"serving/latency_ms": 100.0})
    return Shop(own, workspace)
