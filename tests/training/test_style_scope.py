"""Which pictures styles are for: those like the ones that have one, and no kind that was never shown."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from small_network import save_small_bundle, small_architecture

from packshot.bundle import Judge
from packshot.inference.scope import FILE, Scope, ScopeUnreadable, read_scope, write_scope
from packshot.registry.pyfunc_model import _row
from packshot.scoring.rows import NOT_TAUGHT, _judged_columns
from packshot.training.scope import FEWEST, learn_scope


def kinds(count: int, seed: int, centre: float) -> tuple[np.ndarray, np.ndarray]:
    """Pictures around a place: embedding 6 wide, style 10."""
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 6)) + centre * np.eye(6)[0], random.normal(size=(count, 10))


@pytest.fixture(scope="module")
def scope() -> Scope:
    (inner, inner_style), (outer, outer_style) = kinds(300, 1, 4.0), kinds(300, 2, -4.0)
    found = learn_scope(
        np.concatenate([inner, outer]),
        np.concatenate([inner_style, outer_style]),
        np.repeat([True, False], 300),
        np.array([f"g{number // 3}" for number in range(600)]),
        0.04,
        7,
    )
    assert found is not None
    return found


def test_others_are_refused_and_few_of_the_same_kind_are_lost(scope: Scope) -> None:
    assert scope.covers(*kinds(1000, 3, 4.0)).mean() > 0.92
    assert scope.covers(*kinds(1000, 4, -4.0)).mean() < 0.02


def test_the_loss_that_is_allowed_is_the_loss(scope: Scope) -> None:
    (inner, inner_style), (outer, outer_style) = kinds(400, 5, 1.0), kinds(400, 6, -1.0)
    for loss in (0.02, 0.2):
        found = learn_scope(
            np.concatenate([inner, outer]),
            np.concatenate([inner_style, outer_style]),
            np.repeat([True, False], 400),
            np.arange(800).astype(str),
            loss,
            7,
        )
        assert found is not None
        assert 1 - found.covers(*kinds(4000, 8, 1.0)).mean() == pytest.approx(loss, abs=0.05)


@pytest.mark.parametrize("inside", [FEWEST - 1, 600 - FEWEST + 1, 600])
def test_with_too_few_on_a_side_styles_are_for_all(inside: int) -> None:
    flags = np.arange(600) < inside
    assert learn_scope(*kinds(600, 1, 0.0), flags, np.arange(600).astype(str), 0.04, 7) is None


def test_it_comes_back_from_its_file_and_a_damaged_one_says_so(scope: Scope, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scope(tmp_path / name, scope)
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()
    back = read_scope(tmp_path / "a")
    assert back is not None and read_scope(tmp_path) is None
    assert back.scores(*kinds(50, 9, 2.0)) == pytest.approx(scope.scores(*kinds(50, 9, 2.0)), abs=1e-3)
    broken = Scope(**{each.name: getattr(scope, each.name) * np.nan for each in fields(Scope)})
    write_scope(tmp_path / "c", broken)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / FILE).write_bytes(b"?")
    for name in ("c", "d"):
        with pytest.raises(ScopeUnreadable, match="train again"):
            read_scope(tmp_path / name)


@pytest.mark.parametrize("least", [-10.0, 10.0])
def test_a_picture_outside_has_no_style_and_the_row_says_why(tmp_path: Path, least: float) -> None:
    folder = save_small_bundle(tmp_path, small_architecture())
    plain = Judge.load(folder, "cpu", 1)
    image = np.random.default_rng(0).integers(0, 255, (70, 70, 3), dtype=np.uint8)
    known = plain.judge([image])[0]
    size = len(known.embedding) + len(known.style_vector)
    flat = Scope(
        np.zeros(size), np.ones(size), np.zeros((1, size)), np.zeros(1), np.zeros(1), np.ones(1), np.array([least])
    )
    write_scope(folder, flat)
    said = Judge.load(folder, "cpu", 1).judge([image])[0]
    assert said.style == known.style is not None  # what the classifier says is still there to be measured
    assert said.style_taught is (least < 0)
    row = _judged_columns(said)
    if said.style_taught:
        assert (row["style"], row["style_reason"]) == (known.style, None)
        assert _row(said, None)["style"] == known.style
    else:
        assert (row["style"], row["style_reason"], row["style_confidence"]) == (None, NOT_TAUGHT, 0.0)
        assert _row(said, None)["style"] is None and _row(said, None)["style_confidence"] == 0.0
