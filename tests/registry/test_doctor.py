"""The doctor looks at what is kept, not only at the machine."""

from __future__ import annotations

import sqlite3

import pytest
from skilled_models import Shop

from packshot.home import Home
from packshot.ops import doctor
from packshot.registry.alias import set_alias
from packshot.registry.tracking import client


def found(shop: Shop, name: str) -> tuple[str, str]:
    by_name = {one.__name__: one for one in doctor.CHECKS}
    one = doctor.checked(by_name[name], shop.settings)
    return one.verdict, one.found


def test_a_new_home_has_nothing_wrong_and_nothing_is_made(shop: Shop, home: Home) -> None:
    assert found(shop, "ledger") == ("ok", "none yet") and found(shop, "models") == ("ok", "none yet")
    assert not home.ledger_db.exists()


def test_a_forged_or_broken_ledger_is_found(shop: Shop, home: Home) -> None:
    shop.champions(0.9)
    assert found(shop, "ledger")[0] == "ok" and found(shop, "models")[0] == "ok"
    with sqlite3.connect(home.ledger_db) as database:
        database.execute("DROP TRIGGER ledger_no_update")
        database.execute("UPDATE ledger SET to_version = 7 WHERE kind = 'committed'")
    verdict, said = found(shop, "ledger")
    assert verdict == "failed" and "was changed" in said
    home.ledger_db.write_bytes(b"not a database, but long enough to look like one" * 50)
    assert found(shop, "ledger")[0] == "failed"


def test_a_moved_alias_lost_files_and_a_missing_version_are_found(shop: Shop, home: Home) -> None:
    shop.champions(0.8)
    second = shop.register(0.9)
    set_alias(shop.settings, "champion", second)
    verdict, said = found(shop, "models")
    assert verdict == "failed" and "moved it by hand" in said
    set_alias(shop.settings, "champion", 1)
    client(shop.settings).delete_model_version("packshot", str(second))
    assert found(shop, "models") == (
        "warning",
        "champion 1, its files as they were registered; MLflow has lost version 2 of packshot",
    )
    for kept in (*home.models.rglob("bundle.json"), *home.mlflow_artifacts.rglob("bundle.json")):
        kept.write_text("lost")
    verdict, said = found(shop, "models")
    assert verdict == "failed" and "changed after registration" in said


def test_a_broken_record_of_services_is_a_failed_check_and_no_traceback(
    shop: Shop, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.services.write_text("{")
    verdict, said = found(shop, "ports")
    assert verdict == "failed" and str(home.services) in said
    assert doctor.run(shop.settings) == 1
    assert "not started: ports" in capsys.readouterr().err
