"""The ledger where the database fails: locked, read-only, full, made by several at once, killed while it is made."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from skilled_models import Shop

from packshot.home import Home
from packshot.registry import alias as alias_module
from packshot.registry import ledger as ledger_module
from packshot.registry.alias import set_alias
from packshot.registry.alias_check import alias_version
from packshot.registry.history import print_history
from packshot.registry.ledger import Ledger, LedgerError
from packshot.registry.promote import promote
from packshot.registry.rollback import rollback

MAKES_A_LEDGER = """
import sys
from pathlib import Path
from packshot.registry import alias as alias_module
from packshot.registry import ledger as ledger_module
from packshot.registry.alias import set_alias
from packshot.registry.history import print_history
from packshot.registry.ledger import Ledger
print("ready", flush=True)
sys.stdin.readline()
Ledger(Path(sys.argv[1])).record("register", to_version=int(sys.argv[2]))
"""
DIES_WHILE_MAKING_IT = """
import os, signal, sys
from pathlib import Path
import sqlalchemy as sa
from packshot.registry import alias as alias_module
from packshot.registry import ledger as ledger_module
from packshot.registry.alias import set_alias
from packshot.registry.history import print_history
from packshot.registry.ledger import Ledger

@sa.event.listens_for(sa.Engine, "after_cursor_execute")
def die(connection, cursor, statement, *rest):
    if "CREATE TABLE" in statement:
        os.kill(os.getpid(), signal.SIGKILL)

Ledger(Path(sys.argv[1]))
"""
DIES_BEFORE_A_WRITE = """
import os, signal, sys
import sqlalchemy as sa
from packshot.cli import app

@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def die(connection, cursor, statement, parameters, *rest):
    writes = statement.startswith(("INSERT", "UPDATE"))
    if writes and sys.argv[1] in statement and (not sys.argv[2] or sys.argv[2] in parameters):
        os.kill(os.getpid(), signal.SIGKILL)

app(["registry", "rollback", "--to", sys.argv[3]])
"""


@pytest.fixture
def two_versions(shop: Shop) -> Shop:
    """Version 1 is champion, version 2 the challenger, and better."""
    shop.register(0.8)
    assert promote(shop.settings, workspace=shop.workspace).outcome == "promoted"
    shop.register(0.95)
    return shop


def _agree(shop: Shop, home: Home, version: int) -> None:
    assert alias_version(shop.settings, "champion") == version
    assert Ledger(home.ledger_db).state("packshot").champions[-1] == version
    assert Ledger(home.ledger_db).state("packshot").pending is None


@pytest.fixture
def quick_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sa.create_engine
    monkeypatch.setattr(sa, "create_engine", lambda url, **how: made(url, connect_args={"timeout": 0.1}, **how))


@contextmanager
def _locked(home: Home) -> Iterator[None]:
    with closing(sqlite3.connect(home.ledger_db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def _read_only(home: Home) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_LEDGER_URL", f"sqlite:///file:{home.ledger_db}?mode=ro&uri=true")
        yield


@contextmanager
def _full(_: Home) -> Iterator[None]:
    """The ledger's file cannot grow by a page, as on a full disk."""

    def connected(connection: sqlite3.Connection, _: object) -> None:
        if connection.execute("PRAGMA database_list").fetchone()[2].endswith("ledger.db"):
            used = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {used}")

    sa.event.listen(sa.Engine, "connect", connected)
    yield
    sa.event.remove(sa.Engine, "connect", connected)


def test_nothing_moves_where_the_ledger_cannot_be_written(
    two_versions: Shop, home: Home, quick_to_give_up: None
) -> None:
    faults = ((_locked, "database is locked"), (_read_only, "readonly database"), (_full, "disk is full"))
    for fault, named in faults:
        with fault(home), pytest.raises(LedgerError, match=named) as error:
            promote(two_versions.settings, workspace=two_versions.workspace)
        assert error.value.exit_code == 74
        _agree(two_versions, home, 1)
    assert promote(two_versions.settings, workspace=two_versions.workspace).outcome == "promoted"
    _agree(two_versions, home, 2)


def test_a_ledger_that_locks_after_the_alias_moved_is_mended_by_the_next_call(
    two_versions: Shop, home: Home, quick_to_give_up: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(home.ledger_db, isolation_level=None)) as other:

        def moves_then_locks(*given: Any) -> None:
            set_alias(*given)
            other.execute("BEGIN IMMEDIATE")

        with monkeypatch.context() as patch, pytest.raises(LedgerError, match="cannot write 'moved'"):
            patch.setattr(alias_module, "set_alias", moves_then_locks)
            promote(two_versions.settings, workspace=two_versions.workspace)
    result = promote(two_versions.settings, workspace=two_versions.workspace)
    assert (result.outcome, result.reason) == ("promoted", "an interrupted promotion was finished")
    _agree(two_versions, home, 2)


def test_a_clock_that_goes_back_changes_no_decision(
    two_versions: Shop, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)

    class Backwards(datetime):
        ticks = 0

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            cls.ticks += 1
            return now - timedelta(days=cls.ticks)

    monkeypatch.setattr(ledger_module, "datetime", Backwards)
    assert promote(two_versions.settings, workspace=two_versions.workspace).outcome == "promoted"
    _agree(two_versions, home, 2)
    assert rollback(two_versions.settings).to_version == 1
    _agree(two_versions, home, 1)
    assert promote(two_versions.settings, workspace=two_versions.workspace).outcome == "refused"
    print_history(two_versions.settings, as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["id"] for line in lines] == sorted(line["id"] for line in lines)
    assert [line["at"] for line in lines] != sorted(line["at"] for line in lines)


def test_several_processes_make_one_ledger(tmp_path: Path) -> None:
    place, count = tmp_path / "ledger.db", 6
    command = [sys.executable, "-c", MAKES_A_LEDGER, str(place)]
    makers = [
        subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(count)
    ]
    for each in makers:
        assert each.stdout is not None and each.stdout.readline() == "ready\n"
    for each in makers:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    assert [each.wait(60) for each in makers] == [0] * count
    assert sorted(row["to_version"] for row in Ledger(place).history()) == list(range(count))


def test_a_kill_while_the_ledger_is_made_leaves_none_without_its_guards(tmp_path: Path) -> None:
    place = tmp_path / "ledger.db"
    done = subprocess.run([sys.executable, "-c", DIES_WHILE_MAKING_IT, str(place)], check=False)
    assert done.returncode == -signal.SIGKILL
    Ledger(place).record("register", to_version=1)
    with closing(sqlite3.connect(place)) as database, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute("DELETE FROM ledger")


def test_a_rollback_killed_between_its_writes_is_finished_by_the_next_call(
    two_versions: Shop, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(two_versions.settings, workspace=two_versions.workspace)
    places = (
        ("registered_model_aliases", ""),
        ("INTO ledger", "rollback_moved"),
        ("INTO ledger", "rollback_committed"),
    )
    for (statement, value), target in zip(places, (1, 2, 1), strict=True):
        command = [sys.executable, "-c", DIES_BEFORE_A_WRITE, statement, value, str(target)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert Ledger(home.ledger_db).state("packshot").pending is not None
        rollback(two_versions.settings, target)
        assert f"finishing the interrupted move of champion to version {target}" in capsys.readouterr().err
        _agree(two_versions, home, target)
    kinds = [row["kind"] for row in Ledger(home.ledger_db).history() if row["kind"].startswith("rollback")]
    assert kinds == ["rollback_intent", "rollback_moved", "rollback_committed"] * 3
