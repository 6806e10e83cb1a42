"""A state folder of its own for every test, with a real MLflow on SQLite (its schema is made once and copied)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from packshot.config import Settings, load_settings
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
