"""Batches accumulated before a step of the optimiser count as their mean, to the end of every epoch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_workspace import make_settings

from packshot.config import TrainingSettings
from packshot.training import fit as module
from packshot.training.checkpoint import load_checkpoint
from packshot.training.dataset import load_dataset, load_pairs
from packshot.training.distributed import Ranks
from packshot.training.features import build_features
from packshot.training.fit import Task, _Loop, _MicroStep, fit
from packshot.training.recorder import NullRecorder
from packshot.training.run import _started, _task
from packshot.training.sources import KeptFeatures


@pytest.fixture
def task(workspace: Path) -> Task:
    build_features(make_settings(), workspace)
    return _task(load_dataset(workspace, make_settings().profiles["own"]), load_pairs(workspace))


def accumulating(count: int) -> TrainingSettings:
    training = make_settings().training
    recipe = training.chosen.model_copy(update={"accumulate": count, "batch_size": 8, "enhance_steps": 5, "epochs": 2})
    return training.model_copy(update={"recipes": {"tiny": recipe}})


def loop_of(task: Task, training: TrainingSettings) -> _Loop:
    network = _started(make_settings(), task)
    source = KeptFeatures(network, task.data, task.pairs)
    return _Loop(network, task, source, training, None, NullRecorder(), Ranks(), True)


def test_the_gradient_is_that_of_the_mean_of_the_batches(task, monkeypatch):
    loop = loop_of(task, accumulating(2))
    loop._begin()
    loop.network.eval()
    monkeypatch.setattr(loop.optimiser, "step", lambda: None)
    monkeypatch.setattr(module, "GRADIENT_NORM", float("inf"))
    totals: dict[str, list[float]] = {}
    steps = [_MicroStep(True, True, 0.0), _MicroStep(False, True, 0.5)]
    loop._descend(steps, np.random.default_rng(5), totals)
    assert len(totals["enhance"]) == 2 and len(totals["quality"]) == 1
    learned = {name: each for name, each in loop.network.named_parameters() if each.requires_grad}
    generator = np.random.default_rng(5)
    losses = [loop.step(generator, each.perceive, each.enhance)[0] for each in steps]
    expected = torch.autograd.grad(sum(losses) / 2, list(learned.values()), allow_unused=True)
    seen = 0
    for (name, parameter), gradient in zip(learned.items(), expected, strict=True):
        assert (parameter.grad is None) == (gradient is None), name
        if gradient is not None:
            seen += int(gradient.abs().max() > 0)
            assert torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-7), name
    assert seen > 10


def test_what_is_left_at_the_end_of_an_epoch_makes_a_step_too(task, monkeypatch):
    loop = loop_of(task, accumulating(3))
    sizes: list[int] = []
    descend = loop._descend
    monkeypatch.setattr(loop, "_descend", lambda steps, *rest: (sizes.append(len(steps)), descend(steps, *rest)))
    loop.run()
    assert sizes == [3, 2] * 2


def test_a_broken_run_goes_on_to_the_same_weights(task, tmp_path, monkeypatch):
    def run(folder: Path) -> None:
        network = _started(make_settings(), task)
        fit(
            network, task, KeptFeatures(network, task.data, task.pairs), accumulating(3), checkpoints=folder, quiet=True
        )

    run(tmp_path / "whole")
    keep = _Loop._keep

    def broken(loop: _Loop) -> None:
        keep(loop)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_Loop, "_keep", broken)
        run(tmp_path / "broken")
    assert load_checkpoint(tmp_path / "broken").state["epoch"] == 1
    run(tmp_path / "broken")
    whole, resumed = (load_checkpoint(tmp_path / name) for name in ("whole", "broken"))
    assert whole.state == resumed.state and whole.tensors.keys() == resumed.tensors.keys()
    for name, value in whole.tensors.items():
        assert torch.equal(value.nan_to_num(), resumed.tensors[name].nan_to_num()), name  # NaN: a task that is absent
