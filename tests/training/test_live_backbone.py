"""The path that CUDA takes, on a CPU: upper stages learn from the images themselves."""

import cv2
import numpy as np
import torch
from small_workspace import make_settings

from packshot.training.checkpoint import load_checkpoint
from packshot.training.dataset import load_dataset, load_pairs
from packshot.training.features import build_features
from packshot.training.fit import Task, fit
from packshot.training.run import _started
from packshot.training.sources import KeptFeatures, LiveFeatures


def test_live_features_match_the_kept_ones_and_the_upper_stages_learn(workspace):
    settings = make_settings(seed=3)
    build_features(settings, workspace)
    data, pairs = load_dataset(workspace, settings.profiles["own"]), load_pairs(workspace)
    learn, stop = data.of_splits("train")[:12], data.of_splits("validation")[:6]
    task = Task(data, pairs, learn, stop, pairs.of_split("train")[:6], pairs.of_split("validation")[:3], True)
    network = _started(settings, task)
    network.backbone.freeze(5)

    def opener(path):
        return cv2.imread(str(workspace / "data/raw/images" / path))[..., ::-1]

    live = LiveFeatures(network, data, pairs, opener, settings.training.chosen, settings.training.seed)
    kept = KeptFeatures(network, data, pairs)
    with torch.no_grad():
        assert torch.allclose(live.rows(stop).stats, kept.rows(stop).stats, atol=2e-2, rtol=2e-3)
        assert torch.allclose(live.rows(stop).gram, kept.rows(stop).gram, atol=2e-3)
        rows = np.array([0, 1, 2])
        assert torch.allclose(live.pairs(rows), kept.pairs(rows), atol=2e-2, rtol=2e-3)
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}
    short = settings.training.model_copy(
        update={"recipes": {"tiny": settings.training.chosen.model_copy(update={"epochs": 1, "enhance_steps": 1})}}
    )
    folder = workspace / "checkpoints"
    assert len(fit(network, task, live, short, checkpoints=folder, quiet=True).history) == 2
    after = load_checkpoint(folder).part("network.backbone")
    changed = {name.split(".")[1] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"5", "6"}
