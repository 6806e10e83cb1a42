import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_network import save_small_bundle, small_architecture
from small_workspace import picture

from packshot.bundle import Judge, read_record
from packshot.evaluation.metrics import psnr
from packshot.inference.openvino_runtime import open_openvino
from packshot.inference.torch_runtime import open_torch, source_of
from packshot.trained import read_trained

WHITE = np.full((80, 60, 3), 255, np.uint8)
ODD = {
    "one pixel": np.full((1, 1, 3), 90, np.uint8),
    "a line": np.random.default_rng(0).integers(0, 256, (1, 5000, 3)).astype(np.uint8),
    "grey": np.repeat(picture(1, 0, 0.0)[..., :1], 3, axis=2),
    "white": WHITE,
    "odd sides": picture(2, 1, 0.0)[:71, :67],
    "large": np.tile(picture(3, 1, 0.5), (3, 5, 1)),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    architecture = small_architecture(long_sides=(64, 48), backbone="efficientnet_lite0+efficientnet_lite2")
    return save_small_bundle(tmp_path_factory.mktemp("bundle"), architecture)


@pytest.fixture(scope="module")
def judges(bundle):
    return Judge.load(bundle, "cpu", 2, open_torch), Judge.load(bundle, "cpu", 2, open_openvino)


def test_openvino_in_f32_judges_as_torch_does(judges):
    expected, found = (judge.judge(list(ODD.values())) for judge in judges)
    for name, one, other in zip(ODD, expected, found, strict=True):
        for score in ("quality", "quality_low", "quality_high", "sharpness", "colour_balance", "detail"):
            assert getattr(other, score) == pytest.approx(getattr(one, score), abs=1e-4), (name, score)
        assert other.style == one.style
        np.testing.assert_allclose(other.style_vector, one.style_vector, atol=1e-4)
        np.testing.assert_allclose(other.embedding, one.embedding, atol=1e-3)


def test_a_score_is_the_same_alone_and_in_a_batch(judges):
    judge = judges[1]
    images = [*ODD.values(), *(picture(number, number % 2, 0.4) for number in range(10, 17))]
    together = [judged.quality for judged in judge.judge(images)]
    alone = [judge.judge([image])[0].quality for image in reversed(images)][::-1]
    assert len(set(together)) > 5
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


def test_openvino_enhances_as_torch_does(bundle):
    network, record = read_trained(bundle), read_record(bundle)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # untrained, the enhancer changes nothing
        for values in (network.enhancer.leave.weight, network.enhancer.luts, network.enhancer.codes_layer[7].weight):
            values.normal_(std=0.05, generator=generator)
    source = source_of(network)
    changed = [Judge(source, record, opened(source, 2)) for opened in (open_torch, open_openvino)]
    for name in ("odd sides", "large", "one pixel"):
        torch_image, openvino_image = (judge.enhance(ODD[name]) for judge in changed)
        assert (torch_image != ODD[name]).any()
        assert psnr(torch_image, openvino_image) > 50, name


def test_openvino_sends_nothing_home(tmp_path):
    script = "import packshot.inference.openvino_runtime, nncf, sys; print(sys.modules.get('openvino_telemetry'))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"HOME": str(tmp_path), "CI": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == "None"
    assert not list(Path(tmp_path).rglob("*telemetry*"))
