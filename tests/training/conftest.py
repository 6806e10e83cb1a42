from pathlib import Path

import pytest
import torch
from small_workspace import make_settings, make_workspace

from packshot.config import Settings


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def settings() -> Settings:
    return make_settings()


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    return make_workspace(tmp_path / "workspace")
