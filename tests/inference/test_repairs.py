"""Ways to repair: each undoes what it is for, at any size, and the network is asked once."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from small_network import small_architecture

from packshot.evaluation.metrics import psnr
from packshot.inference import repairs as module
from packshot.inference.heads import Heads
from packshot.inference.openvino_runtime import open_openvino
from packshot.inference.repairs import Repair, gains_of, names, repairs
from packshot.inference.tones import Codes, Tones
from packshot.inference.torch_runtime import source_of
from packshot.inference.weights import Source
from packshot.model.network import PackshotNet

Image = np.ndarray


def textured(height: int = 120, width: int = 160) -> Image:
    generator = np.random.default_rng(0)
    grain = generator.normal(0, 60, (height, width, 3))
    return np.clip(128 + cv2.GaussianBlur(grain, (0, 0), 1.5) * 4, 8, 247).astype(np.uint8)


@pytest.fixture
def network() -> Source:
    torch.manual_seed(0)
    network = PackshotNet(small_architecture()).eval()
    for values in (network.enhancer.leave.weight, network.enhancer.luts, network.enhancer.codes_layer[7].weight):
        torch.nn.init.normal_(values, std=0.05)
    return source_of(network)


def ways(network: Source, asked: list[Codes] | None = None) -> tuple[dict[str, Repair], Codes]:
    heads, runtime = Heads(network), open_openvino(network, 1)
    stats = np.random.default_rng(1).normal(size=(1, len(network.weights["trunk.mean"]))).astype(np.float32)
    codes = heads.codes(stats)

    def enhanced(image: Image, chosen: Codes) -> Image:
        if asked is not None:
            asked.append(chosen)
        return runtime.enhanced(image, chosen, heads.tones(chosen))

    return {each.name: each for each in repairs(enhanced, lambda: (codes, heads.tones(codes)))}, codes


def test_all_ways_are_named_and_mend_something(network: Source) -> None:
    found, _ = ways(network)
    assert tuple(found) == names()
    assert all(each.mends for each in found.values())


@pytest.mark.parametrize("exponent", module.LIFTS)
def test_light_is_brought_back(network: Source, exponent: float) -> None:
    clean = textured()
    dark = np.rint(255 * (clean / 255) ** (1 / exponent)).astype(np.uint8)
    lifted = ways(network)[0][f"lift {exponent:g}"].apply(dark, 1.0)
    assert psnr(clean, lifted) > psnr(clean, dark) + 15


@pytest.mark.parametrize("sigma", module.FOCUS)
def test_focus_is_brought_back(network: Source, sigma: float) -> None:
    clean = textured()
    blurred = cv2.GaussianBlur(clean, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    found, _ = ways(network)
    gains = {name: psnr(clean, way.apply(blurred, 1.0)) - psnr(clean, blurred) for name, way in found.items()}
    best = max((name for name in gains if name.startswith("focus")), key=gains.__getitem__)
    assert best == f"focus {sigma:g}" and gains[best] > 1.5


def test_a_picture_twice_as_large_is_out_of_focus_by_twice_the_pixels(network: Source) -> None:
    way = ways(network)[0]["focus 0.8"].apply
    other = module._refocused(1.6)
    assert np.array_equal(way(textured(), 2.0), other(textured(), 1.0))


def test_parts_leave_no_seams(network: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    blurred = cv2.GaussianBlur(textured(), (0, 0), 1.2)
    way = ways(network)[0]["focus 1.2"].apply
    whole = way(blurred, 1.0)
    monkeypatch.setattr(module, "STRIP", 50)
    assert np.abs(way(blurred, 1.0).astype(int) - whole).max() <= 2


def test_detail_leaves_tones_alone_tones_leave_detail_alone_and_the_network_is_asked_once(network: Source) -> None:
    asked: list[Codes] = []
    found, codes = ways(network, asked)
    image = textured()
    detail, tones, both = (found[name].apply(image, 1.0) for name in ("detail", "tones", "both"))
    assert len(asked) == 1 and not asked[0].curves.any() and not asked[0].mixture.any()
    flat = np.full_like(image, 90)
    assert np.unique(found["tones"].apply(flat, 1.0).reshape(-1, 3), axis=0).shape[0] == 1
    assert np.array_equal(both, found["tones"].apply(detail, 1.0))
    assert not np.array_equal(tones, image) and not np.array_equal(detail, image)
    assert np.array_equal(codes.without_tones().modulation, codes.modulation)


def test_another_picture_is_not_given_the_repair_of_the_last(network: Source) -> None:
    detail: Callable[[Image, float], Image] = ways(network)[0]["detail"].apply
    first, second = textured(), textured()[::-1].copy()
    alone = ways(network)[0]["detail"].apply
    assert not np.array_equal(detail(first, 1.0), detail(second, 1.0))
    assert detail(second, 1.0).shape == alone(second, 1.0).shape


def test_what_nothing_mends_is_not_tried_and_blur_is_left_to_the_formula(network: Source) -> None:
    found, _ = ways(network)
    for_blur = {name for name, each in found.items() if "blur" in each.mends}
    assert for_blur == {f"focus {sigma:g}" for sigma in module.FOCUS}
    assert not any("compression" in each.mends for each in found.values())


def test_the_network_is_not_asked_by_ways_that_need_none() -> None:
    def said() -> tuple[Codes, Tones]:
        raise AssertionError("asked")

    found = {each.name: each for each in repairs(lambda image, codes: image, said)}
    found["focus 0.8"].apply(np.zeros((40, 40, 3), np.uint8), 1.0)
    with pytest.raises(AssertionError, match="asked"):
        found["tones"].apply(np.zeros((40, 40, 3), np.uint8), 1.0)


def test_stronger_ways_are_tried_until_one_is_harmful_or_does_more_harm(network: Source) -> None:
    found, _ = ways(network)
    gains = dict(zip(names(), (1, 2, 3, -0.2, -0.25, 9, 9, -0.5, 4, -0.2, -0.1, 0.5, 0.4), strict=True))
    tried = gains_of(found.values(), lambda way: gains[way.name])
    left_out = {"lift 0.47", "lift 0.37", "dim 1.8"}
    assert [(way.name, gain) for way, gain in tried] == [each for each in gains.items() if each[0] not in left_out]
    assert gains_of([], lambda way: 0.0) == []
