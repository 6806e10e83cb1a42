"""Model versions, the ledger, rollback."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from packshot.cli.groups import registry
from packshot.cli.shared import (
    BROKEN_CHAIN,
    emit,
    finish,
)
from packshot.config import load_settings
from packshot.progress import say


@registry.command("history")
def registry_history(as_json: Annotated[bool, typer.Option("--json", help="One JSON line an entry.")] = False) -> None:
    """Every registration, gate decision, promotion and rollback, oldest first."""
    from packshot.registry.history import print_history

    print_history(load_settings(), as_json=as_json)


@registry.command("verify")
def registry_verify() -> None:
    """Whether an entry of the ledger was changed, replaced or removed; says which. Exit code 65 where one was."""
    from packshot.registry.ledger import Ledger

    ledger = Ledger.from_environment()
    found = ledger.breaks()
    for one in found:
        say(one)
    emit({"entries": len(ledger.history()), "breaks": found})
    if found:
        say("restore the ledger from a backup, or find out who wrote to its database; until then trust none of it")
        raise typer.Exit(BROKEN_CHAIN)


@registry.command("costs")
def registry_costs(
    by: Annotated[
        Literal["month", "version"], typer.Option(help="What to sum over, beside the kind of run.")
    ] = "month",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a sum.")] = False,
) -> None:
    """What retraining, registering, gates, scoring and drift checks have cost, at the rates of params.yaml then."""
    from packshot.registry.costs import table, totals
    from packshot.registry.ledger import Ledger

    found = totals(Ledger.from_environment(), by)
    if as_json:
        for total in found:
            print(json.dumps(total.as_record(), sort_keys=True))
    else:
        print(table(found, by) if found else "nothing has left its cost in the ledger yet")


@registry.command("rollback")
def registry_rollback(
    to: Annotated[int | None, typer.Option(help="Version to return to; default: the champion before this one.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the ledger and the desk.")] = None,
) -> None:
    """Make an earlier champion the champion again."""
    from packshot.ops.notices import tell
    from packshot.registry.rollback import rollback

    settings = load_settings()
    result = rollback(settings, to, reason=reason)
    tell(settings)
    emit(result.as_record())


@registry.command("answer")
def registry_answer(
    version: Annotated[int, typer.Argument(help="The version that was asked about.")],
    approve: Annotated[bool, typer.Option("--approve/--reject", help="What the answer was.")],
    by: Annotated[str | None, typer.Option(help="Who gave it; left out: nobody did in time.")] = None,
    started_by: Annotated[str | None, typer.Option(help="Who started the run that asked.")] = None,
) -> None:
    """Write to the ledger what a person answered in Airflow; the promote DAG calls this.

    Exit code 77 where that person may not approve this version, or this account may not pass on answers.
    """
    from packshot.ops.notices import tell
    from packshot.registry.approval import record_answer

    settings = load_settings()
    try:
        found = record_answer(settings, version, approved=approve, by=by, started_by=started_by)
    finally:
        tell(settings)
    emit({"version": found.version, "approved": found.approved, "by": found.by})


@registry.command("approve")
def registry_approve(version: Annotated[int, typer.Argument(help="A version whose gates passed.")]) -> None:
    """Approve, as the user you are, that a version becomes champion; then `packshot promote` moves it.

    Exit code 77 where you may not: you are no approver, or had it trained, or asked for it yourself.
    """
    _own_answer(version, approved=True)


@registry.command("reject")
def registry_reject(version: Annotated[int, typer.Argument(help="A version whose gates passed.")]) -> None:
    """Say, as the user you are, that a version shall not become champion."""
    _own_answer(version, approved=False)


def _own_answer(version: int, *, approved: bool) -> None:
    from packshot.ops.notices import tell
    from packshot.registry.approval import record_own_answer

    settings = load_settings()
    try:
        found = record_own_answer(settings, version, approved=approved)
    finally:
        tell(settings)
    emit({"version": found.version, "approved": found.approved, "by": found.by})


@registry.command("shadow")
def registry_shadow(
    version: Annotated[int | None, typer.Argument(help="Version to show; default: the one in shadow.")] = None,
    begin: Annotated[int | None, typer.Option(help="Put this version in shadow, in place of the one that is.")] = None,
    end: Annotated[bool, typer.Option("--end", help="Take the version in shadow out of it.")] = False,
) -> None:
    """How a version in shadow agrees with the champion on the batches both scored; JSON and a picture are kept.

    A challenger that lacks nothing but batches enters by itself where registry.shadow_batches is not 0. Exit code 66:
    none is in shadow, or it has judged nothing yet.
    """
    from packshot.registry import shadow

    settings = load_settings()
    if begin is not None:
        shadow.begin(settings, begin)
    if end:
        ended = shadow.end(settings)
        finish({"ended": ended}, ended is not None)
        return
    record = shadow.report(settings, version if version is not None else begin)
    say(shadow.table(record))
    emit(record)


@registry.command("adopt")
def registry_adopt() -> None:
    """Accept a champion alias that somebody moved by hand; the ledger remembers it."""
    from packshot.registry.alias import adopt

    emit({"champion": adopt(load_settings())})
