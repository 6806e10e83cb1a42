"""Intervals: right on the whole, nearly right for every kind of image, and the kind need not be known."""

import numpy as np
import pytest
import torch
from small_network import small_architecture

from packshot.model.network import PackshotNet
from packshot.training.calibration import Residuals, coverage_of, half_widths_out_of_fold, interval

DIMENSIONS, ROWS = 8, 3000


@pytest.fixture
def network() -> PackshotNet:
    return PackshotNet(small_architecture(trunk_dim=DIMENSIONS))


def errors(seed: int, named: bool) -> Residuals:
    """Three kinds of image, told apart by their first coordinates with mistakes; the rare one errs five times more."""
    random = np.random.default_rng(seed)
    kind = random.choice(3, size=ROWS, p=[0.3, 0.15, 0.55])
    scaled = random.normal(size=(ROWS, DIMENSIONS))
    scaled[np.arange(ROWS), kind] += 2.0
    error = random.normal(size=ROWS) * np.array([0.05, 0.15, 0.03])[kind]
    names = [f"kind{each}" if named else None for each in kind]
    return Residuals(scaled, error, names, np.arange(ROWS) % 5)


def covered(network: PackshotNet, scale: float, found: Residuals) -> np.ndarray:
    # an untrained trunk with unit spread: its scaled vectors are the inputs themselves
    half = scale * network.expected_error(torch.from_numpy(found.scaled).float()).numpy()
    return np.abs(found.error) <= half


@pytest.mark.parametrize("named", [True, False])
def test_fresh_images_are_covered_in_every_kind(network, named):
    scale, rows = interval(network, errors(1, named), 0.9)
    assert rows == ROWS
    fresh = errors(2, True)
    inside = covered(network, scale, fresh)
    assert 0.88 <= inside.mean() <= 0.93
    for each in ("kind0", "kind1", "kind2"):
        of_kind = np.array([name == each for name in fresh.kind])
        assert inside[of_kind].mean() >= (0.84 if named else 0.6), each
    width = network.expected_error(torch.from_numpy(fresh.scaled).float()).numpy()
    rare = np.array([name == "kind1" for name in fresh.kind])
    assert width[rare].mean() > 1.5 * width[~rare].mean()


def test_few_rows_give_no_interval(network):
    found = errors(1, True)
    some = Residuals(found.scaled[:30], found.error[:30], found.kind[:30], found.fold[:30])
    assert interval(network, some, 0.9) == (0.0, 0)


def test_one_kind_and_rare_kinds_are_no_obstacle(network):
    found = errors(1, True)
    names = ["all"] * (ROWS - 5) + ["rare"] * 5
    scale, _ = interval(network, Residuals(found.scaled, found.error, names, found.fold), 0.9)
    assert 0.88 <= covered(network, scale, found).mean() <= 0.93


def test_coverage_out_of_fold_is_that_of_fresh_images():
    found = errors(1, True)
    covered = coverage_of(found, half_widths_out_of_fold(found, 0.9))
    assert set(covered) == {"all", "kind0", "kind1", "kind2"}
    assert 0.88 <= covered["all"] <= 0.93 and min(covered.values()) > 0.84
    two = found.of(found.fold < 2)
    assert half_widths_out_of_fold(two, 0.9) is None
    few = found.of(np.arange(ROWS) < 30)
    assert half_widths_out_of_fold(few, 0.9) is None


def test_one_fold_still_gives_an_interval(network):
    found = errors(1, True)
    scale, rows = interval(network, found.of(found.fold == 0), 0.9)
    assert scale > 0 and rows == (found.fold == 0).sum()
