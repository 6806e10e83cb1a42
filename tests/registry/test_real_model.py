"""A real (untrained) network through registration, a clean process, and the drill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skilled_models import Shop
from small_network import save_small_bundle, small_architecture

from packshot.bundle import Judge
from packshot.catalog.image import ImageLimits, decode
from packshot.evaluation.digest import bundle_digest
from packshot.registry.damage import damaged_copy
from packshot.registry.models import bundle_path
from packshot.registry.register import register
from packshot.registry.serving_check import measure
from packshot.registry.signature import OUTPUTS, example
from packshot.revision import run_key

ARCHITECTURE = small_architecture(long_sides=(96,), styles=("modern", "rustic"))
LOADS_BY_ALIAS = """
import json, sys
import mlflow, pandas as pd
assert "packshot" not in sys.modules
model = mlflow.pyfunc.load_model("models:/packshot@challenger")
frame = pd.read_parquet(sys.argv[1])
answer = model.predict(frame)
alone = model.predict(frame[["image"]].iloc[[0]])
print(json.dumps({"rows": answer.to_dict("records"), "alone": alone.to_dict("records"),
                  "code": sys.modules["packshot"].__file__}))
"""


@pytest.fixture
def real_bundle(shop: Shop, tmp_path: Path) -> Path:
    return save_small_bundle(tmp_path / "real", ARCHITECTURE, made_from=run_key(shop.settings, shop.workspace))


@pytest.fixture
def registered(shop: Shop, real_bundle: Path) -> Iterator[Shop]:
    register(shop.settings, shop.workspace, bundle=real_bundle, note="test")
    yield shop


def test_the_logged_model_judges_bytes_in_a_process_that_knows_nothing(
    registered: Shop, real_bundle: Path, tmp_path: Path, home: object
) -> None:
    good = example()["image"].iloc[0]
    frame = pd.DataFrame({"image": [good, b"no image", good[:100], b""], "text": ["a ball", None, None, None]})
    frame.to_parquet(tmp_path / "frame.parquet")
    environment = dict(os.environ) | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{os.environ['PACKSHOT_HOME']}/mlflow/mlflow.db",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    done = subprocess.run(
        [sys.executable, "-c", LOADS_BY_ALIAS, str(tmp_path / "frame.parquet")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert "site-packages" not in answer["code"] and "src/packshot" not in answer["code"], "it brings its own code"
    first, *broken = answer["rows"]
    assert list(first) == list(OUTPUTS) and first["error"] is None and first["style"] in ARCHITECTURE.styles
    assert 0 <= first["quality_low"] <= first["quality"] <= first["quality_high"] <= 1
    assert [row["error"].split(":")[0] for row in broken] == ["not_an_image", "truncated", "empty_file"]
    assert answer["alone"][0]["quality"] == first["quality"]
    here = Judge.load(real_bundle, device="cpu")
    pixels = decode(good, ImageLimits.from_settings(registered.settings.validation))
    assert here.judge([pixels])[0].quality == pytest.approx(first["quality"], abs=1e-5)


def test_speed_and_memory_are_measured(registered: Shop) -> None:
    found = measure(registered.settings, 1)
    assert 1 < found["serving/latency_ms"] < 60_000
    assert 100 < found["serving/peak_rss_mb"] < 8_000


def test_the_registered_bundle_comes_back_and_its_damaged_copy_answers_otherwise(
    registered: Shop, real_bundle: Path, tmp_path: Path
) -> None:
    folder, _ = bundle_path(registered.settings, "1")
    assert bundle_digest(folder) == bundle_digest(real_bundle)
    damaged = Judge.load(damaged_copy(folder, tmp_path / "damaged", seed=1), device="cpu")
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (96, 96, 3), np.uint8) // (i + 1) for i in range(4)]
    before = [one.quality for one in Judge.load(folder, device="cpu").judge(pictures)]
    after = [one.quality for one in damaged.judge(pictures)]
    assert np.isfinite(after).all() and np.abs(np.array(before) - after).max() > 0.01
