"""The command and its groups."""

from __future__ import annotations

from typing import Annotated

import typer

from packshot.cli.purposes import ByPurpose
from packshot.relocation import settle

app = typer.Typer(
    cls=ByPurpose,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Judge, enhance and route the pictures of a shop's catalogue, and keep the model that does it good.",
)
data = typer.Typer(no_args_is_help=True, help="Data stages in the catalogue workspace; what the intake DAG runs.")
inbox = typer.Typer(no_args_is_help=True, help="Batches of new images; what the score and drift DAGs run.")
registry = typer.Typer(no_args_is_help=True, help="Model versions, the ledger, rollback.")
notices = typer.Typer(no_args_is_help=True, help="Telling people: the notices that wait, and failed tasks.")
labels = typer.Typer(no_args_is_help=True, help="Labels for scored pictures, and the queue of pictures to label.")
export = typer.Typer(
    no_args_is_help=True,
    help="What other systems and people take from verdicts; docs/exports.md has every column. "
    "99 where there is nothing to export.",
)
drill = typer.Typer(no_args_is_help=True, help="Rehearsals that show a safeguard at work.")


def _say_version(wanted: bool) -> None:
    if wanted:
        from packshot import __version__

        print(f"packshot {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """Judge, enhance and route the pictures of a shop's catalogue, and keep the model that does it good."""
    settle()


app.add_typer(data, name="data")
app.add_typer(inbox, name="inbox")
app.add_typer(registry, name="registry")
app.add_typer(notices, name="notices")
app.add_typer(labels, name="labels")
app.add_typer(export, name="export")
app.add_typer(drill, name="drill")
