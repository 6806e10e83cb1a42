"""What a person answered when asked whether a version shall become champion."""

from __future__ import annotations

from dataclasses import dataclass

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.registry.ledger import Ledger
from packshot.registry.models import recorded

NOBODY = "nobody in time"


class NotYoursToApprove(PackshotError):
    """The person who answered may not: they are no approver, or the work is their own."""

    exit_code = 2


@dataclass(frozen=True)
class Answer:
    """Whether `version` may become champion, and who said so."""

    version: int
    approved: bool
    by: str


def record_answer(
    settings: Settings, version: int, *, approved: bool, by: str | None, started_by: str | None = None
) -> Answer:
    """Write the answer to the ledger. `by`: who gave it, None where time ran out; `started_by`: who started the run
    that asked.

    An approval counts only from somebody in `registry.approvers` (anybody, where that is empty) who neither registered
    the version nor started the run. Raises NotYoursToApprove otherwise, after writing that down too. NoSuchModel where
    there is no such version.
    """
    ledger = Ledger.from_environment()
    found = recorded(settings, version, ledger).lineage
    against = _objection(settings, ledger, version, by, started_by) if approved else None
    answer = "approved" if approved and against is None else "rejected"
    ledger.record(
        "approval",
        actor=by or NOBODY,
        **found.entry(),
        payload={"outcome": answer, "reason": against or "", "started_by": started_by},
    )
    if against is not None:
        raise NotYoursToApprove(f"version {version} is not approved: {against}")
    return Answer(version, approved, by or NOBODY)


def _objection(settings: Settings, ledger: Ledger, version: int, by: str | None, started_by: str | None) -> str | None:
    if by is None:
        return "an approval needs the name of who gives it"
    approvers = settings.registry.approvers
    if approvers and by not in approvers:
        return f"{by} is not in registry.approvers ({', '.join(approvers)})"
    if by == started_by:
        return f"{by} started the run that asks, and nobody approves their own; let somebody else answer"
    registered = ledger.state(settings.registry.model_name).registered.get(version)
    if registered is not None and by == registered.actor:
        return f"{by} had the version trained, and nobody approves their own; let somebody else answer"
    return None
