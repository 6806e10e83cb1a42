"""The share by which tones are followed: what a wrong guess costs decides, on degraded validation patches."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from small_network import small_architecture

from packshot.model.network import PackshotNet
from packshot.training.dataset import Pairs
from packshot.training.fit import Task
from packshot.training.tone_trust import fit_tone_trust

IMAGES, SIDE, DARKER = 6, 16, 26
"""Copies are darker by this many of 255 levels."""


def network_that_brightens_by(amount: float) -> PackshotNet:
    network = PackshotNet(small_architecture())
    enhancer = network.enhancer
    with torch.no_grad():
        enhancer.codes_layer[-1].weight.zero_()
        enhancer.codes_layer[-1].bias.zero_()
        enhancer.codes_layer[-1].bias[: 3 * (enhancer.points + 1)] = math.atanh(amount)
    return network


def task() -> Task:
    random = np.random.default_rng(0)
    clean = random.integers(80, 180, (IMAGES, 1, SIDE, SIDE, 3)).astype(np.uint8)
    both = np.stack([clean, clean - DARKER], axis=1).reshape(-1, 1, SIDE, SIDE, 3)
    rows = np.arange(2 * IMAGES)
    pairs = Pairs(
        index=pd.DataFrame({"copy": rows % 2, "degradations": np.where(rows % 2, "underexposure:1", "")}),
        stats=torch.zeros(len(rows), 1),
        attributes=torch.ones(len(rows), 3),
        severity=torch.zeros(len(rows)),
        patches=torch.from_numpy(both),
        clean=torch.from_numpy(rows - rows % 2),
    )
    return Task(None, pairs, rows[:0], rows[:0], rows[:0], rows, enhance=True)


@pytest.mark.parametrize(
    ("guess", "best"), [(DARKER / 255, 1.0), (2 * DARKER / 255, 0.5), (-DARKER / 255, 0.0), (4 * DARKER / 255, 0.25)]
)
def test_the_share_is_the_one_that_gains_most(guess, best):
    network = network_that_brightens_by(guess)
    source = SimpleNamespace(pairs=lambda rows: torch.zeros(len(rows), network.trunk.mean.numel()))
    gains = fit_tone_trust(network, task(), source)
    assert float(network.enhancer.tone_trust) == best == max(gains, key=gains.get)
    assert gains[0.0] == pytest.approx(0.0, abs=1e-6)


def test_only_copies_whose_pixels_lie_where_they_lay_can_be_repaired():
    pairs = task().pairs
    steps = ["", "underexposure:1", "jitter:2", "gaussian_noise:1+jpeg:3", "gaussian_blur:2+ripple:1", "jpeg:1"]
    moved = replace(pairs, index=pd.DataFrame({"degradations": steps}))
    assert moved.repairable(np.array([5, 4, 2, 1, 0])).tolist() == [5, 1, 0]
    assert moved.repairable(np.arange(6)).tolist() == [0, 1, 3, 5]


def test_training_follows_tones_in_full():
    network = network_that_brightens_by(0.1)
    codes = network.enhancer.train().codes(torch.zeros(1, small_architecture().trunk_dim))
    assert float(codes.curves.detach().mean()) == pytest.approx(0.1)


def test_half_precision_is_for_training_alone_and_stays_near():
    torch.manual_seed(0)
    enhancer = PackshotNet(small_architecture()).enhancer
    for parameter in enhancer.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    pixels, codes = torch.rand(2, 3, 32, 32), enhancer.eval().codes(torch.zeros(2, small_architecture().trunk_dim))
    full = {mode: enhancer.train(mode)(pixels, codes) for mode in (True, False)}
    enhancer.half_precision = True
    half = {mode: enhancer.train(mode)(pixels, codes) for mode in (True, False)}
    assert torch.equal(half[False], full[False])
    assert half[True].dtype == torch.float32 and not torch.equal(half[True], full[True])
    assert torch.allclose(half[True], full[True], atol=0.02)
