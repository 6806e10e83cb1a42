"""Collecting from a mirror: what lands in the workspace, what is held back, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from tiny_mirror import GIANT_SENDER, make_mirror

from packshot.catalog import collect as collecting
from packshot.catalog.collect import NothingCollected, collect
from packshot.catalog.manifest import read_manifest
from packshot.catalog.source_record import SourceError, read_source
from packshot.catalog.sources import choice
from packshot.config import Settings, load_settings
from packshot.files import OutputNotWritable

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PACKSHOT_SOURCE", "PACKSHOT_MIRROR", "PACKSHOT_SOURCES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PACKSHOT_PROJECT", str(PROJECT))
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    return tmp_path / "workspace"


def settings_for(mirror: Path | str, use: str = "mirror", largest_group: int = 40) -> Settings:
    settings = load_settings(PROJECT / "params.yaml")
    profile = settings.profiles["mirror"]
    rules = {
        batch: rule.model_copy(update={"largest_group": largest_group}) for batch, rule in profile.held_back.items()
    }
    profiles = {**settings.profiles, "mirror": profile.model_copy(update={"held_back": rules})}
    source = settings.source.model_copy(update={"use": use, "mirror": str(mirror)})
    return settings.model_copy(update={"source": source, "profiles": profiles})


def held_back(workspace: Path, batch: str) -> pd.DataFrame:
    return pd.read_csv(workspace / "data" / "heldback" / batch / "catalog.csv", dtype=str)


def test_every_image_is_copied_byte_for_byte_and_keeps_its_labels(workspace: Path, tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    collect(settings_for(mirror), workspace)
    manifest = read_manifest(workspace / "data/raw/manifest.parquet").set_index("path")
    for path, row in manifest.iterrows():
        copied = (workspace / "data/raw/images" / str(path)).read_bytes()
        name, file = str(path).split("/")
        assert copied == (mirror / name / "images" / file).read_bytes()
        assert row["image_id"] == hashlib.sha256(copied).hexdigest() and row["bytes"] == len(copied)
    apple = manifest.loc["grocery/Red-Apple-0_Iconic.jpg"]
    assert (apple["title"], apple["category"], apple["description"]) == ("Red Apple 0", "Oat-Milk", "Crisp, number 0.")
    clothing = manifest[manifest["source"] == "clothing"]
    assert clothing["sender"].notna().all() and set(clothing["tags"].dropna()) == {"kids"}
    scored = manifest[manifest["source"] == "biq2021"]
    labels = pd.read_csv(mirror / "biq2021/labels.csv").set_index("file")["mos"]
    assert all(labels[str(path).split("/")[1]] == score for path, score in scored["quality_mos"].items())


def test_held_back_groups_are_whole_and_never_in_the_manifest(workspace: Path, tmp_path: Path) -> None:
    report = collect(settings_for(make_mirror(tmp_path / "mirror"), largest_group=9), workspace)
    manifest = read_manifest(workspace / "data/raw/manifest.parquet")
    same, foreign = held_back(workspace, "same"), held_back(workspace, "foreign")
    assert list(same.columns) == ["path", "sku", "title", "sender", "category"]
    assert report.held_back == {"same": len(same), "foreign": len(foreign)} and len(same) and len(foreign)
    assert len(manifest) + len(same) + len(foreign) == 24 + 15 + 22 + 4
    assert not set(same["sender"]) & set(manifest["sender"].dropna())
    assert GIANT_SENDER not in set(same["sender"])
    for batch, catalogue in (("same", same), ("foreign", foreign)):
        folder = workspace / "data/heldback" / batch
        assert {file.name for file in folder.iterdir()} == {*catalogue["path"], "catalog.csv"}
        digests = {hashlib.sha256((folder / path).read_bytes()).hexdigest() for path in catalogue["path"]}
        assert not digests & set(manifest["image_id"])


def test_an_unchanged_source_is_left_alone_and_a_changed_label_is_not(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    settings = settings_for(mirror)
    assert collect(settings, workspace).changed
    before = {file: file.stat().st_mtime_ns for file in (workspace / "data").rglob("*")}
    assert not collect(settings, workspace).changed
    assert "unchanged" in capsys.readouterr().err
    assert before == {file: file.stat().st_mtime_ns for file in (workspace / "data").rglob("*")}
    forced = collect(settings, workspace, force=True)
    assert forced.changed
    labels = mirror / "furniture/labels.csv"
    labels.write_text(labels.read_text().replace("f00.jpg,arts_and_crafts", "f00.jpg,rustic"))
    assert collect(settings, workspace).changed
    manifest = read_manifest(workspace / "data/raw/manifest.parquet").set_index("path")
    assert manifest.loc["furniture/f00.jpg", "style"] == "rustic"


def test_an_image_lost_from_the_workspace_is_brought_back(workspace: Path, tmp_path: Path) -> None:
    settings = settings_for(make_mirror(tmp_path / "mirror"))
    collect(settings, workspace)
    lost = workspace / "data/raw/images/furniture/f00.jpg"
    lost.unlink()
    assert collect(settings, workspace).changed and lost.exists()


def test_two_runs_on_the_same_source_differ_in_nothing_but_the_time(workspace: Path, tmp_path: Path) -> None:
    settings = settings_for(make_mirror(tmp_path / "mirror"))
    other = tmp_path / "other"
    for place in (workspace, other):
        collect(settings, place)
    first, second = (json.loads((place / "data/raw/source.json").read_text()) for place in (workspace, other))
    first.pop("collected_at")
    second.pop("collected_at")
    assert first == second
    one, two = ((place / "data/raw/manifest.parquet").read_bytes() for place in (workspace, other))
    assert one == two


def test_a_missing_file_and_a_path_outside_stay_rows_and_nothing_outside_is_copied(
    workspace: Path, tmp_path: Path
) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    (mirror / "furniture/images/f00.jpg").unlink()
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    (mirror / "furniture/images/link.jpg").symlink_to(secret)
    with open(mirror / "furniture/labels.csv", "a", encoding="utf-8") as labels:
        labels.write(f"../../../secret.jpg,rustic\n{secret},rustic\nlink.jpg,rustic\n")
    report = collect(settings_for(mirror), workspace)
    manifest = read_manifest(workspace / "data/raw/manifest.parquet")
    without = set(manifest.loc[manifest["image_id"].isna(), "path"])
    assert without == {"furniture/f00.jpg", "furniture/../../../secret.jpg", str(secret)}
    assert report.missing == 4
    assert not any(file.read_bytes() == b"secret" for file in (workspace / "data").rglob("*.jpg"))


def test_a_run_that_dies_half_way_leaves_the_old_data_whole(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    settings = settings_for(mirror)
    collect(settings, workspace)
    before = sorted((file, file.read_bytes()) for file in (workspace / "data").rglob("*") if file.is_file())
    (mirror / "grocery/labels.csv").write_text("file,name,category,description\nRed-Apple-0_Iconic.jpg,A,B,C\n")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(collecting, "_write_held_back", full_disk)
    with pytest.raises(OutputNotWritable, match="No space left"):
        collect(settings, workspace)
    assert before == sorted((file, file.read_bytes()) for file in (workspace / "data").rglob("*") if file.is_file())


def test_a_mirror_that_was_named_and_is_missing_is_an_error(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for use in ("mirror", "auto"):
        with pytest.raises(SourceError, match="no folder") as raised:
            collect(settings_for(tmp_path / "nowhere", use=use), workspace)
        assert raised.value.exit_code == 2
    mirror = make_mirror(tmp_path / "mirror")
    shutil.rmtree(mirror / "clothing")
    with pytest.raises(SourceError, match=r"clothing/labels\.csv"):
        collect(settings_for(mirror, use="auto"), workspace)


def test_auto_goes_on_to_the_next_source_and_says_why(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKSHOT_PROJECT", str(tmp_path / "a" / "checkout"))
    monkeypatch.setenv("PACKSHOT_SOURCES", str(PROJECT / "data/sources.yaml"))
    settings = settings_for("../shared/data", use="auto")
    monkeypatch.setattr(choice, "why_unreachable", lambda sets, seconds: "example.org: could not resolve host")
    chosen = choice.choose(settings, workspace)
    assert chosen.profile == "packages"
    assert "no folder" in chosen.why and "not reachable within 20 s: example.org" in chosen.why
    monkeypatch.setattr(choice, "why_unreachable", lambda sets, seconds: None)
    assert choice.choose(settings, workspace).profile == "public"


def test_a_source_without_images_is_refused(workspace: Path, tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    for labels in mirror.glob("*/labels.csv"):
        labels.write_text(labels.read_text().splitlines()[0] + "\n")
    with pytest.raises(NothingCollected):
        collect(settings_for(mirror), workspace)


def test_a_label_file_without_a_declared_column_is_named(workspace: Path, tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "mirror")
    labels = mirror / "biq2021/labels.csv"
    labels.write_text(labels.read_text().replace("mos", "score", 1))
    with pytest.raises(SourceError, match=r"labels\.csv lacks the column\(s\) mos"):
        collect(settings_for(mirror), workspace)


def test_the_record_names_profile_sets_and_styles(workspace: Path, tmp_path: Path) -> None:
    report = collect(settings_for(make_mirror(tmp_path / "mirror")), workspace)
    record = read_source(workspace)
    assert json.loads(json.dumps(report.as_record()))["profile"] == record.profile
    assert record.profile == "mirror" and set(record.sets) == {"biq2021", "furniture", "clothing", "grocery"}
    assert record.sets["furniture"].styles[0] == "arts_and_crafts" and record.sets["grocery"].rows == 4
    with pytest.raises(SourceError, match="packshot collect"):
        read_source(tmp_path / "empty")
