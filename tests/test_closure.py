"""The code that a result depends on: what an entry point imports, and the data that this reads."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from packshot.closure import PACKAGE, NoSuchEntry, code_digest, code_files
from packshot.inference.lite_graph import source_digest
from packshot.revision import Part, entries
from packshot.training.extraction import BACKBONE_CODE, SIGNAL_CODE

SMALL = {
    "__init__.py": "",
    "start.py": (
        "from typing import TYPE_CHECKING\n\nimport json\n\nfrom small.plain import thing\nfrom .near import other\n\n"
        "if TYPE_CHECKING:\n    from small.typed import T\nelse:\n    import small.untyped\n\n\n"
        "def late():\n    from small.lazy import x\n\n    return run('-m', 'small.spawned'), 'script.py', 'shown.css'\n"
    ),
    "plain.py": "thing = 1\n",
    "near.py": "from . import beside\nother = 1\n",
    "beside.py": "",
    "typed.py": "",
    "untyped.py": "",
    "lazy.py": "from small.rules import all_of_them\nfrom small.deep.er import y\n",
    "spawned.py": "",
    "script.py": "",
    "shown.css": "",
    "other.css": "",
    "weights.bin": "",
    "py.typed": "",
    "apart.py": "from importlib.resources import files\nOTHER = files('small') / 'other.css'\n",
    "rules/__init__.py": "from pkgutil import iter_modules\nall_of_them = [m for m in iter_modules(__path__)]\n",
    "rules/one.py": "",
    "deep/__init__.py": "from small.deep import start\n",
    "deep/start.py": "",
    "deep/er.py": "y = 1\n",
    "deep/templates/page.html": "",
    "alone/__init__.py": "",
    "alone/templates/page.html": "",
}
NOT_NEEDED = ("typed.py", "apart.py", "other.css", "py.typed", "alone/__init__.py", "alone/templates/page.html")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    package = tmp_path / "small"
    for name, text in SMALL.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "plain.pyc").write_text("")
    return package


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    package = tmp_path / "src" / "packshot"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    return package


def test_all_that_an_entry_imports_counts_and_nothing_else(small: Path) -> None:
    wanted = sorted(f"small/{name}" for name in SMALL if name not in NOT_NEEDED)
    assert list(code_files("small.start", package=small)) == wanted


@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_edit_is_seen_where_it_counts(small: Path, name: str) -> None:
    before = code_digest("small.start", package=small)
    with (small / name).open("a") as file:
        file.write("\n# edited\n")
    assert (code_digest("small.start", package=small) != before) == (name not in NOT_NEEDED)


def test_an_entry_that_is_not_there_is_named(small: Path) -> None:
    with pytest.raises(NoSuchEntry, match=r"small\.missing is no module"):
        code_files("small.missing", package=small)
    (small / "near.py").write_text("def broken(:\n")
    with pytest.raises(NoSuchEntry, match=r"near\.py cannot be parsed"):
        code_files("small.start", package=small)


ALL: tuple[Part, ...] = ("validate", "split", "features", "train", "evaluate", "score")
EDITS: dict[str, tuple[Part, ...]] = {
    "exports/why.py": (),
    "exports/templates/sellers.html": (),
    "serving/report.py": (),
    "ops/pipeline.py": (),
    "registry/gates.py": (),
    "registry/models.py": (),
    "drift/check.py": (),
    "cli/judging.py": (),
    "catalog/data_docs.css": ("validate", "split"),
    "catalog/image.py": ALL,
    "catalog/containers/jpeg.py": ALL,
    "model/backbone.py": ("features", "train", "evaluate", "score"),
    "model/losses.py": ("features", "train", "evaluate", "score"),
    "training/warm_start.py": ("train", "evaluate"),
    "evaluation/heldout.py": ("evaluate",),
    "scoring/rules/border.py": ("score",),
    "scoring/marking.py": ("score",),
    "inference/signal_on_cpu.py": ("features", "train", "evaluate", "score"),
    "inference/openvino_runtime.py": ("train", "evaluate", "score"),
}


def test_an_edit_costs_what_depends_on_it_alone() -> None:
    files = {part: set(code_files(*entries(part))) for part in ALL}
    for name, parts in EDITS.items():
        assert (PACKAGE / name).is_file()
        assert tuple(part for part in ALL if f"packshot/{name}" in files[part]) == parts, name


def test_an_edit_of_exports_leaves_the_run_key_and_one_of_decoding_does_not(copied: Path) -> None:
    before = code_digest(*entries("train"), package=copied)
    for name in ("exports/why.py", "exports/templates/sellers.html", "serving/report.py", "ops/pipeline.py"):
        (copied / name).write_text("changed = 1\n")
    assert code_digest(*entries("train"), package=copied) == before == code_digest(*entries("train"))
    image = copied / "catalog" / "image.py"
    image.write_bytes(image.read_bytes() + b"\n")
    assert code_digest(*entries("train"), package=copied) != before


def test_kept_features_are_of_the_code_from_the_file_on(copied: Path) -> None:
    def keys() -> tuple[str, str]:
        return code_digest(*BACKBONE_CODE, package=copied), code_digest(*SIGNAL_CODE, package=copied)

    seen = {}
    for name in (
        "catalog/image.py",
        "inference/signal_on_cpu.py",
        "model/statistics.py",
        "model/style.py",
        "config.py",
    ):
        before, file = keys(), copied / name
        file.write_bytes(file.read_bytes() + b"\n")
        seen[name] = tuple(one != other for one, other in zip(before, keys(), strict=True))
    assert seen == {
        "catalog/image.py": (True, True),
        "inference/signal_on_cpu.py": (False, True),
        "model/statistics.py": (True, False),
        "model/style.py": (False, False),
        "config.py": (False, False),
    }


def test_graphs_are_of_the_code_that_makes_them() -> None:
    assert source_digest() == code_digest("packshot.inference.lite_graph")
    assert "packshot/model/lite.py" in code_files("packshot.inference.lite_graph")


def test_the_closure_is_what_python_loads() -> None:
    script = "import sys, packshot.catalog.collect; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    files = code_files(*entries("collect"))
    named = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files}
    assert {name for name in loaded if name.split(".")[0] == "packshot"} <= named


def test_hashing_is_quick(copied: Path) -> None:
    before = time.process_time()
    code_digest(*entries("score"), package=copied)
    assert time.process_time() - before < 0.6  # 0.15 s on the machine it was measured on
