"""An earlier champion again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.progress import say
from packshot.registry.alias import champion, exclusive, heal, move
from packshot.registry.ledger import Ledger
from packshot.registry.models import bundle_path
from packshot.registry.state import State


class NothingToRollBackTo(PackshotError):
    """There is no earlier champion, or the version asked for never was one."""

    exit_code = 66


@dataclass(frozen=True)
class RollbackResult:
    """Which version was champion before, and which is now."""

    model_name: str
    from_version: int | None
    to_version: int

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def rollback(
    settings: Settings, to: int | None = None, *, by: str | None = None, reason: str | None = None
) -> RollbackResult:
    """Make the champion before this one, or version `to`, the champion again. `by`: who asked, where that is not the
    user at work; `reason`: why, for the ledger.

    Only a version that was champion before can be returned to: others have to pass the gates. Its artefacts are
    fetched and checked first. Rolling back twice goes two champions back, not forth and back; a call after one that
    was interrupted finishes that one.
    Raises NothingToRollBackTo, ArtefactsDamaged, AliasMovedByHand, RegistryBusy, TrackingUnreachable.
    """
    ledger = Ledger.from_environment()
    name = settings.registry.model_name
    with exclusive():
        finished = heal(settings, ledger)
        if finished is not None and finished.entry.rollback and to is None:
            # the same command again: going back once more would be one champion too far
            return RollbackResult(name, finished.entry.from_version, finished.version)
        now = champion(settings, ledger)
        target = _target(ledger.state(name), name, now, to)
        if target == now:
            say(f"version {target} of {name} is the champion already")
            return RollbackResult(name, now, target)
        bundle_path(settings, str(target))
        told = {"asked_for": to, "reason": reason}
        move(settings, ledger, from_version=now, to_version=target, rollback=True, payload=told, by=by)
    say(f"champion of {name}: version {target} again, was {now}")
    return RollbackResult(name, now, target)


def _target(state: State, name: str, now: int | None, to: int | None) -> int:
    if to is None:
        earlier = [version for version in state.standing if version != now]
        if not earlier:
            raise NothingToRollBackTo(f"{name} has had no champion before {now}; there is nothing to return to")
        return earlier[-1]
    champions = {version for version in state.champions if version is not None}
    if to not in champions:
        known = ", ".join(map(str, sorted(champions))) or "none"
        raise NothingToRollBackTo(
            f"version {to} of {name} never was champion (those that were: {known}); "
            "a version that was not goes through the gates: `packshot promote --challenger`"
        )
    return to
