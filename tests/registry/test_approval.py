"""Who may say yes to a new champion, and that every answer is on record."""

import pytest
from skilled_models import Shop

from packshot.registry.approval import NOBODY, NotYoursToApprove, record_answer
from packshot.registry.ledger import Ledger


@pytest.fixture
def version(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("PACKSHOT_ACTOR", "tess")
    return shop.register(0.9)


def only(shop: Shop, *names: str):
    registry = shop.settings.registry.model_copy(update={"approvers": names})
    return shop.settings.model_copy(update={"registry": registry})


def last() -> dict:
    entry = Ledger.from_environment().history(kind="approval")[-1]
    return {"actor": entry["actor"], "to_version": entry["to_version"], **entry["payload"]}


def test_an_approver_says_yes_or_no_and_it_is_written_down(shop: Shop, version: int) -> None:
    settings = only(shop, "ann", "bo")
    assert record_answer(settings, version, approved=True, by="ann", started_by="bo").approved
    expected = {"actor": "ann", "to_version": version, "outcome": "approved", "reason": "", "started_by": "bo"}
    assert last() == expected
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
