"""Features are kept in halves: a change to one does not cost the other."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_network import small_architecture
from small_workspace import picture

from packshot.model.network import PackshotNet
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.training import layout
from packshot.training.dataset import load_dataset, load_pairs
from packshot.training.extraction import Extractor
from packshot.training.faults import load_planted
from packshot.training.features import build_features


def test_new_signal_statistics_do_not_ask_the_backbone_again(settings, workspace, monkeypatch):
    build_features(settings, workspace)
    before = [(workspace / path).read_bytes() for path in (layout.INDEX, layout.PAIR_INDEX)]
    data, pairs = load_dataset(workspace, settings.profiles["own"]), load_pairs(workspace)
    assert data.stats.shape[1] == pairs.stats.shape[1]
    # damage shows in the pixels: copies differ from the first of their picture
    assert (pairs.stats[1, -SIGNAL_SIZE:] - pairs.stats[0, -SIGNAL_SIZE:]).abs().max() > 0.05
    asked = []
    signal, of = Extractor.signal, Extractor.of
    monkeypatch.setattr(Extractor, "backbone", lambda *_: pytest.fail("the backbone was asked again"))
    monkeypatch.setattr(Extractor, "signal", lambda each, pixels: asked.append(1) or signal(each, pixels))
    build_features(settings, workspace)
    assert not asked, "everything is kept"
    monkeypatch.setattr(Extractor, "of", lambda *given: replace(of(*given), signal_key="another"))
    build_features(settings, workspace)
    assert len(asked) == len(data.index) + len(pairs.index) + len(load_planted(workspace).signal)
    again, copies = load_dataset(workspace, settings.profiles["own"]), load_pairs(workspace)
    assert again.stats.equal(data.stats) and copies.stats.equal(pairs.stats) and copies.patches.equal(pairs.patches)
    assert before == [(workspace / path).read_bytes() for path in (layout.INDEX, layout.PAIR_INDEX)]


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "efficientnet_lite0+efficientnet_lite2"])
def test_features_are_those_of_the_network(backbone):
    torch.manual_seed(0)
    network = PackshotNet(small_architecture(long_sides=(64, 48), backbone=backbone)).eval()
    extractor = Extractor.of(network, 2)
    for number in range(4):
        image = picture(number, number % 2, 0.3 * number)
        with torch.inference_mode():
            expected = network.features(image)
        found = extractor(image)
        for name in ("stats", "gram"):
            values = getattr(expected, name)[0].numpy()
            assert found[name].dtype == np.float16
            np.testing.assert_allclose(found[name], values, rtol=2e-3, atol=2e-3 * np.abs(values).std())
