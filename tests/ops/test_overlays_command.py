"""`packshot overlays`: a network from the train split of sets that anybody may use."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from small_workspace import make_settings
from tiny_mirror import make_mirror

from packshot.config import Settings
from packshot.inference.overlay_spotter import load_overlay_spotter
from packshot.inference.weights import read_weights
from packshot.ops import overlays
from packshot.training.overlay_network import teach


def test_a_network_is_taught_written_and_taught_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    raw = make_settings().model_dump(mode="json")
    raw["source"] |= {"use": "mirror", "mirror": str(make_mirror(tmp_path / "mirror", 90))}
    settings = Settings.model_validate(raw)
    seen: list[int] = []

    def taught(images, others, *rest, **named):  # type: ignore[no-untyped-def]
        seen.extend((len(images), len(others)))
        return partial(teach, checked=32)(images, others, *rest, **named)

    monkeypatch.setattr(overlays, "teach", taught)
    target = tmp_path / "net.safetensors"
    told = overlays.run(settings, tmp_path / "made", target, copies=48)
    assert told["network"] == str(target) and 0 <= told["auc"] <= 1
    first = read_weights(target)
    assert load_overlay_spotter(target).spot(np.zeros((60, 80, 3), np.uint8)).probability <= 1
    assert seen[0] > seen[1] > 0
    overlays.run(settings, tmp_path / "made", target, copies=48, go_on=True)
    second = read_weights(target)
    moved = abs(second["stem.weight"] - first["stem.weight"]).max()
    assert first.keys() == second.keys() and 0 < moved < abs(first["stem.weight"]).max()
