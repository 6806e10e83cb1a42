"""A library that is missing is an error that names the extra which brings it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from packshot.extras import explained, extra_of

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch", "train"),
        ("sklearn", "train"),
        ("pandas", "table"),
        ("transformers", "text"),
        ("mlflow", "pipeline"),
        ("airflow", "pipeline"),
        ("great_expectations", "pipeline"),
        ("ray", "ray"),
        ("s3fs", "s3"),
    ],
)
def test_a_module_is_of_an_extra(module: str, extra: str) -> None:
    assert extra_of(module) == extra
    assert f"packshot[{extra}]" in str(explained(ModuleNotFoundError(name=f"{module}.inner")))


@pytest.mark.parametrize("module", ["numpy", "packshot.nothing", "unheard_of", ""])
def test_what_no_extra_brings_stays_the_error_that_it_is(module: str) -> None:
    assert explained(ModuleNotFoundError(name=module)) is None


def test_a_command_without_its_library_ends_in_one_line(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ModuleNotFoundError('No module named torch', name='torch')\n"
        "sys.meta_path.insert(0, Absent())\n"
        "sys.argv = ['packshot', 'train', '--workspace', '.']\n"
        "from packshot.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 69
    assert done.stderr.strip().count("\n") == 0 and "pip install 'packshot[train]'" in done.stderr


def test_judging_asks_for_nothing_that_an_extra_is_for() -> None:
    core = {name.split(">")[0].split("=")[0].lower() for name in PROJECT["dependencies"]}
    heavy = {"torch", "pandas", "mlflow", "apache-airflow", "dvc", "great-expectations", "ray", "scikit-learn", "scipy"}
    assert not core & (heavy | {"matplotlib", "pytest", "transformers"})
    assert "openvino" in core
