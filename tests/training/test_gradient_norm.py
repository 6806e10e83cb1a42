"""A score that shall be less steep is: in closed form and by the fit; with a weight of 0 nothing is changed."""

import numpy as np
import pytest
import torch
from small_network import small_architecture
from small_workspace import make_settings
from test_warm_start import PICTURES, made_up

from packshot.model.network import PackshotNet
from packshot.training.closed_form import _mean_slope, kernel_ridge, squared_distances
from packshot.training.fit import Task, fit
from packshot.training.sources import KeptFeatures
from packshot.training.warm_start import warm_start

NONE = np.zeros(0, dtype=np.int64)


@pytest.fixture
def problem():
    random = np.random.default_rng(0)
    z = random.normal(size=(120, 4)) / np.sqrt(8)
    return z, (np.sin(4 * z[:, :1]) + 0.3 * random.normal(size=(120, 1)))


def slope(z, y, steepness):
    fitted = kernel_ridge(z, y, 200, 0, steepness)
    return _mean_slope(z, np.exp(-fitted.gamma * squared_distances(z, z)), fitted.weights, fitted.gamma)


def test_the_kernel_is_less_steep_the_more_that_counts(problem):
    z, y = problem
    slopes = [slope(z, y, weight) for weight in (0.0, 0.3, 3.0)]
    assert slopes[0] >= slopes[1] >= slopes[2] and slopes[2] < 0.7 * slopes[0]


def test_the_slope_of_a_kernel_machine_is_that_of_autograd(problem):
    z, y = problem
    fitted = kernel_ridge(z, y, 200, 0)
    points, landmarks = torch.tensor(z, requires_grad=True), torch.tensor(fitted.landmarks)
    squared = ((points[:, None] - landmarks[None]) ** 2).sum(dim=2)
    score = torch.exp(-fitted.gamma * squared) @ torch.tensor(fitted.weights)
    (gradient,) = torch.autograd.grad(score.sum(), points)
    assert slope(z, y, 0.0) == pytest.approx(float(gradient.norm(dim=1).mean()), rel=1e-6)


def test_the_fit_lowers_the_gradient_where_the_loss_says_so():
    training = make_settings().training
    recipe = training.chosen.model_copy(update={"learning_rate": 0.003, "warm_lr_factor": 1.0, "epochs": 6})
    found = {}
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        network = PackshotNet(small_architecture(landmarks=64))
        network.backbone.requires_grad_(False)
        data, _ = made_up(network)
        warm_start(network, data, np.arange(60), None, NONE, seed=0)
        loss = training.loss.model_copy(update={"gradient_norm": weight, "quality": 0.1})
        settings = training.model_copy(update={"loss": loss, "recipes": {"tiny": recipe}})
        task = Task(data, None, np.arange(50), np.arange(50, 60), NONE, NONE, enhance=False)
        history = fit(network, task, KeptFeatures(network, data, None), settings, quiet=True).history
        with torch.no_grad():
            found[weight] = float(network.steepness(data.stats[60:PICTURES]))
        assert ("validation/gradient_norm_loss" in history[-1]) == bool(weight)
    assert found[10.0] < 0.9 * found[0.0]
