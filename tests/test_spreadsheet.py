"""No cell of a CSV that people open is a formula, whoever wrote it."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pytest

from packshot.spreadsheet import guarded, unguarded, write_csv

SRC = Path(__file__).resolve().parents[1] / "src" / "packshot"
FOR_MACHINES = {"spreadsheet.py", "catalog/collect.py", "evaluation/run.py", "ops/labels.py"}
"""The writer itself; the catalogue of a data revision; the points of DVC's plots; a digest over rows."""


@pytest.mark.parametrize(
    "text", ['=HYPERLINK("x")', "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "'=1", "''@"]
)
def test_a_formula_becomes_a_text_and_comes_back(text: str) -> None:
    assert guarded(text).startswith("'") and unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", ["", "plain", "a=b", "it's", "'quoted'", "5-6", "é"])
def test_other_texts_stay(text: str) -> None:
    assert guarded(text) == text and unguarded(text) == text


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    rows = [{"=a": -1, "b": -0.5, "c": None, "d": float("nan"), "e": "-7"}]
    assert write_csv(tmp_path / "t.csv", ("=a", "b", "c", "d", "e"), rows) == 1
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["'=a", "b", "c", "d", "e"], ["-1", "-0.50000", "", "", "'-7"]]


def test_nobody_else_writes_csv() -> None:
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
            writes = called == "to_csv" or (called in ("writer", "DictWriter") and ast.unparse(node.func)[:4] == "csv.")
            assert not writes or path.relative_to(SRC).as_posix() in FOR_MACHINES, (
                f"{path}:{node.lineno} writes CSV past packshot.spreadsheet"
            )
