"""The built wheel in an empty environment: little comes with it, and that judges, enhances, reports and exports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from PIL import Image
from small_network import save_small_bundle, small_architecture
from small_workspace import picture

ROOT = Path(__file__).parents[1]
MOST_DISTRIBUTIONS = 40
MOST_MIB = 700
ABSENT = ("torch", "pandas", "mlflow", "airflow", "dvc", "great_expectations", "ray", "sklearn", "scipy", "matplotlib")
pytestmark = pytest.mark.slow


def run(command: list[str | Path], home: Path, *, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))}
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=500)
    assert done.returncode == code, done.stderr[-3000:]
    return done


def size_mib(folder: Path) -> float:
    """What the files take on disk, links counted once."""
    seen = {(each.st_dev, each.st_ino): each.st_blocks * 512 for each in map(os.lstat, folder.rglob("*"))}
    return sum(seen.values()) / 2**20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("newcomer")
    photos = home / "photos"
    photos.mkdir()
    for number in range(5):
        Image.fromarray(picture(number, number % 2, 0.2 * number)).save(photos / f"{number}.png")
    save_small_bundle(home / "bundle", small_architecture())
    return home


@pytest.fixture(scope="module")
def python(home: Path) -> Path:
    sources = home / "sources"
    for name in ("pyproject.toml", "README.md", "LICENSE", "params.yaml"):
        sources.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, sources / name)
    shutil.copytree(
        ROOT / "src", sources / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"), symlinks=True
    )
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", home / "wheels", sources], home)
    shutil.rmtree(sources)
    venv.create(home / "venv", with_pip=True)
    python = home / "venv" / "bin" / "python"
    (wheel,) = (home / "wheels").glob("packshot-*.whl")
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel], home)
    return python


def test_little_is_installed(python: Path, home: Path) -> None:
    listed = run([python, "-m", "pip", "list", "--format=json"], home).stdout
    names = {each["name"] for each in json.loads(listed)} - {"pip", "setuptools"}
    assert len(names) <= MOST_DISTRIBUTIONS, sorted(names)
    (installed,) = (home / "venv" / "lib").glob("python3*/site-packages")
    tools = sum(size_mib(each) for each in installed.iterdir() if each.name.split("-")[0] in ("pip", "setuptools"))
    assert size_mib(installed) - tools <= MOST_MIB
    check = f"import importlib.util as u; print([n for n in {ABSENT} if u.find_spec(n)])"
    assert run([python, "-c", check], home).stdout.strip() == "[]"
    run([python, "-m", "pip", "check"], home)


def test_it_judges_enhances_reports_and_exports(python: Path, home: Path) -> None:
    packshot = python.with_name("packshot")
    commands = [
        ["--help"],
        ["look", "photos/0.png", "--model", "bundle"],
        ["score", "photos", "--out", "first"],
        ["card"],
        ["score", "photos", "--model", "bundle", "--out", "verdicts"],
        ["enhance", "photos", "--model", "bundle", "--out", "better"],
        ["report", "--verdicts", "verdicts", "--out", "page"],
        ["export", "sellers", "--verdicts", "verdicts", "--out", "sellers"],
        ["export", "feed", "--verdicts", "verdicts", "--out", "feed.parquet"],
        ["export", "google", "--verdicts", "verdicts", "--out", "google.jsonl"],
        ["why", "0.png", "--verdicts", "verdicts"],
        ["settings"],
    ]
    for command in commands:
        run([packshot, *command], home)
    count = "import pyarrow.parquet as p; t = p.read_table('verdicts/verdicts.parquet'); print(t.num_rows)"
    assert run([python, "-c", count], home).stdout.strip() == "5"
    assert "0.png" in (home / "page" / "index.html").read_text()
    assert len(list((home / "better").glob("*.png"))) == 5
    assert len((home / "google.jsonl").read_text().splitlines()) >= 0


def test_python_needs_three_lines(python: Path, home: Path) -> None:
    script = (
        "import packshot; judge = packshot.load('bundle'); print(judge('photos/1.png').ok, judge('photos').num_rows)"
    )
    assert run([python, "-c", script], home).stdout.split()[-1] == "5"


def test_what_needs_an_extra_names_it(python: Path, home: Path) -> None:
    packshot = python.with_name("packshot")
    for command, extra in {"train": "train", "calibrate": "table", "index --verdicts verdicts": "similar"}.items():
        said = run([packshot, *command.split()], home, code=69).stderr
        assert f"pip install 'packshot[{extra}]'" in said and "Traceback" not in said
