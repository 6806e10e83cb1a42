"""dvc.yaml: a stage depends on the code that it imports, and on the settings of the run key."""

import shutil
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from packshot.closure import PACKAGE
from packshot.config import KEY_SECTIONS
from packshot.revision import code_rev
from packshot.stages import (
    STAGES,
    NoSuchPart,
    StageNotWritten,
    code_deps,
    named_parts,
    with_code_deps,
    write_code_deps,
)

PROJECT = Path(__file__).parents[1]
TEXT = (PROJECT / "dvc.yaml").read_text()


def test_dvc_yaml_says_what_the_stages_import() -> None:
    assert with_code_deps(TEXT) == TEXT, "run `packshot code-deps --write`"


def test_what_a_person_wrote_stays(tmp_path: Path) -> None:
    stages = yaml.safe_load(TEXT)["stages"]
    path = tmp_path / "dvc.yaml"
    stale = TEXT.replace("      - src/packshot/catalog/image.py\n", "").replace("      - requirements.lock\n", "")
    path.write_text(stale.replace("      - data/features\n", "      - data/features # all of them\n"))
    assert write_code_deps(path) and not write_code_deps(path)
    assert path.read_text() == TEXT.replace("      - data/features\n", "      - data/features # all of them\n")
    for stage in STAGES:
        deps = stages[stage]["deps"]
        assert [name for name in deps if name.startswith("src/") or name == "requirements.lock"] == [*code_deps(stage)]
    assert {"data/features", "data/splits/manifest.parquet", "models/packshot"} <= set(stages["evaluate"]["deps"])


def test_a_stage_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageNotWritten, match="under the stage train"):
        with_code_deps(TEXT.replace("  train:\n", "  teach:\n"))
    with pytest.raises(StageNotWritten, match="cannot be read"):
        write_code_deps(tmp_path / "dvc.yaml")
    with pytest.raises(NoSuchPart, match=r"no stage is called 'teach'; there are collect, .*, score"):
        named_parts("teach")


def test_a_bundle_is_restored_for_its_own_run_key_alone() -> None:
    """What changes a run key changes the stage, else DVC would hand an old bundle to a new key."""
    stages = yaml.safe_load(TEXT)["stages"]
    for stage in ("train", "evaluate"):
        assert set(stages[stage]["params"]) == set(KEY_SECTIONS)
    assert set(code_deps("features")) <= set(code_deps("train"))


def test_dvc_runs_again_what_depends_on_an_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "project"
    shutil.copytree(PACKAGE, root / "src" / "packshot", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.lock", "params.yaml"):
        shutil.copy(PROJECT / name, root / name)
    stages = yaml.safe_load(TEXT)["stages"]
    small = {
        stage: {
            "cmd": f"echo {stage} > {stage}.txt",
            "deps": [name for name in stages[stage]["deps"] if not name.startswith(("data/", "models/"))],
            "params": stages[stage]["params"],
            "outs": [f"{stage}.txt"],
        }
        for stage in ("features", "train", "evaluate")
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": small}))
    monkeypatch.chdir(root)
    repo = Repo.init(str(root), no_scm=True)
    repo.reproduce()

    def changed(*names: str) -> set[str]:
        before = {root / name: (root / name).read_bytes() for name in names}
        for file, content in before.items():
            file.write_bytes(content + b"\n")
        found = set(repo.status())
        for file, content in before.items():
            file.write_bytes(content)
        return found

    assert not changed(*(f"src/packshot/{name}" for name in ("exports/why.py", "serving/report.py", "ops/services.py")))
    assert changed("src/packshot/catalog/image.py") == {"features", "train", "evaluate"}
    assert changed("src/packshot/evaluation/run.py") == {"evaluate"}


def test_the_lock_file_is_part_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_rev("train"), code_rev("evaluate")
    assert before[0] != before[1]
    lock = tmp_path / "requirements.lock"
    lock.write_bytes((PROJECT / "requirements.lock").read_bytes())
    monkeypatch.setattr("packshot.revision.lock_file", lambda: lock)
    assert (code_rev("train"), code_rev("evaluate")) == before
    lock.write_text("torch==0\n")
    assert code_rev("train") != before[0] and code_rev("evaluate") != before[1]
