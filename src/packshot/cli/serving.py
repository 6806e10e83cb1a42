"""Verdicts at an address, and the keys that open it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from packshot.cli.groups import app
from packshot.cli.shared import Model, emit
from packshot.config import load_settings
from packshot.progress import say

if TYPE_CHECKING:
    from packshot.service.access import Role

keys = typer.Typer(no_args_is_help=True, help="Who may ask the service: keys with a role, kept as hashes.")
app.add_typer(keys, name="keys")
people = typer.Typer(no_args_is_help=True, help="Who may sign in to the desk: people with a role and a password.")
app.add_typer(people, name="people")
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called, for you.")]

PersonName = Annotated[str, typer.Argument(metavar="NAME", help="As the ledger is to call them.")]
RoleName = Annotated[str, typer.Option("--role", help="read, score, review, approve or admin; see docs/service.md.")]
Address = Annotated[str, typer.Option(help="Where people reach the desk.")]
HERE = "http://127.0.0.1:8300"


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: every one this machine has.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8300,
    model: Model = "champion",
    verdicts: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of verdicts for the desk; may be repeated. Default: all batches of the inbox."),
    ] = None,
) -> None:
    """Answer verdicts over HTTP: POST /v1/verdicts with a key; /docs explains. The ledger's champion judges.

    Ready when /readyz answers 200. A new champion is swapped in without a request lost. Ends by Ctrl-C or SIGTERM, when
    what waits is answered. Behind a proxy that speaks TLS: keys are no use where anybody can read along.
    """
    import logging

    from packshot.service.app import make_app
    from packshot.service.server import check_free, server_of

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("packshot.service").setLevel(logging.INFO)
    settings = load_settings()
    check_free(host, port)
    say(f"service: http://{host}:{port}/docs; `packshot keys add NAME --role score` makes a key")
    app = make_app(settings, model, verdicts=verdicts or ())
    server_of(app, settings.service, host, port).run()


@keys.command("add")
def add(
    name: KeyName,
    role: RoleName,
    days: Annotated[int | None, typer.Option(min=1, help="Until it expires; default: it does not.")] = None,
) -> None:
    """Make a key and print it, once: it is kept as a hash."""
    from packshot.service.keys import Keys
    from packshot.service.names import check_name
    from packshot.service.people import People

    chosen = _role(role)
    check_name(name, Keys(), People())
    print(Keys().add(name, chosen, days))


@keys.command("list")
def show() -> None:
    """All keys: name, role, id (as in the service's log), when made, expired, revoked. Never a secret."""
    from packshot.service.keys import Keys

    for key in Keys().all():
        emit({"id": key.id} | key.model_dump(mode="json", exclude={"sha256"}))


@keys.command("revoke")
def revoke(name: KeyName) -> None:
    """From now on the key opens nothing; a running service knows at once."""
    from packshot.service.keys import Keys

    Keys().revoke(name)
    say(f"{name} is revoked")


@people.command("add")
def let_in(name: PersonName, role: RoleName, address: Address = HERE) -> None:
    """Let somebody sign in to the desk: prints a link, good once within 48 h, under which they choose a password."""
    from packshot.service.keys import Keys
    from packshot.service.names import check_name
    from packshot.service.people import People

    chosen = _role(role)
    check_name(name, Keys(), People())
    print(_link(address, People().add(name, chosen)))


@people.command("link")
def link(name: PersonName, address: Address = HERE) -> None:
    """A new link for who forgot their password or was locked out; earlier links open nothing any more."""
    from packshot.service.people import People

    print(_link(address, People().link(name)))


@people.command("list")
def everybody() -> None:
    """All people: name, role, when added, when removed, and whether they have chosen a password."""
    from datetime import UTC, datetime

    from packshot.service.people import People

    for person in People().all():
        times = {"created": person.created, "removed": person.removed}
        told = {name: datetime.fromtimestamp(at, UTC).isoformat() if at else None for name, at in times.items()}
        emit({"name": person.name, "role": person.role, "ready": person.ready} | told)


@people.command("remove")
def remove(name: PersonName) -> None:
    """From now on they cannot sign in, and their sessions end; what they decided stays."""
    from packshot.service.people import People

    People().remove(name)
    say(f"{name} is removed")


def _link(address: str, secret: str) -> str:
    return f"{address.rstrip('/')}/desk/enter?link={secret}"


def _role(named: str) -> Role:
    from packshot.service.access import ROLES

    chosen = next((each for each in ROLES if each == named), None)
    if chosen is None:
        raise typer.BadParameter(f"{named!r} is none of {', '.join(ROLES)}", param_hint="--role")
    return chosen
