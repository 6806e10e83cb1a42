"""Starting the whole loop, or the services it runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from packshot.cli.groups import app
from packshot.cli.shared import emit
from packshot.config import load_settings


@app.command()
def demo() -> None:
    """The main job, end to end, in a real Airflow: from collecting images to the report."""
    from packshot.ops.demo import run

    raise typer.Exit(run(load_settings()))


@app.command()
def champion() -> None:
    """Train the full recipe on the newest data, register it and ask the gates (up to 3 hours on 2 cores)."""
    from packshot.ops.champion import run

    raise typer.Exit(run(load_settings()))


@app.command()
def starter(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where data, features and the model are made.")],
) -> None:
    """Make the model that comes with the package, from sets that anybody may use; ends with its card."""
    from packshot.ops.starter import run

    emit(run(load_settings(), folder.resolve()))


@app.command()
def overlays(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where pictures are collected and split.")],
    copies: Annotated[int, typer.Option(min=1000, help="Copies of pictures to learn from.")] = 120_000,
    go_on: Annotated[bool, typer.Option("--go-on", help="Go on from the network that is there.")] = False,
) -> None:
    """Teach the network of the rule `laid_over` anew, from the sets that teach the starter model (half an hour)."""
    from packshot.ops.overlays import run

    emit(run(load_settings(), folder.resolve(), copies=copies, go_on=go_on))


@app.command()
def up() -> None:
    """Start Airflow and MLflow on loopback and say their addresses."""
    from packshot.ops.services import up as start

    start(load_settings())


@app.command()
def down() -> None:
    """Stop what `up` started."""
    from packshot.ops.services import down as stop

    stop()
