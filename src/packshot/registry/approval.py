"""What a person answered when asked whether a version shall become champion, and whether that lets it move."""

from __future__ import annotations

from dataclasses import dataclass

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.registry.events import Gated
from packshot.registry.ledger import Ledger
from packshot.registry.models import recorded
from packshot.registry.people import person, user_at_work
from packshot.registry.state import State

NOBODY = "nobody in time"


class NotYoursToApprove(PackshotError):
    """The person who answered may not: they are no approver, or the work is their own."""

    exit_code = 77


class NotApproved(PackshotError):
    """A version that passed its gates may not become champion until somebody else approves it."""

    exit_code = 77


@dataclass(frozen=True)
class Answer:
    """Whether `version` may become champion, and who said so."""

    version: int
    approved: bool
    by: str


def record_answer(
    settings: Settings, version: int, *, approved: bool, by: str | None, started_by: str | None = None
) -> Answer:
    """Write to the ledger what was answered in Airflow. `by`: who gave the answer, None where time ran out;
    `started_by`: who started the run that asked.

    An approval counts only from somebody in `registry.approvers` (anybody, where that is empty) who neither registered
    the version nor asked for it to be promoted. Raises NotYoursToApprove otherwise, after writing that down too, and
    where another account than `registry.airflow_account` passes an answer on. NoSuchModel where there is no such
    version.
    """
    service = settings.registry.airflow_account
    if service is not None and user_at_work() != service:
        raise NotYoursToApprove(
            f"{user_at_work()} cannot answer for others: only {service} (registry.airflow_account) passes on what was "
            f"answered in Airflow. For your own answer: `packshot registry approve {version}` or `reject {version}`"
        )
    return _record(settings, version, approved=approved, by=by, started_by=started_by)


def record_own_answer(settings: Settings, version: int, *, approved: bool) -> Answer:
    """Write to the ledger what the user of this process answers. Raises as `record_answer`."""
    return _record(settings, version, approved=approved, by=user_at_work(), started_by=None)


def check_approved(settings: Settings, state: State, version: int) -> None:
    """Let a version move that an approver approved after its gates had passed against the champion of now.

    Raises NotApproved, and says what to do.
    """
    gate = passed_gates(state, version)
    how = f"`packshot registry approve {version}`, or the question in Airflow, then `packshot promote` again"
    if gate is None:
        raise NotApproved(
            f"version {version} has no gates that passed against the champion of now "
            f"({state.champion or 'none'}); run `packshot promote --challenger {version}`"
        )
    answers = [answer for answer in state.approvals.get(version, ()) if answer.id > gate.id]
    if not answers:
        raise NotApproved(
            f"version {version} passed its gates (ledger entry {gate.id}) and registry.approval is on: it waits for "
            f"somebody else to approve it: {how}"
        )
    last = answers[-1]
    if last.payload.outcome != "approved":
        raise NotApproved(
            f"version {version} was rejected by {last.actor}: {last.payload.reason or 'no reason given'}. To ask anew: "
            f"`packshot promote --check --challenger {version}`, then {how}"
        )
    against = _objection(settings, state, version, last.actor, last.payload.started_by)
    if against is not None:
        raise NotApproved(f"the approval of version {version} (ledger entry {last.id}) does not count: {against}")


def passed_gates(state: State, version: int) -> Gated | None:
    """The newest decision of the gates about a version, where all passed and the champion is still the same."""
    gate = state.gates.get(version)
    stands = gate is not None and gate.payload.outcome == "promoted" and gate.from_version == state.champion
    return gate if stands else None


def answered(state: State, version: int) -> bool:
    """Whether anybody answered about a version since its gates passed against the champion of now."""
    gate = passed_gates(state, version)
    return gate is not None and any(answer.id > gate.id for answer in state.approvals.get(version, ()))


def _record(settings: Settings, version: int, *, approved: bool, by: str | None, started_by: str | None) -> Answer:
    ledger = Ledger.from_environment()
    state = ledger.state(settings.registry.model_name)
    lineage = recorded(settings, version, ledger).lineage
    against = _objection(settings, state, version, by, started_by) if approved else None
    answer = "approved" if approved and against is None else "rejected"
    ledger.record(
        "approval",
        actor=by or NOBODY,
        **lineage.entry(),
        payload={"outcome": answer, "reason": against or "", "started_by": started_by, "account": user_at_work()},
    )
    if against is not None:
        raise NotYoursToApprove(f"version {version} is not approved: {against}")
    return Answer(version, approved, by or NOBODY)


def _objection(settings: Settings, state: State, version: int, by: str | None, started_by: str | None) -> str | None:
    if by is None:
        return "an approval needs the name of who gives it"
    registry, who = settings.registry, person(settings, by)
    if who not in {person(settings, name) for name in registry.approvers or (by,)}:
        return f"{by} is not in registry.approvers ({', '.join(registry.approvers)})"
    if registry.airflow_account is not None and by == registry.airflow_account:
        return f"{by} is the account under which Airflow works, which is nobody's own"
    own = "nobody approves their own; let somebody else answer"
    if started_by is not None and who == person(settings, started_by):
        return f"{by} started the run that asks, and {own}"
    registered, gate = state.registered.get(version), state.gates.get(version)
    if registered is not None and who == person(settings, registered.actor):
        return f"{by} had the version trained, and {own}"
    if gate is not None and who == person(settings, gate.actor):
        return f"{by} asked the gates to promote the version, and {own}"
    return None
