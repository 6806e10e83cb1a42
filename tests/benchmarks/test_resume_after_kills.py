"""`packshot train`, killed in moments that last milliseconds and started again, ends as if it was never killed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from packshot.training.features import build_features
from resume_after_kills import gone_on, killed_in, prepared, settings_of, unbroken

TRAIN = ("train",)
MOMENTS = ("writing a checkpoint", "writing the bundle", "MLflow run closed")


def test_a_killed_training_leaves_one_run_with_the_metrics_and_the_bundle_of_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(epochs=3, enhance_steps=10)
    before = prepared(tmp_path / "before", settings)
    monkeypatch.setenv("PACKSHOT_HOME", str(before.home.root))
    build_features(settings, before.workspace)
    places = {moment: before.copy(tmp_path / moment) for moment in MOMENTS}
    with ThreadPoolExecutor(len(MOMENTS)) as pool:
        whole = pool.submit(unbroken, before, TRAIN)
        kills = {moment: pool.submit(killed_in, place, moment, 0, TRAIN) for moment, place in places.items()}
        expected, _ = whole.result()
        ended = [pool.submit(gone_on, places[name], expected, kill.result(), TRAIN) for name, kill in kills.items()]
    found = [each.result() for each in ended]
    assert all(each.phase != "over" for each in found), found
    assert all(each.good for each in found), found
    (run,) = expected.runs.values()
    assert len(run[2]) > 20 and set(expected.bundle) == {"bundle.json", "held_out.json", "reference.parquet", "weights.safetensors"}
    for place in places.values():
        assert not list(place.root.glob("workspace/models/.*")), "what the killed start left is gone"
