"""`packshot train`, killed in moments that last milliseconds and started again, ends as if it was never killed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from packshot.training.features import build_features
from resume_after_kills import Place, gone_on, killed_in, prepared, settings_of, unbroken

TRAIN = ("train",)
MOMENTS = ("writing a checkpoint", "writing the bundle", "MLflow run closed")
ATTEMPTS, FEWEST = 4, 2
"""Tries to catch each moment, and how many have to be caught: in the others training ended before the kill."""


def caught(before: Place, into: Path, moment: str) -> tuple[Place, tuple[float, str]]:
    """A place where the training was killed in this moment, and when; a busy machine may miss it and tries again."""
    for attempt in range(ATTEMPTS):
        place = before.copy(into / f"{moment} {attempt}")
        kill = killed_in(place, moment, 0, TRAIN)
        if kill[1] != "over":
            break
    return place, kill


def test_a_killed_training_leaves_one_run_with_the_metrics_and_the_bundle_of_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(epochs=3, enhance_steps=10)
    before = prepared(tmp_path / "before", settings)
    monkeypatch.setenv("PACKSHOT_HOME", str(before.home.root))
    build_features(settings, before.workspace)
    with ThreadPoolExecutor(len(MOMENTS)) as pool:
        whole = pool.submit(unbroken, before, TRAIN)
        kills = [pool.submit(caught, before, tmp_path, moment) for moment in MOMENTS]
        expected, _ = whole.result()
        places = [kill.result() for kill in kills]
        ended = [pool.submit(gone_on, place, expected, kill, TRAIN) for place, kill in places]
    found = [each.result() for each in ended]
    assert sum(each.phase != "over" for each in found) >= FEWEST, found
    assert all(each.good for each in found), found
    (run,) = expected.runs.values()
    assert len(run[2]) > 20 and set(expected.bundle) == {
        "bundle.json",
        "held_out.json",
        "reference.parquet",
        "weights.safetensors",
    }
    for place, _ in places:
        assert not list(place.root.glob("workspace/models/.*")), "what the killed start left is gone"
