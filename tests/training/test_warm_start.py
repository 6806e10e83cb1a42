"""The closed-form start: what the copies teach is known before the first epoch."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from small_network import small_architecture

from packshot.model.network import PackshotNet
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.model.text import TEXT_SIZES
from packshot.training import warm_start as module
from packshot.training.axes import DAMAGE, QUALITY
from packshot.training.closed_form import kernel_ridge
from packshot.training.dataset import Dataset, Pairs
from packshot.training.warm_start import refit_quality, warm_start

PICTURES, COPIES = 80, 6


@pytest.fixture
def network() -> PackshotNet:
    torch.manual_seed(0)
    return PackshotNet(small_architecture(trunk_dim=24, landmarks=64, attribute_landmarks=300))


def made_up(network: PackshotNet) -> tuple[Dataset, Pairs]:
    """Statistics in which quality is one direction, and damage to each attribute another."""
    random = torch.Generator().manual_seed(1)
    size, gram = network.trunk.linear.in_features, network.style_space.reduction.in_features
    directions = torch.randn(4, size, generator=random)
    quality = torch.rand(PICTURES, generator=random)
    stats = torch.randn(PICTURES, size, generator=random) + 4 * quality[:, None] * directions[0]
    index = pd.DataFrame({"group": [f"g{n}" for n in range(PICTURES)], "source": "own", "subset": None})
    data = Dataset(
        index=index,
        stats=stats,
        gram=torch.rand(PICTURES, gram, generator=random),
        text=torch.zeros(PICTURES, 0),
        has_text=torch.zeros(PICTURES, 1),
        quality=quality,
        style=torch.arange(PICTURES) % 2,
        source=torch.zeros(PICTURES, dtype=torch.int64),
        styles=("a", "b"),
    )
    attributes = torch.ones(PICTURES * COPIES, 3)
    copies = stats.repeat_interleave(COPIES, dim=0).clone()
    for row in range(len(copies)):
        copy = row % COPIES
        if copy:
            harm = float(torch.rand((), generator=random))
            attributes[row, copy % 3] = 1 - harm
            copies[row] += 4 * harm * directions[1 + copy % 3]
    pairs = Pairs(
        index=pd.DataFrame({"copy": np.arange(len(copies)) % COPIES}),
        stats=copies,
        attributes=attributes,
        severity=1 - attributes.min(dim=1).values,
        patches=torch.zeros(0),
        clean=torch.arange(len(copies)) // COPIES * COPIES,
    )
    return data, pairs


@pytest.mark.parametrize("people", [True, False])
def test_kernels_are_told_which_copies_are_of_one_picture(network, monkeypatch, people):
    data, pairs = made_up(network)
    if not people:
        data = replace(data, quality=torch.full_like(data.quality, torch.nan))
    told = []
    monkeypatch.setattr(module, "kernel_ridge", lambda *given: told.append(given[-1]) or kernel_ridge(*given))
    warm_start(network, data, np.arange(60), pairs, np.arange(60 * COPIES), seed=0)
    attributes, quality = told
    of_copies = np.repeat(np.arange(60) * COPIES, COPIES)
    assert np.array_equal(attributes, of_copies)
    assert np.array_equal(quality, np.arange(60) if people else of_copies)


def test_attributes_and_quality_are_known_from_the_start(network):
    data, pairs = made_up(network)
    learn, test = np.arange(60), np.arange(60, PICTURES)
    warm_start(network, data, learn, pairs, np.arange(60 * COPIES), seed=0)
    unseen = np.arange(60 * COPIES, PICTURES * COPIES)
    with torch.inference_mode():
        aspects = network.aspects(pairs.stats[unseen])
        quality = network.overall(network.trunk(data.stats[test]))
    assert ((aspects > 0) & (aspects < 1)).all()
    for each in range(3):
        assert spearmanr(aspects[:, each], pairs.attributes[unseen][:, each]).statistic > 0.5, each
    assert spearmanr(quality, data.quality[test]).statistic > 0.8


def test_a_trunk_sees_the_signal_first_and_in_its_share(network):
    data, pairs = made_up(network)
    learn, copies = np.arange(PICTURES), np.arange(PICTURES * COPIES)
    warm_start(network, data, learn, pairs, copies, seed=0)
    seen = {network.trunk: (data.stats, QUALITY), network.damage: (torch.cat([data.stats, pairs.stats]), DAMAGE)}
    for trunk, (stats, shape) in seen.items():
        weight = trunk.linear.weight.detach()
        of_signal = len(weight) // 2
        assert not weight[:of_signal, :-SIGNAL_SIZE].any() and not weight[of_signal:, -SIGNAL_SIZE:].any()
        spread = trunk(stats).detach().var(dim=0)
        assert spread[:of_signal].sum() / spread[of_signal:].sum() == pytest.approx(shape.signal**2, rel=1e-3)


def test_the_quality_head_is_solved_again_with_rows_that_stopped_the_training(network):
    data, pairs = made_up(network)
    none = np.zeros(0, dtype=np.int64)
    warm_start(network, data, np.arange(30), pairs, none, seed=0)
    before = network.overall(network.trunk(data.stats[30:60])).detach()
    refit_quality(network, data, np.arange(60), pairs, none, seed=0)
    after = network.overall(network.trunk(data.stats[30:60])).detach()
    error = [float((each - data.quality[30:60]).abs().mean()) for each in (before, after)]
    assert error[1] < 0.9 * error[0]


def test_the_axes_of_drift_know_kinds_of_pictures_that_nobody_scored(network):
    data, pairs = made_up(network)
    random = torch.Generator().manual_seed(5)
    other = torch.randn(data.stats.shape[1], generator=random)
    data.stats[60:] += 3 * other
    data.quality[60:] = torch.nan
    warm_start(network, data, np.arange(PICTURES), pairs, np.arange(60 * COPIES), seed=0)
    seen = network.embed(data.stats)
    between = (seen[:60].mean(dim=0) - seen[60:].mean(dim=0)).norm()
    within = (seen[60:] - seen[60:].mean(dim=0)).norm(dim=1).mean()
    assert between > 2 * within


def test_text_is_known_from_the_start_and_where_it_is_missing_nothing_changes():
    torch.manual_seed(0)
    network = PackshotNet(small_architecture(text_encoder="minilm", style_classifier="mlp", text_dim=8)).eval()
    data, _ = made_up(network)
    random = torch.Generator().manual_seed(2)
    style = torch.randint(2, (PICTURES,), generator=random)
    names = torch.nn.functional.normalize(torch.randn(2, TEXT_SIZES["minilm"], generator=random), dim=1)
    has_text = (torch.arange(PICTURES) % 4 > 0).float()[:, None]
    silent = replace(data, style=style)
    told = replace(silent, text=names[style] * has_text, has_text=has_text)
    learn, test, none = np.arange(60), np.arange(60, PICTURES), np.zeros(0, dtype=np.int64)

    def logits(*text: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return network.style(network.trunk(data.stats[test]), data.gram[test], *text)[1]

    warm_start(network, silent, learn, None, none, seed=0)
    pictures = logits()
    assert torch.equal(logits(told.text[test], has_text[test]), pictures), "nothing was learned of text"
    warm_start(network, told, learn, None, none, seed=0)
    assert torch.equal(logits(), pictures)
    seen = has_text[test][:, 0] > 0
    right = logits(told.text[test], has_text[test]).argmax(dim=1) == style[test]
    assert right[seen].float().mean() > 0.9 > (pictures.argmax(dim=1) == style[test]).float().mean()
    assert torch.equal(logits(told.text[test], has_text[test])[~seen], pictures[~seen])
