"""Outputs appear whole or not at all, and a full or read-only disk is one clear error."""

import errno
from pathlib import Path

import pandas as pd
import pytest

from packshot.files import (
    OutputNotWritable,
    atomic_folder,
    atomic_path,
    remove_unfinished,
    write_json,
    write_parquet,
    write_text,
)


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    write_json(target, {"srcc": 0.8})
    before = target.read_text()
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, {"srcc": float("nan")})
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert target.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"]


def test_a_folder_appears_whole_or_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "bundle"
    for content in ("old", "new"):
        with atomic_folder(target) as building:
            (building / content).write_text(content)
        assert [p.name for p in target.iterdir()] == [content], "nothing of what stood there is left"
    with pytest.raises(RuntimeError), atomic_folder(target) as building:
        (building / "half").write_text("half")
        raise RuntimeError("killed")
    rename = Path.rename

    def full(path: Path, to: Path) -> Path:
        if (path / "late").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OutputNotWritable, match=r"bundle.*No space left"), atomic_folder(target) as building:
        (building / "late").write_text("late")
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_what_killed_writers_left_goes_and_nothing_else(tmp_path: Path) -> None:
    """A generator that is never closed stands for the kill: nothing is tidied up."""
    kept = [tmp_path / name for name in ("state.bin", "state-2.bin", ".gitignore", ".state-2.x.bin")]
    for path in kept:
        path.write_text("kept")
    writing = [atomic_path(tmp_path / "state.bin"), atomic_folder(tmp_path / "state")]
    for each in writing:
        each.__enter__()
    assert len(list(tmp_path.iterdir())) == len(kept) + 2
    remove_unfinished(tmp_path / "state.bin")
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputNotWritable, match=r"figures\.json.*No space left") as caught,
        atomic_path(tmp_path / "figures.json"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.exit_code != 0
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(OutputNotWritable, match="taken"):
        write_text(tmp_path / "taken" / "a.txt", "x")


def test_the_same_frame_gives_the_same_bytes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"path": ["a", "b"], "quality": [0.5, None]})
    write_parquet(tmp_path / "a.parquet", frame)
    write_parquet(tmp_path / "b.parquet", frame)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
