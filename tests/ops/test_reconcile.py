"""Every event is lost once, and found again in what it should have started."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from skilled_models import Shop
from typer.testing import CliRunner

from packshot.cli import app
from packshot.files import write_json
from packshot.home import Home
from packshot.lock import held
from packshot.ops.pipeline import inbox_put, retrain
from packshot.ops.reconcile import Finding, claim, reconcile, table
from packshot.registry.alias import set_alias
from packshot.registry.alias_check import CHAMPION, alias_version
from packshot.registry.ledger import Ledger
from packshot.registry.promote import assess, promote
from packshot.registry.register import register
from packshot.registry.tracking import RunBusy
from packshot.revision import SPLIT_MANIFEST, RunKey
from packshot.workspace import Workspace, catalog_workspace

KEY = RunKey("d" * 32, "c", "p")


def later() -> datetime:
    """When everything that is open now has been open for long enough."""
    return datetime.now(UTC) + timedelta(hours=3)


def found(shop: Shop) -> list[Finding]:
    return reconcile(shop.settings, later())


def conditions(shop: Shop) -> list[tuple[str, str | None]]:
    return [(one.condition, one.event) for one in found(shop)]


def test_a_challenger_that_the_gates_never_saw_is_announced_once(shop: Shop, ledger: Ledger) -> None:
    assert found(shop) == []
    shop.register(0.8)
    assert reconcile(shop.settings) == [], "what has just been registered is on its way"
    first = found(shop)
    assert [(one.condition, one.subject, one.sent) for one in first] == [("challenger not judged", "version 1", False)]
    assert "packshot promote --challenger 1" in table(first)
    assert found(shop) == first and len(ledger.history(kind="reconcile")) == 0, "looking changes nothing"
    sent = claim(shop.settings, first)
    assert sent["challenger"]["model_version"] == 1
    assert claim(shop.settings, first) == {} and claim(shop.settings, found(shop)) == {}
    assert [one.sent for one in found(shop)] == [True], "it stays on the list until it is done"
    promote(shop.settings, workspace=shop.workspace)
    assert found(shop) == []


def test_two_challengers_go_to_the_gates_one_after_the_other(shop: Shop) -> None:
    shop.register(0.8)
    shop.register(0.9)
    assert claim(shop.settings, found(shop))["challenger"]["model_version"] == 1
    assert claim(shop.settings, found(shop))["challenger"]["model_version"] == 2
    promote(shop.settings, challenger=2, workspace=shop.workspace)
    assert found(shop) == [], "a version older than the champion needs no judgement"


def test_data_that_nothing_learned_from(shop: Shop, ledger: Ledger, home: Home) -> None:
    catalog = Workspace(home.workspaces / "catalog")
    catalog.root.mkdir(parents=True)
    catalog.run("git", "init", "--quiet", quiet=True)
    assert found(shop) == []
    catalog.commit(f"data {KEY.data_rev}")
    catalog.commit("Bring code and settings up to date")
    (one,) = found(shop)
    assert (one.condition, one.subject, one.event) == ("data not trained", KEY.data_rev, "catalog_ready")
    with held(f"retrain-{KEY.short}", 0, RunBusy(KEY)):
        assert found(shop) == []
    assert len(found(shop)) == 1
    ledger.record("register", model_name="other", to_version=1, data_rev=KEY.data_rev)
    assert found(shop) == []


def deliver(shop: Shop, name: str) -> None:
    folder = shop.workspace / "in"
    folder.mkdir(exist_ok=True)
    (folder / "one.png").write_text("a picture")
    inbox_put(folder, name)


def test_batches_that_wait_for_the_champion_for_the_check_and_for_an_answer(
    shop: Shop, ledger: Ledger, home: Home
) -> None:
    deliver(shop, "a")
    deliver(shop, "b")
    assert found(shop) == [], "without a champion nothing can be scored"
    shop.register(0.8)
    promote(shop.settings, workspace=shop.workspace)
    assert conditions(shop) == [("batch not scored", "champion")] * 2
    assert claim(shop.settings, found(shop)) == {
        "champion": {"batches": ["a", "b"], "model_version": 1, "reconciled": True}
    }
    for name in ("a", "b"):
        folder = home.verdicts_by(name, 1)
        folder.mkdir(parents=True)
        (folder / "verdicts.parquet").touch()
    assert conditions(shop) == [("drift not checked", "verdicts")] * 2
    now = datetime.now(UTC)
    for name in ("a", "b"):
        said = {"alarm": name == "a", "checked_at": now.isoformat()}
        write_json(home.verdicts_by(name, 1) / "drift.json", said)
    (one,) = found(shop)
    assert (one.condition, one.event, one.extra["batches"]) == ("alarm not answered", "verdicts", ["a"])
    answer = {"batches": ["a"], "retrain": False}
    ledger.record("drift_response", model_name="packshot", to_version=1, payload=answer)
    assert found(shop) == [], "no training is an answer too"
    ledger.record("drift_response", model_name="packshot", to_version=1, payload=answer | {"retrain": True})
    (one,) = found(shop)
    assert (one.condition, one.event) == ("training not begun", "drift_alarm")
    ledger.record("retrain", model_name="packshot", payload={"reason": "drift_alarm"})
    assert found(shop) == []


def test_who_asked_for_training_is_written_down_also_where_nothing_is_to_be_done(shop: Shop, ledger: Ledger) -> None:
    shop.bundle(0.9)
    shop.evaluate()
    register(shop.settings, shop.workspace)
    catalog = catalog_workspace(shop.settings)
    (catalog.root / SPLIT_MANIFEST).parent.mkdir(parents=True)
    shutil.copy(shop.workspace / SPLIT_MANIFEST, catalog.root / SPLIT_MANIFEST)
    assert not retrain(shop.settings, "drift_alarm").done
    (row,) = ledger.history(kind="retrain")
    assert row["payload"]["reason"] == "drift_alarm" and row["payload"]["outcome"] == "trained before"
    assert row["to_version"] == 1


def test_a_move_that_was_cut_off_is_finished_by_the_event(shop: Shop, ledger: Ledger) -> None:
    shop.register(0.8)
    promote(shop.settings, workspace=shop.workspace)
    shop.register(0.95)
    assess(shop.settings, workspace=shop.workspace)
    ledger.record("intent", model_name="packshot", from_version=1, to_version=2)
    (one,) = found(shop)
    assert (one.condition, one.event, one.extra["model_version"]) == ("move interrupted", "challenger", 2)
    promote(shop.settings, challenger=2, workspace=shop.workspace)
    assert found(shop) == [] and alias_version(shop.settings, CHAMPION) == 2


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_alias_moved_by_hand_is_told_and_never_touched(shop: Shop, ledger: Ledger, interrupted: bool) -> None:
    for skill in (0.8, 0.81, 0.95):
        shop.register(skill)
        assess(shop.settings, workspace=shop.workspace)
    promote(shop.settings, challenger=1, workspace=shop.workspace)
    if interrupted:
        ledger.record("intent", model_name="packshot", from_version=1, to_version=2)
    set_alias(shop.settings, CHAMPION, 3)
    (one,) = found(shop)
    assert (one.condition, one.event) == ("alias moved by hand", None)
    assert one.subject == "alias at 3, ledger at " + ("1 or 2" if interrupted else "1")
    assert claim(shop.settings, [one]) == {} and alias_version(shop.settings, CHAMPION) == 3


def test_a_busy_shop_makes_an_alias_that_was_moved_by_hand_no_younger(shop: Shop, ledger: Ledger) -> None:
    shop.champions(0.8)
    shop.register(0.9)
    set_alias(shop.settings, CHAMPION, 2)
    moved = ledger.state("packshot").reigns[-1].since
    ledger.record("score", model_name="packshot", to_version=1, payload={"batch": "now"})
    settings = shop.settings
    due = datetime.fromisoformat(moved) + timedelta(minutes=settings.reconcile.min_age_minutes)
    assert "alias moved by hand" in [one.condition for one in reconcile(settings, due)]


def test_a_challenger_out_of_the_shadow_goes_to_the_gates_again(shop: Shop, ledger: Ledger) -> None:
    shop.register(0.8)
    promote(shop.settings, workspace=shop.workspace)
    shop.register(0.95)
    assess(shop.settings, workspace=shop.workspace)
    for state in ("begun", "complete"):
        assert found(shop) == []
        entry = {"from_version": 1, "to_version": 2, "payload": {"state": state, "note": state}}
        ledger.record("shadow", model_name="packshot", **entry)
    (one,) = found(shop)
    assert (one.condition, one.event, one.extra) == ("shadow not judged", "challenger", {"model_version": 2})
    promote(shop.settings, workspace=shop.workspace)
    assert found(shop) == []


def test_the_command_says_nothing_to_do_and_what_is(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT__RECONCILE__MIN_AGE_MINUTES", "0")
    assert CliRunner().invoke(app, ["reconcile"]).exit_code == 99
    shop.register(0.8)
    said = CliRunner().invoke(app, ["reconcile", "--claim", "--json"])
    assert said.exit_code == 0 and '"model_version": 1' in said.stdout
