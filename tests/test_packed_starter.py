"""The model that comes with the package: packed, unpacked once, and judging where no champion was promoted."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from small_network import save_small_bundle, small_architecture
from small_workspace import picture

import packshot.starter as starter
from packshot.bundle import Judge, Judgement
from packshot.config import Settings, load_settings
from packshot.registry import models
from packshot.registry.models import STARTER, bundle_path, judging_bundle
from packshot.starter import CARD, HALVED, StarterDamaged, card_of, pack, starter_bundle

IMAGES = [picture(number, number % 2, 0.4) for number in range(6)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # wide enough that its trunks are kept in half precision
    return save_small_bundle(tmp_path_factory.mktemp("bundle"), small_architecture(trunk_dim=64, landmarks=40))


@pytest.fixture
def archive(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    made = tmp_path / "starter.zip"
    pack(bundle, "# A card\n", made)
    return made


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def judged(folder: Path) -> list[Judgement]:
    return Judge.load(folder, "cpu", 1).judge(IMAGES)


def test_a_packed_model_says_what_the_bundle_says(bundle: Path, archive: Path) -> None:
    unpacked = starter_bundle(archive)
    assert (unpacked / HALVED).stat().st_size < 0.75 * (bundle / HALVED).stat().st_size
    for one, other in zip(judged(bundle), judged(unpacked), strict=True):
        for name in ("quality", "quality_low", "quality_high", "sharpness", "colour_balance", "detail"):
            assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-3)
    assert card_of(archive) == "# A card\n" and not (unpacked / CARD).exists()


def test_the_same_bundle_gives_the_same_bytes(bundle: Path, archive: Path, tmp_path: Path) -> None:
    pack(bundle, "# A card\n", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_it_is_unpacked_once_and_again_where_a_file_was_changed(archive: Path) -> None:
    folder = starter_bundle(archive)
    made = (folder / HALVED).stat().st_mtime_ns
    assert starter_bundle(archive) == folder and (folder / HALVED).stat().st_mtime_ns == made
    content = (folder / HALVED).read_bytes()
    (folder / HALVED).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert (starter_bundle(archive) / HALVED).read_bytes() == content
    (folder / "folds.parquet").write_bytes(b"not of the package")
    assert not (starter_bundle(archive) / "folds.parquet").exists()


def test_a_home_that_cannot_be_written_needs_no_room_there(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", "/proc/nowhere")
    folder = starter_bundle(archive)
    assert not str(folder).startswith("/proc") and len(judged(folder)) == len(IMAGES)
    assert starter_bundle(archive) == folder


def test_a_damaged_archive_is_named(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as source:
        place = source.getinfo(HALVED).header_offset + 5000
    content = bytearray(archive.read_bytes())
    content[place] ^= 255
    for name, damaged in {"bits": bytes(content), "short": bytes(content[:-900]), "empty": b""}.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(StarterDamaged, match=f"{name}.*install the package again"):
            starter_bundle(tmp_path / name)
        assert not list((tmp_path / "home" / "models").glob("starter-*"))
    with pytest.raises(StarterDamaged, match="no starter model"):
        starter_bundle(tmp_path / "missing.zip")


def test_it_judges_where_no_champion_was_promoted(
    archive: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "starter_bundle", lambda: starter_bundle(archive))
    monkeypatch.setattr(models, "ARCHIVE", archive)
    folder, lineage = judging_bundle(settings, "champion")
    assert (folder, lineage.model_name, lineage.model_version) == (starter_bundle(archive), STARTER, None)
    assert capsys.readouterr().err.count("no champion was promoted yet") == 1
    with pytest.raises(models.NoSuchModel, match="no champion yet"):
        bundle_path(settings, "champion")
    assert bundle_path(settings, STARTER)[0] == folder
    assert not capsys.readouterr().err


def test_the_package_brings_one(tmp_path: Path) -> None:
    script = (
        "import numpy as np, packshot\n"
        "judge = packshot.load()\n"
        "verdict = judge(np.full((300, 200, 3), 90, np.uint8))\n"
        "print(judge.model, verdict.model_name, verdict.decision)\n"
    )
    environment = {**os.environ, "PACKSHOT_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[:3] == ["starter", "bundle", "starter"]
    assert starter.ARCHIVE.stat().st_size <= 25 * 2**20
    card = card_of()
    assert "CC0-1.0" in card and "SRCC" in card and "https://" in card
