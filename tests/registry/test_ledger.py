from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from packshot.home import Home
from packshot.registry.ledger import Ledger, LedgerError
from packshot.registry.state import State

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


def forge(home: Home, *statements: str) -> None:
    """What somebody with a SQLite shell does to the ledger."""
    with sqlite3.connect(home.ledger_db) as database:
        for statement in ("DROP TRIGGER ledger_no_update", "DROP TRIGGER ledger_no_delete", *statements):
            database.execute(statement)


FORGED = {
    "changed": ("UPDATE ledger SET to_version = 7 WHERE id = 2", "entry 2"),
    "removed": ("DELETE FROM ledger WHERE id = 2", "entry 3"),
    "newest removed": ("DELETE FROM ledger WHERE id = 3", "entry 3, the last that this machine wrote, is missing"),
    "inserted": ("INSERT INTO ledger (at, actor, kind, payload) VALUES ('x', 'y', 'committed', '{}')", "entry 4"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_entry_is_found(ledger: Ledger, home: Home, kind: str) -> None:
    for version in (1, 2, 3):
        ledger.record("committed", model_name=MODEL, to_version=version)
    assert ledger.breaks() == []
    statement, named = FORGED[kind]
    forge(home, statement)
    assert any(named in one for one in ledger.breaks())


def test_an_entry_cannot_be_replaced_and_triggers_come_back(
    ledger: Ledger, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.record("register", model_name=MODEL, to_version=1)
    replace = "INSERT OR REPLACE INTO ledger (id, at, actor, kind, payload) VALUES (1, 'x', 'me', 'register', '{}')"
    with sqlite3.connect(home.ledger_db) as database, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(replace)
    forge(home)
    assert "`packshot registry verify`" not in capsys.readouterr().err
    Ledger.from_environment()
    assert "`packshot registry verify`" in capsys.readouterr().err
    with sqlite3.connect(home.ledger_db) as database, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute("DELETE FROM ledger")


def test_entries_of_an_older_packshot_are_covered_by_the_first_new_one(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    with sqlite3.connect(file) as database:
        database.execute(
            "CREATE TABLE ledger (id INTEGER PRIMARY KEY AUTOINCREMENT, at VARCHAR, actor VARCHAR, kind VARCHAR, "
            "model_name VARCHAR, from_version INTEGER, to_version INTEGER, run_id VARCHAR, data_rev VARCHAR, "
            "code_rev VARCHAR, params_hash VARCHAR, payload TEXT)"
        )
        for version in (1, 2):
            database.execute(
                "INSERT INTO ledger (at, actor, kind, model_name, to_version, payload) "
                "VALUES ('2026-01-01T00:00:00+00:00', 'ann', 'committed', 'packshot', ?, '{}')",
                (version,),
            )
    ledger = Ledger(file)
    assert ledger.state(MODEL).champion == 2 and ledger.breaks() == []
    ledger.record("committed", model_name=MODEL, to_version=3)
    assert ledger.breaks() == []
    with sqlite3.connect(file) as database:
        database.execute("DROP TRIGGER ledger_no_update")
        database.execute("UPDATE ledger SET to_version = 9 WHERE id = 1")
    assert any("entry 3" in one for one in ledger.breaks())


def test_what_an_entry_depends_on_is_asked_where_it_is_written(ledger: Ledger) -> None:
    ledger.record("committed", model_name=MODEL, to_version=1)

    class No(Exception):
        pass

    def refuse(state: State) -> None:
        assert state.champion == 1
        raise No

    with pytest.raises(No):
        ledger.record("intent", model_name=MODEL, to_version=2, only_if=refuse)
    assert ledger.state(MODEL).pending is None and len(ledger.history()) == 1


def test_writers_at_once_leave_one_whole_chain(ledger: Ledger) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def write(_: int) -> None:
        Ledger.from_environment().record("score", model_name=MODEL)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(40)))
    assert len(ledger.history()) == 40 and ledger.breaks() == []
