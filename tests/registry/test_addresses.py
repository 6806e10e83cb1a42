"""Where MLflow's pages are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from packshot.config import load_settings
from packshot.home import Home
from packshot.registry.addresses import mlflow_pages, version_page


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home of its own, and no MLflow named."""
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "home").mkdir()
    return Home.from_environment()


def test_without_a_server_there_is_no_page() -> None:
    assert version_page(load_settings(), 3) is None


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "postgresql://ann:secret@db/mlflow", "file:///mlruns"])
def test_a_store_without_pages_has_none(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert version_page(load_settings(), 3) is None


def test_a_login_in_the_address_is_in_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:secret@mlflow.shop.example:5000/ \n")
    monkeypatch.setenv("PACKSHOT__REGISTRY__MODEL_NAME", "pack shot/1")
    page = version_page(load_settings(), 3)
    assert page == "https://mlflow.shop.example:5000/#/models/pack%20shot%2F1/versions/3"


def test_the_server_that_was_started_here_is_known(home: Home) -> None:
    home.services.write_text(json.dumps({"mlflow_url": "http://127.0.0.1:5001"}), encoding="utf-8")
    assert mlflow_pages(load_settings()) == "http://127.0.0.1:5001"


@pytest.mark.parametrize("content", ["", "[]", '{"mlflow_url": 7}', '{"mlflow_url": "javascript:alert(1)"}'])
def test_a_broken_record_of_services_is_no_address(home: Home, content: str) -> None:
    home.services.write_text(content, encoding="utf-8")
    assert mlflow_pages(load_settings()) is None
