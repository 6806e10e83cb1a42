"""Batches of new images: what the score and drift DAGs run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from packshot.cli.groups import inbox
from packshot.cli.shared import (
    Engine,
    emit,
    finish,
)
from packshot.config import load_settings


@inbox.command("put")
def inbox_put(
    folder: Annotated[Path, typer.Argument(help="Folder of new images.")],
    batch: Annotated[str, typer.Option(help="Name of the batch.")],
) -> None:
    """Copy a folder of new images into the inbox as one batch."""
    from packshot.ops.pipeline import inbox_put as step

    outcome = step(folder, batch)
    finish(outcome.record, outcome.done)


@inbox.command("forget")
def inbox_forget(
    batch: Annotated[str, typer.Argument(help="Name of the batch, or the `batch_id` that its verdicts have.")],
) -> None:
    """Forget the pictures of a batch, so that later ones are no copies of them; 99 where none is known.

    Its folder in the inbox and its verdicts stay; a batch that is scored again is known again.
    """
    from packshot.ops.pipeline import inbox_forget as step

    outcome = step(load_settings(), batch)
    finish(outcome.record, outcome.done)


@inbox.command("plan")
def inbox_plan(
    for_drift: Annotated[bool, typer.Option("--drift", help="Scored batches that were not checked for drift.")] = False,
    for_shadow: Annotated[
        bool, typer.Option("--shadow", help="Batches of the champion that the version in shadow has still to score.")
    ] = False,
    rescore: Annotated[bool, typer.Option("--rescore", help="Also batches that an earlier champion scored.")] = False,
    batch: Annotated[str | None, typer.Option(help="Only this batch.")] = None,
    day: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Batches that arrived on this day (UTC), each with its model version."),
    ] = None,
    champion: Annotated[
        Literal["then", "now"], typer.Option(help="With --day: whose verdicts, the champion's of then or of now.")
    ] = "then",
    as_json: Annotated[bool, typer.Option("--json", hidden=True)] = False,
) -> None:
    """List the batches that wait for the champion; 99 where none waits."""
    from packshot.ops import pipeline

    del as_json
    settings = load_settings()
    if for_drift:
        outcome = pipeline.inbox_drift_plan(settings)
    elif for_shadow:
        outcome = pipeline.inbox_shadow_plan(settings)
    elif day is not None:
        outcome = pipeline.inbox_day_plan(settings, day.date(), champion)
    else:
        outcome = pipeline.inbox_plan(settings, rescore=rescore, batch=batch)
    finish(outcome.record, outcome.done)


@inbox.command("score")
def inbox_score(
    batch: str,
    model: Annotated[int | None, typer.Option(min=1, help="Version to score with; default: the champion.")] = None,
    engine: Engine = None,
) -> None:
    """Score one batch of the inbox with the champion, or with an earlier version again."""
    from packshot.ops.pipeline import inbox_score as step

    emit(step(load_settings().scored_by(engine), batch, model).record)


@inbox.command("cut")
def inbox_cut(
    batch: str,
    model: Annotated[int | None, typer.Option(min=1, help="Version to score with; default: the champion.")] = None,
    engine: Engine = None,
) -> None:
    """Cut one batch into shards and list the parts that wait, so that several processes can score it.

    With the engine ray there is one part: the cluster shares it out.
    """
    from packshot.ops.pipeline import inbox_cut as step

    emit(step(load_settings().scored_by(engine), batch, model).record)


@inbox.command("score-part")
def inbox_score_part(
    batch: str,
    first: Annotated[int, typer.Argument(min=0, help="Number of the first shard.")],
    end: Annotated[int, typer.Argument(min=1, help="Number after the last shard.")],
    model: Annotated[int, typer.Option(min=1, help="The version for which the batch was cut.")],
    engine: Engine = None,
) -> None:
    """Score some shards of a batch that was cut, beside other processes; finished shards stay as they are."""
    from packshot.ops.pipeline import inbox_score_part as step

    emit(step(load_settings().scored_by(engine), batch, model, range(first, end)).record)


@inbox.command("merge")
def inbox_merge(
    batch: str,
    model: Annotated[int, typer.Option(min=1, help="The version for which the batch was cut.")],
) -> None:
    """Make the scored shards of a batch its verdicts; exit code 75 where shards are missing."""
    from packshot.ops.pipeline import inbox_merge as step

    emit(step(load_settings(), batch, model).record)


@inbox.command("shadow")
def inbox_shadow(batch: str) -> None:
    """Score one batch with the version in shadow, beside the champion; it decides nothing. 99 where none is."""
    from packshot.ops.pipeline import inbox_shadow as step

    outcome = step(load_settings(), batch)
    finish(outcome.record, outcome.done)


@inbox.command("drift")
def inbox_drift(batch: str) -> None:
    """Check one scored batch for drift."""
    from packshot.ops.pipeline import inbox_drift as step

    emit(step(load_settings(), batch).record)


@inbox.command("respond")
def inbox_respond() -> None:
    """Answer drift alarms: queue pictures to label, decide by drift.retrain; 99 where no training is worth it."""
    from packshot.ops.labels import respond

    outcome = respond(load_settings())
    finish(outcome.record, outcome.done)
