"""Who may say yes to a new champion, and that every answer is on record."""

from dataclasses import replace

import pytest
from pydantic import ValidationError
from skilled_models import Shop

from packshot.config import RegistrySettings
from packshot.registry.alias import move
from packshot.registry.alias_check import alias_version
from packshot.registry.approval import NOBODY, NotApproved, NotYoursToApprove, record_answer, record_own_answer
from packshot.registry.ledger import Ledger
from packshot.registry.people import user_at_work
from packshot.registry.promote import assess, promote
from packshot.registry.rollback import rollback


@pytest.fixture
def version(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("PACKSHOT_ACTOR", "tess")
    return shop.register(0.9)


def only(shop: Shop, *names: str):
    registry = shop.settings.registry.model_copy(update={"approvers": names})
    return shop.settings.model_copy(update={"registry": registry})


def asking(shop: Shop, **registry: object) -> Shop:
    """The shop with `registry.approval` on."""
    chosen = shop.settings.registry.model_copy(update={"approval": True, "approvers": ("ann", "bo"), **registry})
    return replace(shop, settings=shop.settings.model_copy(update={"registry": chosen}))


def go(shop: Shop, version: int) -> str:
    return promote(shop.settings, challenger=version, workspace=shop.workspace).outcome


def last() -> dict:
    entry = Ledger.from_environment().history(kind="approval")[-1]
    return {"actor": entry["actor"], "to_version": entry["to_version"], **entry["payload"]}


def test_an_approver_says_yes_or_no_and_it_is_written_down(shop: Shop, version: int) -> None:
    settings = only(shop, "ann", "bo")
    assert record_answer(settings, version, approved=True, by="ann", started_by="bo").approved
    expected = {"actor": "ann", "to_version": version, "outcome": "approved", "reason": "", "started_by": "bo"}
    assert last() == expected | {"account": user_at_work()}
    assert not record_answer(settings, version, approved=False, by="bo", started_by="bo").approved
    assert last()["outcome"] == "rejected", "anybody may refuse, their own too"


def test_no_answer_in_time_is_a_no(shop: Shop, version: int) -> None:
    answer = record_answer(shop.settings, version, approved=False, by=None)
    assert not answer.approved and answer.by == NOBODY
    assert last()["actor"] == NOBODY and last()["outcome"] == "rejected"
    with pytest.raises(NotYoursToApprove, match="needs the name"):
        record_answer(shop.settings, version, approved=True, by=None)


@pytest.mark.parametrize(
    ("by", "started_by", "approvers", "why"),
    [
        ("ann", "ann", (), "started the run"),
        ("tess", "ann", (), "had the version trained"),
        ("mallory", None, ("ann", "bo"), "not in registry.approvers"),
    ],
)
def test_nobody_approves_their_own_and_strangers_do_not(
    shop: Shop, version: int, by: str, started_by: str | None, approvers: tuple[str, ...], why: str
) -> None:
    with pytest.raises(NotYoursToApprove, match=why):
        record_answer(only(shop, *approvers), version, approved=True, by=by, started_by=started_by)
    assert last()["outcome"] == "rejected" and why in last()["reason"] and last()["actor"] == by


def test_the_alias_moves_only_with_an_approval_that_is_newer_than_the_gates(
    shop: Shop, version: int, ledger: Ledger
) -> None:
    strict = asking(shop)
    record_answer(strict.settings, version, approved=True, by="ann")
    for _ in range(2):
        with pytest.raises(NotApproved, match="waits for somebody else to approve it") as error:
            go(strict, version)
    assert error.value.exit_code == 77 and alias_version(shop.settings, "champion") is None
    assert ledger.state("packshot").pending is None
    assert len(ledger.history(kind="gate")) == 1, "whoever waits for an answer does not use up the held-out rows"
    record_answer(strict.settings, version, approved=True, by="ann")
    assert go(strict, version) == "promoted" and alias_version(shop.settings, "champion") == version
    assert len(ledger.history(kind="gate")) == 1, "the gates that were approved are those that count"


def test_no_other_way_to_the_alias_goes_round_the_approval(shop: Shop, version: int, ledger: Ledger) -> None:
    strict = asking(shop)
    with pytest.raises(NotApproved, match="has no gates that passed"):
        move(strict.settings, ledger, from_version=None, to_version=version, rollback=False, payload={})
    with pytest.raises(NotApproved):
        go(strict, version)
    for by, why in (("mallory", "not in registry.approvers"), ("tess", "not in registry.approvers")):
        ledger.record("approval", actor=by, model_name="packshot", to_version=version, payload={"outcome": "approved"})
        with pytest.raises(NotApproved, match=why):
            go(strict, version)
    assert alias_version(shop.settings, "champion") is None


def test_a_no_stands_until_it_is_asked_anew(shop: Shop, version: int) -> None:
    strict = asking(shop)
    assess(strict.settings, challenger=version, workspace=shop.workspace)
    record_answer(strict.settings, version, approved=True, by="bo")
    record_answer(strict.settings, version, approved=False, by="ann")
    with pytest.raises(NotApproved, match="rejected by ann"):
        go(strict, version)
    assess(strict.settings, challenger=version, workspace=shop.workspace)
    with pytest.raises(NotApproved, match="waits for somebody else"):
        go(strict, version)
    record_answer(strict.settings, version, approved=True, by="bo")
    assert go(strict, version) == "promoted"


def test_an_approval_is_of_the_comparison_with_the_champion_of_then(
    shop: Shop, version: int, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict, better = asking(shop), shop.register(0.95)
    assess(strict.settings, challenger=better, workspace=shop.workspace)
    record_answer(strict.settings, better, approved=True, by="ann")
    move(shop.settings, ledger, from_version=None, to_version=version, rollback=False, payload={})
    with pytest.raises(NotApproved, match="waits for somebody else"):
        go(strict, better)
    assert ledger.history(kind="gate")[-1]["from_version"] == version
    record_answer(strict.settings, better, approved=True, by="ann")
    assert go(strict, better) == "promoted"
    assert rollback(strict.settings).to_version == version, "a way back needs nobody's leave"


def test_one_person_under_two_names_is_one_person(shop: Shop, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = asking(shop, people={"ann": ("ann.lee", "tess"), "bo": ("bwu",)})
    assess(strict.settings, challenger=version, workspace=shop.workspace)
    with pytest.raises(NotYoursToApprove, match=r"ann\.lee had the version trained"):
        record_answer(strict.settings, version, approved=True, by="ann.lee")
    monkeypatch.setattr("packshot.registry.approval.user_at_work", lambda: "bwu")
    assert record_own_answer(strict.settings, version, approved=True).by == "bwu"
    assert go(strict, version) == "promoted"


def test_who_asks_the_gates_is_not_who_approves(shop: Shop, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = asking(shop)
    monkeypatch.setenv("PACKSHOT_ACTOR", "ann")
    with pytest.raises(NotApproved):
        go(strict, version)
    with pytest.raises(NotYoursToApprove, match="ann asked the gates"):
        record_answer(strict.settings, version, approved=True, by="ann")


def test_only_airflow_passes_on_the_answers_of_others(
    shop: Shop, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = asking(shop, airflow_account="airflow", approvers=())
    monkeypatch.setattr("packshot.registry.approval.user_at_work", lambda: "mallory")
    with pytest.raises(NotYoursToApprove, match="mallory cannot answer for others"):
        record_answer(strict.settings, version, approved=True, by="ann")
    assert Ledger.from_environment().history(kind="approval") == []
    monkeypatch.setattr("packshot.registry.approval.user_at_work", lambda: "airflow")
    assert record_answer(strict.settings, version, approved=True, by="ann").approved
    with pytest.raises(NotYoursToApprove, match="nobody's own"):
        record_own_answer(strict.settings, version, approved=True)


def test_an_account_of_two_people_is_refused(shop: Shop) -> None:
    told = shop.settings.registry.model_dump() | {"people": {"ann": ("a",), "bo": ("a",)}}
    with pytest.raises(ValidationError, match="gives 'a' to 'ann' and to 'bo'"):
        RegistrySettings.model_validate(told)
