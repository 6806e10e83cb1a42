"""Outputs appear whole or not at all, and a full or read-only disk is one clear error."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from packshot.files import (
    OutputNotWritable,
    atomic_folder,
    atomic_path,
    fitting_name,
    remove_unfinished,
    write_bytes,
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


def test_state_is_private_and_what_is_written_elsewhere_is_as_open_as_the_user_has_it(tmp_path: Path) -> None:
    code = """
import os, pathlib, sys
from packshot.files import atomic_folder, write_text
from packshot.home import keep_private
os.umask(0o002)
keep_private()
base = pathlib.Path(sys.argv[1])
for root in (base / "home", base / "out"):
    write_text(root / "a" / "b.txt", "x")
    (root / "plain").mkdir()
    with atomic_folder(root / "made") as building:
        (building / "inner").mkdir()
        (building / "inner" / "c.txt").write_text("x")
"""
    environment = {**os.environ, "PACKSHOT_HOME": str(tmp_path / "home")}
    environment.pop("PACKSHOT_UMASK", None)
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)

    def mode(name: str) -> int:
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    private = [tmp_path / "home", *(tmp_path / "home").rglob("*")]
    assert len(private) == 7 and not any(path.stat().st_mode & 0o077 for path in private)
    assert [mode(name) for name in ("out", "out/a", "out/a/b.txt")] == [0o775, 0o775, 0o664]
    assert [mode(name) for name in ("out/made", "out/made/inner", "out/made/inner/c.txt")] == [0o775, 0o775, 0o664]


def test_a_file_with_a_second_name_keeps_its_mode(tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.write_text("x")
    original.chmod(0o640)
    with atomic_folder(tmp_path / "export") as building:
        os.link(original, building / "linked")
    assert stat.S_IMODE(original.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "name", ["a" * 254 + ".png", "\N{CJK UNIFIED IDEOGRAPH-6F22}" * 90 + ".webp", "d." + "e" * 300]
)
def test_a_name_that_is_too_long_makes_room_and_stays_its_own(tmp_path: Path, name: str) -> None:
    fitting = fitting_name(f"folder/{name}")
    assert fitting == fitting_name(f"folder/{name}") != fitting_name(f"folder/{name[0]}{name}")
    assert fitting.startswith(f"folder/{name[0]}") and fitting.endswith((".png", ".webp")) == ("." in name[-6:])
    write_bytes(tmp_path / fitting, b"x")
    assert (tmp_path / fitting).read_bytes() == b"x"
    assert fitting_name("folder/short.png") == "folder/short.png"


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    for name in ("a" * 255, "d." + "e" * 253, "\N{CJK UNIFIED IDEOGRAPH-6F22}" * 85):
        write_bytes(tmp_path / name, b"x")
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()
