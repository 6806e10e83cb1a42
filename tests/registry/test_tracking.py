from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from packshot.config import Settings
from packshot.home import Home
from packshot.registry.tracking import RunBusy, TrackingUnreachable, client, open_run, tracking_uri
from packshot.revision import RunKey

KEY = RunKey("data", "code", "params")


def test_a_killed_run_is_resumed_and_records_nothing_twice(settings: Settings, home: Home, tmp_path: Path) -> None:
    with open_run(settings, KEY) as recorder:
        recorder.params({"lr": 0.1})
        recorder.metrics({"loss": 3.0}, step=0)
        recorder.metrics({"loss": 2.0}, step=1)
        first = recorder.run_id
    mlflow_client = client(settings)
    mlflow_client.update_run(first, status="RUNNING")
    with open_run(settings, KEY) as recorder:
        assert recorder.run_id == first
        recorder.params({"lr": 0.1, "late": "yes"})
        recorder.metrics({"loss": 2.0}, step=1)
        recorder.metrics({"loss": 1.0}, step=2)
        note = tmp_path / "note.txt"
        note.write_text("hello")
        recorder.artifact(note, "notes")
    run = mlflow_client.get_run(first)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.1", "late": "yes"}
    assert {name: run.data.tags[name] for name in KEY.tags()} == KEY.tags()
    assert [(p.step, p.value) for p in mlflow_client.get_metric_history(first, "loss")] == [
        (0, 3.0),
        (1, 2.0),
        (2, 1.0),
    ]
    assert (home.mlflow_artifacts / first / "artifacts" / "notes" / "note.txt").read_text() == "hello"


def test_a_key_has_one_run_and_a_failure_is_marked_until_it_is_mended(settings: Settings, home: Home) -> None:
    with open_run(settings, KEY) as recorder:
        first = recorder.run_id
    with pytest.raises(ValueError, match="spoilt"), open_run(settings, KEY) as recorder:
        assert recorder.run_id == first
        raise ValueError("spoilt")
    failed = client(settings).get_run(first)
    assert failed.info.status == "FAILED" and "spoilt" in failed.data.tags["packshot.failure"]
    with open_run(settings, KEY) as recorder:
        assert recorder.run_id == first
    mended = client(settings).get_run(first)
    assert mended.info.status == "FINISHED" and "packshot.failure" not in mended.data.tags


def test_one_key_is_worked_on_once_at_a_time(settings: Settings, home: Home) -> None:
    with open_run(settings, KEY), pytest.raises(RunBusy, match=KEY.short), open_run(settings, KEY):
        pass


@pytest.mark.parametrize("listening", [False, True], ids=["closed port", "silent server"])
def test_a_server_that_does_not_answer_is_named_soon(
    settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch, listening: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if not listening:
            server.close()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        begun = time.monotonic()
        with pytest.raises(TrackingUnreachable, match=address) as error, open_run(settings, KEY):
            pass
    assert time.monotonic() - begun < 15
    assert error.value.exit_code == 69


def test_the_environment_wins_over_settings(settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri(settings) == f"sqlite:///{home.mlflow_db}"
    named = settings.model_copy(update={"registry": settings.registry.model_copy(update={"tracking_uri": "http://a"})})
    assert tracking_uri(named) == "http://a"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://b")
    assert tracking_uri(named) == "http://b"
