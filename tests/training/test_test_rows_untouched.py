"""Nothing of a bundle depends on the test split: not what it learned, not what it is calibrated on."""

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file
from small_workspace import make_settings

from packshot.catalog.held_out import groups_digest, read_held_out, unseen
from packshot.files import write_parquet
from packshot.training import layout
from packshot.training.features import build_features
from packshot.training.recorder import NullRecorder
from packshot.training.run import train


def spoil_test_rows(workspace):
    """Other statistics, Gram vectors and scores for the pictures of the test split."""
    index = pd.read_parquet(workspace / layout.INDEX)
    mine = (index["split"] == "test").to_numpy()
    values = load_file(workspace / layout.VALUES)
    noise = np.random.default_rng(5)
    for name in ("stats", "gram"):
        values[name][mine] = noise.normal(0, 3, values[name][mine].shape).astype(values[name].dtype)
    save_file(values, workspace / layout.VALUES)
    write_parquet(workspace / layout.INDEX, index.assign(quality_mos=index["quality_mos"].mask(mine, 0.123)))


def test_a_bundle_is_the_same_whatever_the_test_pictures_are(workspace, tmp_path, monkeypatch):
    settings = make_settings()
    build_features(settings, workspace)
    bundle = train(settings, workspace, NullRecorder())
    before = {each.name: each.read_bytes() for each in bundle.iterdir()}
    assert "weights.safetensors" in before and "held_out.json" in before
    spoil_test_rows(workspace)
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "other"))
    train(settings, workspace, NullRecorder())
    assert {each.name: each.read_bytes() for each in bundle.iterdir()} == before


def test_a_bundle_says_what_it_never_learned_from(workspace):
    settings = make_settings()
    build_features(settings, workspace)
    bundle = train(settings, workspace, NullRecorder())
    manifest = pd.read_parquet(workspace / "data/splits/manifest.parquet")
    test = manifest.loc[manifest["split"] == "test", "group"]
    found = read_held_out(bundle)
    assert found is not None and list(found) == ["own"]
    assert (found["own"].groups, found["own"].images) == (test.nunique(), len(test))
    assert unseen(found, "own", test) and unseen(found, "another set", ["g0"])
    learned = manifest.loc[manifest["split"] == "train", "group"]
    assert not unseen(found, "own", [*test, learned.iloc[0]])
    assert not unseen(found, "own", sorted(set(test))[1:])
    assert found["own"].sha256 == groups_digest(sorted(set(test), reverse=True))
