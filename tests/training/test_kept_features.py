"""Features are kept in halves: a change to one does not cost the other."""

from dataclasses import replace

import pytest

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
    monkeypatch.setattr(Extractor, "of", lambda network: replace(of(network), signal_key="another"))
    build_features(settings, workspace)
    assert len(asked) == len(data.index) + len(pairs.index) + len(load_planted(workspace).signal)
    again, copies = load_dataset(workspace, settings.profiles["own"]), load_pairs(workspace)
    assert again.stats.equal(data.stats) and copies.stats.equal(pairs.stats) and copies.patches.equal(pairs.patches)
    assert before == [(workspace / path).read_bytes() for path in (layout.INDEX, layout.PAIR_INDEX)]
