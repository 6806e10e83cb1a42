"""What a trained bundle brings to tune thresholds on."""

import numpy as np
import pandas as pd
from small_workspace import make_settings, make_workspace

from packshot.training.features import build_features
from packshot.training.recorder import NullRecorder
from packshot.training.run import train


def test_every_scored_picture_but_those_of_the_test_split_with_a_judgement_that_did_not_learn_from_it(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    plain = make_settings()
    recipe = plain.training.chosen.model_copy(update={"folds": 3, "epochs": 1})
    training = plain.training.model_copy(update={"recipes": {"tiny": recipe}})
    settings, workspace = plain.model_copy(update={"training": training}), make_workspace(tmp_path / "workspace", 160)
    build_features(settings, workspace)
    bundle = train(settings, workspace, NullRecorder())
    scored = pd.read_parquet(bundle / "out_of_fold.parquet").set_index("image_id")
    manifest = pd.read_parquet(workspace / "data/splits/manifest.parquet").set_index("image_id")
    rated = manifest[manifest["quality_mos"].notna()]
    learned = rated[rated["split"] != "test"]
    assert set(scored.index) == set(learned.index) and len(scored) == len(learned) < len(rated)
    assert np.allclose(scored["quality_mos"], learned["quality_mos"].reindex(scored.index), atol=1e-6)
    assert (scored["group"] == learned["group"].reindex(scored.index)).all()
    values = scored[["quality_low", "quality", "quality_high"]].to_numpy()
    assert ((values >= 0) & (values <= 1)).all() and (np.diff(values) > 0).all()
    # interpolating its own rows, a kernel machine would be right on nearly all of them
    assert (scored["quality"] - scored["quality_mos"]).abs().median() > 0.01
