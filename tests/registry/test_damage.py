from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from packshot.evaluation.digest import bundle_digest
from packshot.registry.damage import NothingToDamage, damaged_copy


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    torch.manual_seed(0)
    weights = {
        "quality.weight": torch.randn(8, 8),
        "style_space.steps": torch.arange(3),
        "enhancer.lut": torch.randn(4),
    }
    save_file(weights, folder / "weights.safetensors")
    (folder / "bundle.json").write_text("{}")
    return folder


def test_damage_hits_the_heads_only_and_is_repeatable(bundle: Path, tmp_path: Path) -> None:
    before, intact = load_file(bundle / "weights.safetensors"), bundle_digest(bundle)
    after = load_file(damaged_copy(bundle, tmp_path / "one", seed=3) / "weights.safetensors")
    assert torch.equal(before["enhancer.lut"], after["enhancer.lut"])
    assert torch.equal(before["style_space.steps"], after["style_space.steps"])
    pair = torch.stack([before["quality.weight"].flatten(), after["quality.weight"].flatten()])
    assert torch.corrcoef(pair)[0, 1].abs() < 0.6
    damaged_copy(bundle, tmp_path / "two", seed=3)
    damaged_copy(bundle, tmp_path / "three", seed=4)
    digests = [bundle_digest(tmp_path / name) for name in ("one", "two", "three")]
    assert digests[0] == digests[1] != digests[2]
    assert bundle_digest(bundle) == intact not in digests


def test_a_bundle_without_heads_is_named(bundle: Path, tmp_path: Path) -> None:
    save_file({"other": torch.zeros(2)}, bundle / "weights.safetensors")
    with pytest.raises(NothingToDamage, match="other"):
        damaged_copy(bundle, tmp_path / "out", seed=1)
