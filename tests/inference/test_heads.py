"""The heads in numpy say what the torch network says, and curves and tables do what its own do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_network import small_architecture

from packshot.inference.features import Features
from packshot.inference.heads import Heads
from packshot.inference.tones import Tones, enhance_tiled
from packshot.inference.torch_runtime import source_of
from packshot.inference.weights import Source, WeightsUnreadable
from packshot.model.architecture import Architecture
from packshot.model.network import Features as TorchFeatures
from packshot.model.network import PackshotNet

CHANGES = (
    {},
    {"style_classifier": "mlp", "quality_heads": 3, "text_encoder": "minilm"},
    {"styles": (), "lut_size": 9, "lut_count": 6, "curve_points": 8, "residual_blocks": 3},
)


def filled(architecture: Architecture) -> PackshotNet:
    """A network of which no array is zero, so that none can be forgotten."""
    torch.manual_seed(3)
    network = PackshotNet(architecture).eval()
    with torch.no_grad():
        for values in network.state_dict().values():
            values.add_(torch.randn_like(values) * 0.1)
        network.trunk.scale.abs_()
        network.trunk.unit.fill_(1.7)
        network.damage.unit.fill_(0.6)
    return network.requires_grad_(False)


def seen(network: PackshotNet, count: int) -> TorchFeatures:
    generator = torch.Generator().manual_seed(5)
    sizes = (len(network.trunk.mean), len(network.style_space.centre))
    return TorchFeatures(*(torch.randn(count, size, generator=generator) for size in sizes))


@pytest.mark.parametrize("changes", CHANGES)
def test_heads_say_what_the_network_says(changes: dict[str, object]) -> None:
    network = filled(small_architecture(**changes))
    features, count = seen(network, 7), 7
    text = torch.randn(count, len(network.text.projection.weight[0]))
    mask = (torch.arange(count) % 2).float()[:, None]
    for told in ((None, None), (text, mask)):
        expected = network.perceive(features, *told)
        found = Heads(source_of(network)).perceive(
            Features(features.stats.numpy(), features.gram.numpy()),
            *(None if each is None else each.numpy() for each in told),
        )
        for name in ("quality", "attributes", "logits", "style"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name).numpy(), atol=2e-5, err_msg=name)
            assert getattr(found, name).dtype == np.float32
    np.testing.assert_allclose(found.embedding, network.embed(features.stats).numpy(), atol=1e-4)
    error = network.expected_error(network.trunk(features.stats)).numpy()
    np.testing.assert_allclose(found.expected_error, error, atol=1e-5)


def test_one_quality_head_can_be_asked_for_each_picture() -> None:
    network = filled(small_architecture(quality_heads=3))
    features, chosen = seen(network, 4), [2, -1, 0, 1]
    expected = network.overall(network.trunk(features.stats), torch.tensor(chosen)).numpy()
    found = Heads(source_of(network)).perceive(Features(features.stats.numpy(), features.gram.numpy()), heads=chosen)
    np.testing.assert_allclose(found.quality, expected, atol=1e-5)
    assert len(np.unique(found.quality.round(4))) == 4


@pytest.mark.parametrize("changes", CHANGES)
def test_codes_and_tones_are_those_of_the_enhancer(changes: dict[str, object]) -> None:
    network = filled(small_architecture(**changes))
    stats = seen(network, 1).stats
    expected = network.enhancer_codes(stats)
    heads = Heads(source_of(network))
    codes = heads.codes(stats.numpy())
    for name in ("curves", "mixture", "modulation"):
        np.testing.assert_allclose(
            getattr(codes, name).ravel(), getattr(expected, name).numpy().ravel(), atol=1e-5, err_msg=name
        )
    values = np.random.default_rng(0).uniform(-0.1, 1.1, (40, 30, 3)).astype(np.float32)
    values[0, :3] = [[0, 0, 0], [1, 1, 1], [0.5, 1, 0]]  # the ends of curves and tables
    toned = network.enhancer.toned(torch.from_numpy(values).permute(2, 0, 1)[None], expected)
    found = heads.tones(codes).apply(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, toned[0].permute(1, 2, 0).numpy(), atol=2e-5)
    assert np.abs(found - values).max() > 0.01


def test_codes_without_tones_leave_tones_alone() -> None:
    network = filled(small_architecture())
    heads = Heads(source_of(network))
    codes = heads.codes(seen(network, 1).stats.numpy()).without_tones()
    values = np.random.default_rng(0).uniform(0, 1, (8, 8, 3)).astype(np.float32)
    assert np.array_equal(heads.tones(codes).apply(values), values)


def test_tiles_leave_no_seams_and_what_is_not_finite_keeps_its_input() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    still = Tones(np.zeros((3, 5), np.float32), np.zeros((3, 3, 3, 3), np.float32))
    told = np.zeros((1, 1, 2, 8), np.float32)

    def blurred(tile: np.ndarray, modulation: np.ndarray) -> np.ndarray:
        values = tile.astype(np.float32) / 255
        change = np.zeros_like(values)
        change[2:-2, 2:-2] = (values[:-4, 2:-2] + values[4:, 2:-2]) / 2 - values[2:-2, 2:-2]
        return change

    whole = enhance_tiled(image, still, told, blurred, 2)
    assert np.array_equal(enhance_tiled(image, still, told, blurred, 2, tile=16)[4:-4, 4:-4], whole[4:-4, 4:-4])

    def broken(tile: np.ndarray, modulation: np.ndarray) -> np.ndarray:
        change = np.full(tile.shape, 0.2, np.float32)
        change[..., 1] = np.nan
        return change

    found = enhance_tiled(image, still, told, broken, 0)
    assert np.array_equal(found[..., 1], image[..., 1])
    assert (found[..., 0] >= image[..., 0]).all() and (found[..., 0] != image[..., 0]).any()


@pytest.mark.parametrize("name", ["quality.landmarks", "embedding", "enhancer.luts", "classifier.linear.weight"])
def test_weights_of_another_network_are_refused(name: str) -> None:
    source = source_of(filled(small_architecture()))
    missing = {key: values for key, values in source.weights.items() if key != name}
    with pytest.raises(WeightsUnreadable, match=name.split(".", maxsplit=1)[-1]):
        Heads(Source(source.architecture, missing))
    other = {**source.weights, name: np.repeat(source.weights[name], 2, axis=0)[1:]}
    with pytest.raises(WeightsUnreadable, match="of another network"):
        Heads(replace(source, weights=other))


def test_a_picture_alone_is_told_what_it_is_told_among_others() -> None:
    network = filled(small_architecture(landmarks=400, attribute_landmarks=400))
    # as of trained networks: far from the origin, near to landmarks, weights of both signs that cancel
    weights = dict(source_of(network).weights)
    generator = np.random.default_rng(0)
    for name in ("quality", "attributes"):
        weights[f"{name}.landmarks"] = (20 + generator.normal(size=(400, 12))).astype(np.float32)
        weights[f"{name}.weights"] = generator.normal(size=weights[f"{name}.weights"].shape).astype(np.float32)
    for name in ("trunk", "damage"):
        weights[f"{name}.linear.weight"] = np.zeros((12, len(weights["trunk.mean"])), np.float32)
        weights[f"{name}.linear.weight"][:, :12] = np.eye(12)
        weights[f"{name}.mean"] = np.zeros_like(weights[f"{name}.mean"])
        weights[f"{name}.scale"] = np.ones_like(weights[f"{name}.scale"])
        weights[f"{name}.unit"] = np.float32(0.2) * np.ones_like(weights[f"{name}.unit"])
    heads = Heads(Source(network.architecture, weights))
    stats = np.zeros((9, len(weights["trunk.mean"])), np.float32)
    stats[:, :12] = 4 + generator.normal(size=(9, 12)) * 0.2
    gram = np.zeros((9, len(weights["style_space.centre"])), np.float32)
    together = heads.perceive(Features(stats, gram))
    for row in range(9):
        alone = heads.perceive(Features(stats[row : row + 1], gram[row : row + 1]))
        for name in ("quality", "attributes"):
            np.testing.assert_allclose(getattr(alone, name)[0], getattr(together, name)[row], rtol=0, atol=1e-6)
