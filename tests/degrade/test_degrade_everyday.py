"""Everyday damage: what it does to values that the test makes, and that it is not what training draws from."""

import ast
from pathlib import Path

import numpy as np
import pytest

import packshot
from packshot.degrade.everyday import EVERYDAY, Plan, damaged, other_plans, usual_plans
from packshot.evaluation.metrics import psnr


def picture() -> np.ndarray:
    image = np.random.default_rng(0).integers(40, 216, (48, 64, 3), dtype=np.uint8)
    image[:24] = (64, 128, 192)
    return image


@pytest.mark.parametrize("plan", [*usual_plans(), *other_plans()], ids=lambda plan: plan.name)
def test_a_plan_is_pure_and_takes_something_away(plan):
    image, kept = picture(), picture()
    first, second = damaged(image, plan, 1), damaged(image, plan, 1)
    assert np.array_equal(first, second)
    assert np.array_equal(image, kept)
    assert psnr(image, first) < 40


@pytest.mark.parametrize("name", EVERYDAY)
def test_the_milder_strength_is_milder_and_the_stronger_stronger(name):
    image, known = picture(), EVERYDAY[name]
    mild, usual, strong = (
        psnr(image, damaged(image, Plan("", ((name, strength),)), 1)) for strength in strengths(known)
    )
    assert mild > usual > strong


def strengths(known):
    mild, strong = known.others
    return mild, known.usual, strong


@pytest.mark.parametrize(
    ("name", "strength", "expected"),
    [("dark", 2.0, (16, 64, 145)), ("flat", 0.5, (96, 128, 160)), ("cast", 0.25, (80, 128, 144))],
)
def test_tones_change_as_their_units_say(name, strength, expected):
    assert damaged(picture(), Plan("", ((name, strength),)), 0)[0, 0].tolist() == list(expected)


def test_noise_has_the_deviation_it_names():
    grey = np.full((200, 200, 3), 128, dtype=np.uint8)
    assert damaged(grey, Plan("", (("noise", 16.0),)), 0).std() == pytest.approx(16, rel=0.02)


def test_no_training_draws_from_it():
    root = Path(packshot.__file__).parent
    for path in (root / "training").rglob("*.py"):
        named = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        assert "packshot.degrade.everyday" not in named, path
