"""The network that marks what is laid over a picture: computed as torch computes it, and what its answer means."""

from pathlib import Path

import numpy as np
import pytest
import torch

from packshot.inference.looking import Requests
from packshot.inference.overlay_spotter import (
    SIDE,
    STRIDE,
    OverlaySpotter,
    graph,
    load_overlay_spotter,
    on_page,
    surest,
)
from packshot.inference.weights import WeightsUnreadable, read_weights
from packshot.training.overlay_network import OverlayNetwork, Taught, folded, write_overlay_network


@pytest.fixture(scope="module")
def network() -> OverlayNetwork:
    torch.manual_seed(3)
    network = OverlayNetwork().train()
    for _ in range(3):
        network(torch.randn(2, 3, 64, 64))
    return network.eval()


def test_the_graph_computes_what_the_torch_network_does(network: OverlayNetwork) -> None:
    page = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = network(torch.from_numpy(page).permute(0, 3, 1, 2).float() / 127.5 - 1).numpy()
    with Requests(graph(folded(network)), "f32", 1).one() as request:
        found = request(page)[0]
    assert found.shape == (1, SIDE // STRIDE, SIDE // STRIDE)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_written_network_is_read_again_to_half_precision(network: OverlayNetwork, tmp_path: Path) -> None:
    weights = folded(network) | {"calibration": np.array([1.5, -0.25], np.float32)}
    write_overlay_network(Taught(weights, 0.9, 0.8), tmp_path / "net.safetensors")
    again = read_weights(tmp_path / "net.safetensors")
    assert again.keys() == weights.keys()
    assert again["calibration"].tolist() == [1.5, -0.25]
    for name, values in weights.items():
        assert np.abs(again[name] - values).max() <= 2e-3 * max(1, np.abs(values).max()), name


def test_probability_is_the_calibrated_logit_of_the_surest_places(network: OverlayNetwork) -> None:
    image = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    with Requests(graph(folded(network)), "f32", 1).one() as request:
        logit = surest(request(image[None])[0][0])
    spotter = OverlaySpotter(folded(network) | {"calibration": np.array([2.0, 1.0], np.float32)}, 1)
    assert spotter.spot(image).probability == pytest.approx(1 / (1 + np.exp(-(2 * logit + 1))), abs=1e-6)


def test_a_large_picture_fills_the_page_and_a_small_one_keeps_its_pixels() -> None:
    small = np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    page, height, width = on_page(small)
    assert page.shape == (SIDE, SIDE, 3) and (height, width) == (20, 30)
    assert np.array_equal(page[:20, :30], small)
    assert (page[20:] == np.median(small[-1], axis=0).astype(np.uint8)).all()
    assert on_page(np.zeros((640, 1280, 3), np.uint8))[1:] == (SIDE // 2, SIDE)


def test_few_places_are_all_asked() -> None:
    assert surest(np.array([[1.0, 3.0]], np.float32)) == 2
    assert surest(np.arange(100, dtype=np.float32).reshape(10, 10)) == pytest.approx(np.arange(76, 100).mean())


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnreadable, match=r"gone\.safetensors"):
        load_overlay_spotter(tmp_path / "gone.safetensors")
