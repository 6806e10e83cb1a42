"""Verdicts at an address, and the keys that open it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from packshot.cli.groups import app
from packshot.cli.shared import Model, emit
from packshot.config import load_settings
from packshot.progress import say

keys = typer.Typer(no_args_is_help=True, help="Who may ask the service: keys with a role, kept as hashes.")
app.add_typer(keys, name="keys")
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called, for you.")]


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
    role: Annotated[str, typer.Option(help="read, score, review, approve or admin; see docs/service.md.")],
    days: Annotated[int | None, typer.Option(min=1, help="Until it expires; default: it does not.")] = None,
) -> None:
    """Make a key and print it, once: it is kept as a hash."""
    from packshot.errors import PackshotError
    from packshot.service.access import ROLES
    from packshot.service.keys import Keys

    chosen = next((each for each in ROLES if each == role), None)
    if chosen is None:
        raise typer.BadParameter(f"{role!r} is none of {', '.join(ROLES)}", param_hint="--role")
    if not name.strip() or len(name) > 80:
        raise PackshotError("a key needs a name of 1 to 80 characters")
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
