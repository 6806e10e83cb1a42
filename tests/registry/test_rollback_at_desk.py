"""An admin rolls back on the page of the model: the same move as by the command, under their name and with a reason."""

from __future__ import annotations

import pytest
from desk_application import Application, Browser
from skilled_models import Shop
from typer.testing import CliRunner

import packshot.cli.registry as module
from packshot.cli import app
from packshot.registry.alias import exclusive, set_alias
from packshot.registry.alias_check import alias_version
from packshot.registry.ledger import Ledger
from packshot.registry.promote import promote

WHY = 'lamps <b>too</b> low, "says" ann'


@pytest.fixture
def ann(shop: Shop) -> Browser:
    for skill in (0.8, 0.88, 0.96):
        shop.register(skill)
        assert promote(shop.settings, workspace=shop.workspace).outcome == "promoted"
    return Application.over(settings=shop.settings).person("ann", "admin")


def asked(who: Browser, version: str, reason: str = WHY) -> int:
    return who.post("/desk/rollback", [("version", version), ("reason", reason)]).status_code


def test_an_admin_rolls_back_under_their_name_and_says_why(shop: Shop, ledger: Ledger, ann: Browser) -> None:
    page = ann.get("/desk/model").text
    assert "Roll back to version 1" in page and "Roll back to version 2" in page
    assert "Roll back to version 3" not in page, "it is champion"
    assert asked(ann, "1") == 303 and alias_version(shop.settings, "champion") == 1
    moved = [event for event in ledger.events() if event.kind.startswith("rollback_")]
    assert [event.kind for event in moved] == ["rollback_intent", "rollback_moved", "rollback_committed"]
    assert {event.actor for event in moved} == {"ann"} and moved[0].payload.reason == WHY
    page = ann.get("/desk/model").text
    assert "Version 1 is champion" in page and "by ann: lamps &lt;b&gt;too&lt;/b&gt; low" in page
    written = ledger.state("packshot").last_id
    assert asked(ann, "1") == 303 and ledger.state("packshot").last_id == written, "sent twice it moves once"


def test_nobody_else_rolls_back(shop: Shop, ann: Browser) -> None:
    for role in ("read", "score", "review", "approve"):
        other = Application(ann.app).person(role, role)
        assert asked(other, "1") == 403
        assert role == "score" or "Roll back" not in other.get("/desk/model").text
    ann.csrf = "0" * 64
    assert asked(ann, "1") == 403
    assert alias_version(shop.settings, "champion") == 3


def test_what_cannot_be_done_changes_nothing(shop: Shop, ann: Browser) -> None:
    for version in ("x", "", "9" * 40, "7"):
        assert asked(ann, version) == 400
    for reason in (" ", "a\nb", "a" * 501):
        assert asked(ann, "1", reason) == 400
    assert alias_version(shop.settings, "champion") == 3


def test_a_registry_at_work_or_moved_by_hand_is_said(shop: Shop, ann: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("packshot.registry.rollback.exclusive", lambda: exclusive(0.0))
    with exclusive():
        assert asked(ann, "1") == 503
    set_alias(shop.settings, "champion", 2)
    assert asked(ann, "1") == 409
    assert alias_version(shop.settings, "champion") == 2


def test_the_command_keeps_the_reason_too(
    shop: Shop, ledger: Ledger, ann: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_settings", lambda: shop.settings)
    assert CliRunner().invoke(app, ["registry", "rollback", "--reason", WHY]).exit_code == 0
    reign = ledger.state("packshot").reigns[-1]
    assert (reign.version, reign.by, reign.reason) == (2, "tester", WHY)
    assert "by tester: lamps" in ann.get("/desk/model").text
