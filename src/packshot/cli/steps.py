"""Steps that DAGs run beside those of people: data, notices, drills."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from packshot.cli.groups import data, drill, notices
from packshot.cli.shared import (
    Model,
    emit,
    finish,
)
from packshot.config import load_settings
from packshot.errors import PackshotError


@data.command("step")
def data_step(step: Annotated[str, typer.Argument(help="collect, validate or split.")]) -> None:
    """Run one data stage in the catalogue workspace."""
    from packshot.ops import pipeline

    if step not in ("collect", "validate", "split"):
        raise PackshotError(f"there is no data step {step!r}; there are collect, validate and split")
    outcome = pipeline.data_step(load_settings(), step)  # type: ignore[arg-type]
    finish(outcome.record, outcome.done)


@data.command("publish")
def data_publish() -> None:
    """Push the data to the DVC remote and commit its revision; 99 where it is published already."""
    from packshot.ops.pipeline import publish_data

    outcome = publish_data(load_settings())
    finish(outcome.record, outcome.done)


@notices.command("send")
def notices_send() -> None:
    """Send the notices that wait, by all of notices.to; 99 where none was sent."""
    from packshot.ops.notices import send_waiting

    sent = send_waiting(load_settings())
    finish({"sent": sent}, done=sent > 0)


@notices.command("failed")
def notices_failed(
    dag: Annotated[str, typer.Option(help="The DAG.")],
    run: Annotated[str, typer.Option(help="Its run.")],
    task: Annotated[str, typer.Option(help="The task, with the index of a mapped one.")],
    attempt: Annotated[int, typer.Option(help="Which try it was.")],
    cause: Annotated[str, typer.Option(help="What it said last.")],
) -> None:
    """Write to the ledger that a task failed for good, and tell of it; every DAG calls this."""
    from packshot.ops.notices import record_failure, tell

    settings = load_settings()
    entry = record_failure(dag, run, task, attempt, cause)
    tell(settings)
    emit({"entry": entry})


@drill.command("bad-challenger")
def drill_bad_challenger() -> None:
    """Register a copy of the champion with damaged weights as challenger, to see the gates refuse it."""
    from packshot.ops.drills import bad_challenger

    outcome = bad_challenger(load_settings())
    finish(outcome.record, outcome.done)


@drill.command("damage")
def drill_damage(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of good pictures; default: those held back from training.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures at most; each is damaged in six ways.")] = 16,
    model: Model = "champion",
) -> None:
    """Plant everyday damage on good pictures, to see what a model rescues, harms, passes on or sends to a person.

    The next report shows it. Nothing is recorded; 99 where it was tried on these pictures before.
    """
    from packshot.ops.drills import planted_damage

    outcome = planted_damage(load_settings(), folder, count, model)
    finish(outcome.record, outcome.done)
