"""What entries add up to, by entries written in their order; and that entries of other Packshots still parse."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from packshot.registry.events import KINDS, Committed, DriftChecked, Registered, parse
from packshot.registry.ledger import ENTRIES, Ledger, LedgerError
from packshot.registry.lineage import Lineage, LineageUnknown
from packshot.registry.state import State, replay

Step = tuple[str, int | None, int | None] | tuple[str, int | None, int | None, dict[str, Any]]


def state_of(*steps: Step) -> State:
    """`steps`: kind, from, to and, where it has one, a payload."""
    found = []
    for number, (kind, came, went, *payload) in enumerate(steps, 1):
        entry = {"id": number, "at": f"2026-01-{number:02d}T00:00:00+00:00", "actor": f"a{number}", "kind": kind}
        found.append(parse(entry | {"from_version": came, "to_version": went, "payload": (payload or [{}])[0]}))
    return replay(found)


def promoted(came: int | None, went: int) -> list[Step]:
    return [("intent", came, went), ("moved", came, went), ("committed", came, went)]


def taken_back(came: int, went: int) -> list[Step]:
    return [("rollback_intent", came, went), ("rollback_moved", came, went), ("rollback_committed", came, went)]


def test_nothing_happened() -> None:
    empty = state_of()
    assert (empty.champion, empty.champions, empty.pending, empty.shadow, empty.last_id) == (None, [], None, None, 0)


def test_reigns_follow_each_other_and_rollbacks_take_champions_off_the_stack() -> None:
    state = state_of(*promoted(None, 1), *promoted(1, 2), *promoted(2, 3), *taken_back(3, 1))
    assert state.champion == 1 and state.champions == [1, 2, 3, 1]
    assert state.standing == [1] and state.rolled_back == {3}
    first, last = state.reigns_of(1)
    assert (first.by, first.since[:10], (first.until or "")[:10]) == ("a3", "2026-01-03", "2026-01-06")
    assert (last.since[:10], last.until) == ("2026-01-12", None)


def test_a_version_that_is_champion_again_is_not_rolled_back_any_more() -> None:
    state = state_of(*promoted(None, 1), *promoted(1, 2), *taken_back(2, 1), *taken_back(1, 2))
    assert state.rolled_back == {1} and state.standing == [1, 2]


def test_an_adopted_absence_is_no_champion_and_ends_a_move() -> None:
    state = state_of(*promoted(None, 1), ("intent", 1, 2), ("adopted", 1, None))
    assert (state.champion, state.champions, state.pending, state.standing) == (None, [1, None], None, [1])


@pytest.mark.parametrize(("kind", "rollback"), [("intent", False), ("rollback_intent", True)])
def test_a_move_is_pending_until_it_is_committed(kind: str, rollback: bool) -> None:
    begun = state_of(*promoted(None, 1), (kind, 1, 2)).pending
    assert begun is not None and begun.entry.rollback is rollback
    assert (begun.ends, begun.version, begun.moved, begun.entry.id) == ((1, 2), 2, False, 4)
    moved = state_of(*promoted(None, 1), (kind, 1, 2), (kind.replace("intent", "moved"), 1, 2)).pending
    assert moved is not None and moved.moved and moved.entry.id == 4
    assert state_of((kind, 1, 2), (kind.replace("intent", "committed"), 1, 2)).pending is None


def test_a_version_leaves_the_shadow_when_it_is_taken_out_or_made_champion() -> None:
    begun: Step = ("shadow", 1, 2, {"state": "begun"})
    complete: Step = ("shadow", 1, 2, {"state": "complete"})
    shadow = state_of(*promoted(None, 1), begun, complete).shadow
    assert shadow is not None and (shadow.version, shadow.entry, shadow.complete_beside) == (2, 5, 1)
    assert state_of(begun).shadow is not None and state_of(begun).shadow.complete_beside is None  # type: ignore[union-attr]
    assert state_of(begun, ("shadow", 1, 2, {"state": "ended"})).shadow is None
    assert state_of(begun, *promoted(1, 2)).shadow is None
    assert state_of(begun, *promoted(1, 3)).shadow is not None


def test_what_gates_and_people_said_of_a_version_and_what_became_of_it() -> None:
    refused: Step = ("refused", 1, 2, {"outcome": "not_enough_evidence", "reason": "few"})
    gate: Step = ("gate", 1, 2, {"gates": [{"metric": "m"}], "outcome": "promoted"})
    state = state_of(
        ("register", None, 2, {"bundle_sha256": "first"}),
        ("register", None, 2, {"bundle_sha256": "second"}),
        refused,
        gate,
        ("approval", None, 2, {"outcome": "approved"}),
    )
    assert state.registered[2].payload.bundle_sha256 == "first", "what was registered is not said anew"
    assert state.gates[2].id == 4 and state.judged == {2: 4} and state.outcomes == {2: "not_enough_evidence"}
    assert [answer.actor for answer in state.approvals[2]] == ["a5"]
    assert state_of(refused, *promoted(1, 2)).outcomes == {2: "promoted"}


def test_entries_of_an_older_or_a_newer_packshot_keep_what_is_not_known_here(ledger: Ledger) -> None:
    ledger.record("register", model_name="m", to_version=1, payload={"colour": "red", "note": "n"})
    (event,) = ledger.events("m")
    assert isinstance(event, Registered) and event.payload.bundle_sha256 is None
    assert event.payload.model_dump(exclude_unset=True) == {"colour": "red", "note": "n"}
    bare = {"id": 1, "at": "2026-01-01T00:00:00+00:00", "actor": "a", "payload": {}}
    assert isinstance(parse(bare | {"kind": "drift"}), DriftChecked)
    assert isinstance(parse(bare | {"kind": "adopted", "column_of_tomorrow": 1}), Committed)


def test_a_kind_that_is_not_known_here_is_an_error_that_names_the_entry(ledger: Ledger) -> None:
    assert {"register", "rollback_intent", "adopted", "notice"} <= KINDS
    row = {"at": "2026-01-01T00:00:00+00:00", "actor": "a", "kind": "crowned", "model_name": "m", "payload": "{}"}
    with sa.create_engine(ledger.address).begin() as connection:
        connection.execute(sa.insert(ENTRIES).values(row))
    with pytest.raises(LedgerError, match=r"entry 1 .* 'crowned'"):
        ledger.state("m")


def test_a_payload_that_lacks_what_its_kind_needs_is_not_written(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="state"):
        ledger.record("shadow", model_name="m", to_version=1, payload={"note": "no state"})
    assert ledger.history() == []


def test_a_lineage_is_the_columns_of_an_entry_and_the_run_key() -> None:
    known = Lineage("m", 3, "run", "data", "code", "params")
    assert known.entry()["to_version"] == 3 and known.entry()["model_name"] == "m" and known.key.code_rev == "code"
    assert known.label() == "m version 3" and Lineage("m").label() == "m bundle"
    with pytest.raises(LineageUnknown, match="packshot register"):
        _ = Lineage("m", 3, "run", "data", None, "params").key
