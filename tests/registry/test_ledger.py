from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from packshot.home import Home
from packshot.registry.ledger import Ledger, LedgerError

MODEL = "packshot"


def test_entries_cannot_be_changed_or_removed(ledger: Ledger, home: Home) -> None:
    ledger.record("register", model_name=MODEL, to_version=1)
    with sqlite3.connect(home.ledger_db) as database:
        for statement in ("UPDATE ledger SET to_version = 2", "DELETE FROM ledger"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)
    assert [row["to_version"] for row in ledger.history()] == [1]


def test_an_entry_comes_back_whole(ledger: Ledger) -> None:
    ledger.record(
        "gate", model_name=MODEL, from_version=1, to_version=2, data_rev="d", payload={"gates": [{"low": -0.1}]}
    )
    row = ledger.history(MODEL)[0]
    assert (row["kind"], row["actor"], row["from_version"], row["to_version"]) == ("gate", "tester", 1, 2)
    assert row["payload"] == {"gates": [{"low": -0.1}]}
    assert row["at"].endswith("+00:00")


def test_order_is_by_entry_not_by_clock(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta

    from packshot.registry import ledger as module

    class Backwards:
        ticks = 0

        @classmethod
        def now(cls, zone: object) -> datetime:
            cls.ticks += 1
            return datetime(2030, 1, 1, tzinfo=UTC) - timedelta(days=cls.ticks)

    monkeypatch.setattr(module, "datetime", Backwards)
    for version in (1, 2, 3):
        ledger.record("committed", model_name=MODEL, to_version=version)
    assert ledger.state(MODEL).champions == [1, 2, 3]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"kind": "promoted"}, "promoted"),
        ({"kind": "gate", "colour": 1}, "colour"),
        ({"kind": "gate", "payload": {"x": float("nan")}}, "gate"),
    ],
)
def test_what_the_ledger_does_not_know_is_refused(ledger: Ledger, fields: dict[str, object], named: str) -> None:
    with pytest.raises(LedgerError, match=named):
        ledger.record(**fields)  # type: ignore[arg-type]
    assert ledger.history() == []


def test_an_unusable_place_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(LedgerError, match="file"):
        Ledger(blocked / "ledger.db")


def test_pending_is_the_move_that_was_not_committed(ledger: Ledger) -> None:
    assert ledger.state(MODEL).pending is None
    ledger.record("intent", model_name=MODEL, to_version=1)
    pending = ledger.state(MODEL).pending
    assert pending is not None and not pending.moved
    ledger.record("moved", model_name=MODEL, to_version=1)
    pending = ledger.state(MODEL).pending
    assert pending is not None and pending.moved
    ledger.record("committed", model_name=MODEL, to_version=1)
    assert ledger.state(MODEL).pending is None
