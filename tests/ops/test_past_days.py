"""A past day scored again: the same rows, by the version that was champion then."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import pandas as pd
import pytest
from skilled_models import Shop
from small_network import save_small_bundle, small_architecture
from small_workspace import picture

from packshot.home import Home
from packshot.ops.arrivals import RECORD, arrival, champion_then, record_arrival
from packshot.ops.pipeline import (
    inbox_cut,
    inbox_day_plan,
    inbox_merge,
    inbox_plan,
    inbox_put,
    inbox_score,
    inbox_score_part,
)
from packshot.registry.alias import move
from packshot.registry.ledger import Ledger
from packshot.registry.models import NoSuchModel
from packshot.registry.register import register
from packshot.revision import run_key
from packshot.scoring.merging import ShardsMissing


def deliver(tmp_path: Path, name: str, first: int) -> None:
    folder = tmp_path / "in" / name
    folder.mkdir(parents=True)
    for number in range(first, first + 6):
        cv2.imwrite(str(folder / f"{number}.png"), picture(number, number % 2, 0.5 * (number % 4)))
    (folder / "broken.png").write_text("no picture")
    inbox_put(folder, name)


def rows(home: Home, batch: str, version: int) -> pd.DataFrame:
    return pd.read_parquet(home.verdicts_by(batch, version) / "verdicts.parquet").drop(columns="scored_at")


@pytest.fixture
def two_champions(shop: Shop, ledger: Ledger, home: Home, tmp_path: Path) -> Shop:
    """`early` arrived under champion 1, `late` under champion 2; both were scored when they came."""
    for seed in (0, 1):
        bundle = save_small_bundle(
            tmp_path / f"bundle{seed}", small_architecture(), seed, run_key(shop.settings, shop.workspace)
        )
        register(shop.settings, shop.workspace, bundle=bundle, note="test")
    for before, version, batch in ((None, 1, "early"), (1, 2, "late")):
        move(shop.settings, ledger, from_version=before, to_version=version, rollback=False, payload={})
        deliver(tmp_path, batch, 10 * version)
        inbox_score(shop.settings, batch)
    return shop


def plan(shop: Shop, home: Home, champion: str = "then", min_age_minutes: float = 0) -> dict[str, int]:
    rules = shop.settings.reconcile.model_copy(update={"min_age_minutes": min_age_minutes})
    settings = shop.settings.model_copy(update={"reconcile": rules})
    days = {arrival(home.inbox / batch).date() for batch in ("early", "late")}  # two where the test meets midnight
    found = [inbox_day_plan(settings, day, champion).record["batches"] for day in days]
    return {one["batch"]: one["model_version"] for part in found for one in part}


def test_a_past_day_gives_the_same_rows_by_the_champion_of_then(two_champions: Shop, home: Home) -> None:
    assert plan(two_champions, home) == {}, "what was scored when it came is not scored again"
    assert plan(two_champions, home, "now") == {"early": 2}
    before = {batch: rows(home, batch, version) for batch, version in (("early", 1), ("late", 2))}
    shutil.rmtree(home.verdicts)
    again = plan(two_champions, home)
    assert again == {"early": 1, "late": 2}
    assert plan(two_champions, home, min_age_minutes=60) == {}, "what has just come is left to the hourly scoring"
    for batch, version in again.items():
        inbox_score(two_champions.settings, batch, version)
        found = rows(home, batch, version)
        pd.testing.assert_frame_equal(found, before[batch], check_exact=True)
        assert len(found) == 7 and set(found.model_version) == {version}
    inbox_score(two_champions.settings, "early", 2)
    assert not rows(home, "early", 2).quality.equals(before["early"].quality), "another version says something else"
    day = arrival(home.inbox / "early").date() - timedelta(days=30)
    assert not inbox_day_plan(two_champions.settings, day, "then").done
    with pytest.raises(NoSuchModel):
        inbox_score(two_champions.settings, "early", 9)


def test_a_batch_that_tasks_share_gets_the_rows_of_one_that_is_scored_alone(two_champions: Shop, home: Home) -> None:
    small = {"shard_size": 2, "shards_per_task": 1, "tasks_per_batch": 3}
    scoring = two_champions.settings.scoring.model_copy(update=small)
    settings = two_champions.settings.model_copy(update={"scoring": scoring})
    shutil.rmtree(home.verdicts)
    inbox_score(settings, "early", 1)
    before = rows(home, "early", 1)
    shutil.rmtree(home.verdicts)
    cut = inbox_cut(settings, "early", 1).record
    assert cut["images"] == 7 and cut["shards"] >= 4 and len(cut["parts"]) in (2, 3), "at most 2 images a shard"
    assert [number for first, end in cut["parts"] for number in range(first, end)] == list(range(cut["shards"]))
    done = 0
    for first, end in reversed(cut["parts"]):
        with pytest.raises(ShardsMissing):
            inbox_merge(settings, "early", 1)
        assert inbox_plan(settings).record["batches"] == ["early", "late"], "without its verdicts it waits"
        done += inbox_score_part(settings, "early", 1, range(first, end)).record["rows"]
    assert done == 7
    assert inbox_cut(settings, "early", 1).record["parts"] == []
    assert inbox_merge(settings, "early", 1).record["rows"] == 7
    pd.testing.assert_frame_equal(rows(home, "early", 1), before, check_exact=True)
    inbox_score(settings, "early", 2)
    assert set(rows(home, "early", 2).model_version) == {2}, "another version has verdicts of its own"
    pd.testing.assert_frame_equal(rows(home, "early", 1), before, check_exact=True)
    parts = [
        entry["payload"] for entry in Ledger.from_environment().history(kind="score") if "shards" in entry["payload"]
    ]
    assert [one["shards"] for one in parts] == cut["parts"][::-1] and all("cost" in one for one in parts)


def test_the_champion_of_then_is_read_from_the_ledger(shop: Shop, ledger: Ledger) -> None:
    assert champion_then(ledger, "packshot", datetime.now(UTC)) is None
    shop.register(0.9)
    shop.register(0.95)
    for before, version, back in ((None, 1, False), (1, 2, False), (2, 1, True)):
        move(shop.settings, ledger, from_version=before, to_version=version, rollback=back, payload={})
    since = [datetime.fromisoformat(reign.since) for reign in ledger.state("packshot").reigns]
    assert [champion_then(ledger, "packshot", at) for at in since] == [1, 2, 1]
    assert champion_then(ledger, "packshot", since[0] - timedelta(days=3)) == 1, "it waited for the first champion"


def test_an_arrival_stays_what_it_was(home: Home, tmp_path: Path) -> None:
    came = datetime(2026, 1, 5, 23, 59, tzinfo=UTC)
    (tmp_path / "in").mkdir()
    record_arrival(tmp_path / "in", came)
    inbox_put(tmp_path / "in", "again")
    assert arrival(home.inbox / "again") > came, "a folder that was a batch elsewhere arrives anew"
    plain = home.inbox / "plain"
    plain.mkdir()
    os.utime(plain, (came.timestamp(), came.timestamp()))
    assert arrival(plain) == came
    (plain / RECORD).write_text("some day")
    os.utime(plain, (came.timestamp(), came.timestamp()))
    assert arrival(plain) == came
