"""A service that runs, with a small real model, and a key of every role."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from running_service import Running, run, with_rules
from small_network import save_small_bundle, small_architecture
from small_workspace import picture

from packshot.config import load_settings
from packshot.service.access import ROLES
from packshot.service.keys import Keys


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_bundle(tmp_path_factory.mktemp("served"), small_architecture())


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        Image.fromarray(picture(number, number % 2, 0.15 * number)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service-home")


@pytest.fixture(autouse=True)
def own_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(home))


@pytest.fixture(scope="session")
def served(bundle: Path, home: Path) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(home))
        keys = Keys()
        secrets = {role: keys.add(role, role, None) for role in ROLES}
        settings = with_rules(
            load_settings(), max_request_mb=2, pictures_per_request=4, read_timeout_s=2, rate_per_s=500
        )
        for running in run(with_rules(settings, burst=500), str(bundle), keys):
            running.secrets = secrets
            running.service.addresses.rate = running.service.addresses.burst = 10_000
            yield running
