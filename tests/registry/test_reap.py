"""Only runs that nobody works on are reaped, and a reaped run can be taken up again."""

from __future__ import annotations

import time

import pytest
from killed_training import start_training

from packshot.config import Settings
from packshot.home import Home
from packshot.registry.alias import exclusive
from packshot.registry.reap import TAG, reap
from packshot.registry.tracking import client, create_run, open_run
from packshot.revision import RunKey


@pytest.fixture
def at_once(settings: Settings) -> Settings:
    return settings.model_copy(update={"reaper": settings.reaper.model_copy(update={"after_hours": 0.0})})


def test_the_killed_is_reaped_the_living_is_not_and_the_resumed_ends_well(at_once: Settings, home: Home) -> None:
    dead, living = start_training("dead"), start_training("living")
    mlflow_client = client(at_once)
    try:
        dead.kill()
        killed_at = time.time() * 1000
        assert [one.run_id for one in reap(at_once)] == [dead.run_id]
        reaped, left = (mlflow_client.get_run(each.run_id) for each in (dead, living))
        assert reaped.info.status == "KILLED" and "no process works on it" in reaped.data.tags[TAG]
        assert reaped.info.start_time < reaped.info.end_time <= killed_at, "it ended when it was last heard of"
        assert left.info.status == "RUNNING" and TAG not in left.data.tags
        assert reap(at_once) == []
    finally:
        living.kill()
    with open_run(at_once, RunKey("data", "code", "dead")) as recorder:
        assert recorder.run_id == dead.run_id
        assert mlflow_client.get_run(dead.run_id).info.status == "RUNNING"
        assert [one.run_id for one in reap(at_once)] == [living.run_id]
    assert mlflow_client.get_run(dead.run_id).info.status == "FINISHED"
    assert reap(at_once) == []


def test_a_retry_has_time_to_come(settings: Settings, home: Home) -> None:
    dead = start_training("dead")
    dead.kill()
    assert reap(settings) == []
    assert client(settings).get_run(dead.run_id).info.status == "RUNNING"


def test_runs_of_another_home_on_the_same_server_are_left(at_once: Settings, home: Home) -> None:
    elsewhere = create_run(at_once, client(at_once), RunKey("data", "code", "elsewhere"))
    assert reap(at_once) == []
    assert client(at_once).get_run(elsewhere).info.status == "RUNNING"


def test_a_registration_at_work_is_waited_for(at_once: Settings, home: Home) -> None:
    from packshot.registry.alias import RegistryBusy

    with exclusive(), pytest.raises(RegistryBusy):
        reap(at_once)
