"""What a machine without a CUDA device installs: `scripts/torch_for_cpu.py`."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from packshot.home import project_root

LOCK = """nvidia-cublas==13.1.1.3   # via cuda-toolkit
numpy==2.3.4              # via torch
torch==2.14.1             # via torchvision
torchvision==0.29.1       # via packshot
triton==3.8.0             # via torch
cuda-toolkit==13.0.3.0    # via torch
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("torch_for_cpu", project_root() / "scripts/torch_for_cpu.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text(LOCK)
    return path


def index(folder: Path, torch: str = "2.14.1", vision: str = "0.29.1") -> str:
    for name, version in (("torch", torch), ("torchvision", vision)):
        (folder / name).mkdir(parents=True)
        link = f"{name}-{version}%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl"
        (folder / name / "index.html").write_text(f'<a href="{link}">{link}</a>')
    return folder.as_uri()


def test_nothing_of_cuda_is_left_and_everything_else_is(
    script: ModuleType, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACKSHOT_TORCH", "cpu")
    served = index(tmp_path / "index")
    monkeypatch.setattr(script, "OWN_PAGE", "{index}/{package}/index.html")
    assert script.main([str(lock), "--index", served]) == 0
    expected = [f"--extra-index-url {served}", "numpy==2.3.4", "torch==2.14.1+cpu", "torchvision==0.29.1+cpu"]
    assert [line.split("   ")[0] for line in capsys.readouterr().out.splitlines()] == expected


def test_an_index_without_the_locked_version_is_not_taken(
    script: ModuleType, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACKSHOT_TORCH", "cpu")
    monkeypatch.setattr(script, "OWN_PAGE", "{index}/{package}/index.html")
    assert script.main([str(lock), "--index", index(tmp_path / "index", vision="0.28.0")]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "has no torchvision-0.29.1+cpu" in said.err and "5 of the 7 GB" in said.err


def test_an_index_that_does_not_answer_costs_a_line(
    script: ModuleType, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PACKSHOT_TORCH", "cpu")
    assert script.main([str(lock), "--index", (tmp_path / "nowhere").as_uri()]) == 1
    assert "cannot be reached" in capsys.readouterr().err


def test_a_cuda_device_or_the_wish_for_cuda_keeps_the_lock(
    script: ModuleType, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKSHOT_TORCH", "cuda")
    assert script.main([str(lock), "--index", index(tmp_path / "index")]) == 1
    assert not script.has_cuda_device(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert script.has_cuda_device(tmp_path)


def test_the_lock_of_the_project_names_what_is_looked_for(script: ModuleType) -> None:
    lines = (project_root() / "requirements.lock").read_text().splitlines()
    kept = script.for_cpu(lines, "https://example.org")
    assert re.fullmatch(r"[\d.]+", script.version_of(lines, "torch"))
    assert not any(line.startswith(("nvidia-", "cuda-", "triton")) for line in kept)
    assert 10 < len(lines) - len(kept) < 40
