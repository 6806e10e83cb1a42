"""Workspaces: clones that share one DVC cache, carry a data revision, and leave the checkout alone."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from packshot.config import load_settings
from packshot.relocation import settle
from packshot.revision import RunKey, data_rev
from packshot.workspace import (
    StageFailed,
    Workspace,
    WorkspaceMissing,
    catalog_workspace,
    training_workspace,
    workspace_of_data,
)

PROJECT = Path(__file__).parents[1]
STAGES = """
stages:
  collect: {cmd: "mkdir -p data/raw && cp data/sources.yaml data/raw/a", deps: [data/sources.yaml], outs: [data/raw]}
  validate: {cmd: "mkdir -p data/valid && cp data/raw/a data/valid/a", deps: [data/raw], outs: [data/valid]}
  split:
    cmd: "mkdir -p data/splits && cp data/valid/a data/splits/manifest.parquet"
    deps: [data/valid]
    outs: [data/splits/manifest.parquet]
  fails: {cmd: "echo the disk said no && exit 7", deps: [data/raw]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project with the real layout and trivial stages."""
    root = tmp_path / "project"
    (root / "src" / "packshot").mkdir(parents=True)
    (root / "src" / "packshot" / "a.py").write_text("A = 1\n")
    (root / "data").mkdir()
    (root / "data" / "sources.yaml").write_text("version: 1\n")
    (root / "dvc.yaml").write_text(STAGES)
    (root / "requirements.lock").write_text("")
    monkeypatch.setenv("PACKSHOT_PROJECT", str(root))
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    return root


def publish(workspace: Workspace) -> str:
    workspace.repro("collect", "validate", "split")
    revision = data_rev(workspace.root)
    workspace.push()
    workspace.commit(f"data {revision}")
    return revision


def test_data_revisions_live_on_in_clones(project: Path) -> None:
    settings = load_settings(PROJECT / "params.yaml")
    catalog = catalog_workspace(settings)
    first = publish(catalog)
    manifest = catalog.root / "data/splits/manifest.parquet"
    assert first == hashlib.md5(manifest.read_bytes()).hexdigest()
    assert f"md5: {first}" in (catalog.root / "dvc.lock").read_text(), "the revision is DVC's own content hash"

    (project / "data" / "sources.yaml").write_text("version: 2\n")
    second = publish(catalog_workspace(settings))
    assert second != first

    old = workspace_of_data(first)
    assert (old.root / "data/splits/manifest.parquet").read_text() == "version: 1\n"
    assert data_rev(training_workspace(settings, "abc").root) == second
    with pytest.raises(WorkspaceMissing, match="0000"):
        workspace_of_data("0000")
    assert sorted(p.name for p in project.iterdir()) == ["data", "dvc.yaml", "requirements.lock", "src"]


def test_the_data_of_a_copied_home_is_its_own(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(PROJECT / "params.yaml")
    home, copy, hidden = tmp_path / "home", tmp_path / "elsewhere" / "copy", tmp_path / "hidden"
    settle()
    first = publish(catalog_workspace(settings))
    (project / "data" / "sources.yaml").write_text("version: 2\n")
    publish(catalog_workspace(settings))
    training_workspace(settings, "abc")
    # as an earlier version wrote it
    config = home / "workspaces" / "train-abc" / ".dvc" / "config"
    config.write_text(config.read_text().replace("../../../dvc", f"{home}/dvc"))
    settle()
    shutil.copytree(home, copy)
    home.rename(hidden)
    monkeypatch.setenv("PACKSHOT_HOME", str(copy))
    settle()
    for place in ("dvc/cache/files", "workspaces/train-abc/data/splits"):
        shutil.rmtree(copy / place)
    training = training_workspace(settings, "abc")
    training.run("dvc", "pull", "--quiet", "split", quiet=True)
    training.tag_in_catalog("model-abc")
    training.push()
    assert (workspace_of_data(first).root / "data/splits/manifest.parquet").read_text() == "version: 1\n"
    assert not home.exists()
    settled = [path for name in (".dvc/config", ".git/config") for path in copy.glob(f"workspaces/*/{name}")]
    assert len(settled) == 6 and not [path for path in settled if str(home) in path.read_text()]


def test_a_second_run_does_nothing(project: Path) -> None:
    settings = load_settings(PROJECT / "params.yaml")
    workspace = catalog_workspace(settings)
    publish(workspace)
    head = workspace.head()
    again = catalog_workspace(settings)
    output = again.run("dvc", "repro", "split", quiet=True)
    assert "up to date" in output
    assert again.head() == head


def test_a_failed_stage_says_its_cause(project: Path) -> None:
    workspace = catalog_workspace(load_settings(PROJECT / "params.yaml"))
    workspace.repro("collect")
    with pytest.raises(StageFailed, match="the disk said no"):
        workspace.repro("fails")


def test_the_run_key_names_all_three_parts() -> None:
    keys = {RunKey(*parts).short for parts in [("a", "b", "c"), ("a", "b", "d"), ("a", "x", "c"), ("ab", "", "c")]}
    assert len(keys) == 4


def test_the_checkout_is_not_in_the_workspace_history(project: Path) -> None:
    workspace = catalog_workspace(load_settings(PROJECT / "params.yaml"))
    tracked = subprocess.run(["git", "ls-files"], cwd=workspace.root, capture_output=True, text=True, check=True).stdout
    assert "params.yaml" in tracked
    assert "src/packshot/a.py" in tracked
