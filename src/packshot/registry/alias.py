"""The champion: what the ledger says it is, and an MLflow alias that follows.

A move is written down before it happens and after it happened, so that a kill in between can be told from an alias
that somebody moved by hand: the first is finished on the next call, the second is reported and left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.lock import held, lock_path
from packshot.progress import say
from packshot.registry.alias_check import CHAMPION, AliasMovedByHand, agreed, alias_version, in_words
from packshot.registry.approval import check_approved
from packshot.registry.ledger import Ledger
from packshot.registry.models import bundle_path, recorded
from packshot.registry.state import Pending, State

CHALLENGER = "challenger"
LOCK_WAIT_S = 5.0


class RegistryBusy(PackshotError):
    """Another process is registering, promoting or rolling back."""

    exit_code = 75


class ChampionChanged(PackshotError):
    """The version to compare with is not the champion any more."""

    exit_code = 75


@contextmanager
def exclusive(wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Only one process at a time changes the registry. Raises RegistryBusy after `wait_s` seconds."""
    busy = RegistryBusy(
        f"another registration, promotion or rollback is at work (it holds {lock_path('registry')}); "
        "run this again when it is done"
    )
    with held("registry", wait_s, busy):
        yield


def champion(settings: Settings, ledger: Ledger) -> int | None:
    """The champion's version number, None before the first promotion.

    Raises AliasMovedByHand where alias and ledger disagree, TrackingUnreachable; nothing is changed.
    """
    return agreed(settings, ledger.state(settings.registry.model_name), alias_version(settings, CHAMPION))


def heal(settings: Settings, ledger: Ledger) -> Pending | None:
    """Finish a move that a kill interrupted, and return it; None where there is none.

    The intent was written after its gates had passed, so it is carried out: the alias moves if it has not, then the
    ledger is committed. An alias that is at neither end of the move raises AliasMovedByHand.
    """
    pending = ledger.state(settings.registry.model_name).pending
    if pending is None:
        return None
    begun = pending.entry
    found = alias_version(settings, CHAMPION)
    if found not in pending.ends:
        raise AliasMovedByHand(
            f"a move of {CHAMPION!r} from {in_words(begun.from_version)} to {in_words(begun.to_version)} was "
            f"interrupted, and the alias is now at {in_words(found)}: somebody moved it by hand. "
            "`packshot registry adopt` accepts where it is now"
        )
    say(f"finishing the interrupted move of {CHAMPION} to version {begun.to_version}")
    if found != begun.to_version:
        set_alias(settings, CHAMPION, pending.version)
    _close(ledger, begun.id, begun.version_columns(), rollback=begun.rollback, moved=pending.moved, healed=True)
    return pending


def move(
    settings: Settings,
    ledger: Ledger,
    *,
    from_version: int | None,
    to_version: int,
    rollback: bool,
    payload: Mapping[str, Any],
    by: str | None = None,
) -> None:
    """Make `to_version` the champion: intent, alias, moved, committed. Call inside `exclusive()`. `by`: who
    asked, where that is not the user at work.

    The lock is of one machine; between machines the ledger decides: the intent is only written where `from_version` is
    champion and no other move is open in that moment, and, unless it is a rollback, where `registry.approval` is off or
    somebody approved the version since its gates passed. Raises ChampionChanged, NotApproved.
    """
    bundle_path(settings, str(to_version))  # its files lie in the home before anything scores by them
    entry = {"actor": by, "from_version": from_version, **recorded(settings, to_version, ledger).lineage.entry()}
    kind = "rollback_intent" if rollback else "intent"

    def may_move(state: State) -> None:
        _unchanged(settings, from_version, state)
        if settings.registry.approval and not rollback:
            check_approved(settings, state, to_version)

    intent = ledger.record(kind, payload=payload, only_if=may_move, **entry)
    set_alias(settings, CHAMPION, to_version)
    _close(ledger, intent, entry, rollback=rollback, moved=False, healed=False)
    _follow(settings, ledger, to_version)


def _follow(settings: Settings, ledger: Ledger, moved_to: int) -> None:
    """Where another machine finished this move and made the next before the alias moved here, the alias follows it."""
    now = ledger.state(settings.registry.model_name).champion
    if now is not None and now != moved_to:
        set_alias(settings, CHAMPION, now)
        raise ChampionChanged(
            f"version {moved_to} became champion, and another machine made {in_words(now)} champion since"
        )


def _unchanged(settings: Settings, from_version: int | None, state: State) -> None:
    name = settings.registry.model_name
    if state.pending is not None:
        raise ChampionChanged(
            f"a move of {CHAMPION!r} of {name} to version {state.pending.version} is open, begun elsewhere by "
            f"{state.pending.entry.actor} at {state.pending.entry.at}; run this again when it is done"
        )
    if state.champion != from_version:
        raise ChampionChanged(
            f"the champion of {name} was {in_words(from_version)} when this began and is {in_words(state.champion)} "
            "now: somebody else moved it. Nothing was changed; run it again to be compared with that one"
        )


def adopt(settings: Settings, ledger: Ledger | None = None) -> int | None:
    """Accept the alias where somebody put it by hand, and write that down. Returns the version, or None for no alias.

    Where alias and ledger agree and no move is open, nothing is written. Raises NoSuchModel where the ledger has no
    `register` entry of that version, RegistryBusy, TrackingUnreachable.
    """
    book = ledger or Ledger.from_environment()
    name = settings.registry.model_name
    with exclusive():
        state = book.state(name)
        found = alias_version(settings, CHAMPION)
        if found != state.champion or state.pending is not None:
            if found is not None:
                bundle_path(settings, str(found))
            entry = recorded(settings, found, book).lineage.entry() if found is not None else {"model_name": name}
            book.record("adopted", from_version=state.champion, **entry)
            say(f"{CHAMPION} of {name} is {in_words(found)}; accepted as it was set by hand")
        return found


def set_alias(settings: Settings, alias: str, version: int) -> None:
    """Point an alias at a version. Raises TrackingUnreachable."""
    from packshot.registry.tracking import client, reaching, tracking_uri

    mlflow_client = client(settings)
    with reaching(tracking_uri(settings)):
        mlflow_client.set_registered_model_alias(settings.registry.model_name, alias, str(version))


def remove_alias(settings: Settings, alias: str) -> None:
    """Let an alias point at nothing. Raises TrackingUnreachable."""
    from packshot.registry.tracking import client, reaching, tracking_uri

    with reaching(tracking_uri(settings)):
        client(settings).delete_registered_model_alias(settings.registry.model_name, alias)


def _close(ledger: Ledger, intent: int, entry: Mapping[str, Any], *, rollback: bool, moved: bool, healed: bool) -> None:
    """Write that the alias has moved and the version is champion; what another machine wrote meanwhile is left."""
    prefix = "rollback_" if rollback else ""
    payload = {"intent": intent, "healed": healed}
    with suppress(_ClosedElsewhere):
        if not moved:
            ledger.record(f"{prefix}moved", payload=payload, only_if=partial(_still_open, intent), **entry)
        ledger.record(f"{prefix}committed", payload=payload, only_if=partial(_still_open, intent), **entry)


class _ClosedElsewhere(Exception):
    """Another machine took this move for an interrupted one and finished it."""


def _still_open(intent: int, state: State) -> None:
    if state.pending is None or state.pending.entry.id != intent:
        raise _ClosedElsewhere
