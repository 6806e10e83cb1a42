"""Judging pictures."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from packshot.cli.groups import app
from packshot.cli.shared import (
    Delimiter,
    Encoding,
    Engine,
    Model,
    RuleProfile,
    WorkspaceName,
    emit,
    finish,
    hand_on,
    tell,
)
from packshot.config import load_settings
from packshot.progress import say
from packshot.redaction import redacted


@app.command()
def look(
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURES", help="One or several picture files.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to keep enhanced pictures in; an earlier one of a name is replaced.")
    ] = None,
    model: Model = "champion",
    profile: RuleProfile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a verdict: docs/verdict.schema.json.")] = False,
) -> None:
    """Judge a few pictures and say what is wrong and what to do about it, as `score` would. Nothing is recorded."""
    from packshot.scoring.look import look as step
    from packshot.scoring.look_page import page

    verdicts = step(load_settings().judged_by(profile), pictures, model=model, out=out)
    records = [verdict.model_dump(mode="json") for verdict in verdicts]
    if as_json:
        for record in records:
            print(json.dumps(record, sort_keys=True), flush=True)
    else:
        size = shutil.get_terminal_size((100, 24))
        print(redacted(page(verdicts, out, width=size.columns, colour=sys.stdout.isatty())), flush=True)
    hand_on({"verdicts": records})


@app.command()
def score(
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PICTURES", help="A folder, all of it; one or several files; or s3://BUCKET/PREFIX."),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            help="For verdicts.parquet and enhanced/; the same one resumes. A folder, or an address. "
            "Default: a folder beside the pictures, its name ending in -verdicts."
        ),
    ] = None,
    model: Model = "champion",
    profile: RuleProfile = None,
    open_page: Annotated[bool, typer.Option("--open", help="Write the page OUT/report, and open it.")] = False,
    catalog: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet with path, sku, title, sender, category; default: beside the pictures."),
    ] = None,
    engine: Engine = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    drop_gone: Annotated[
        bool, typer.Option("--drop-gone", help="Let go of verdicts in OUT of files that are no longer there.")
    ] = False,
    record: Annotated[
        bool,
        typer.Option(
            "--record/--no-record",
            help="Make the batch one of the shop's: later batches know its pictures, the ledger its cost. "
            "Without, it is a trial that leaves nothing outside OUT. Batches of the inbox are always recorded.",
        ),
    ] = False,
) -> None:
    """Judge pictures: one row each in OUT/verdicts.parquet, enhanced images in OUT/enhanced/.

    The same OUT again judges what is new or has changed. Exit code 73: that would lose verdicts it holds; the message
    says which, and what to do.
    """
    from packshot.ops.pipeline import score_folder
    from packshot.ops.reporting import command_for, open_report, page_of
    from packshot.scoring.named import named, place_for
    from packshot.scoring.summary import summary

    settings = load_settings().scored_by(engine).judged_by(profile).catalog_read_as(delimiter, encoding)
    what = named(pictures)
    place = place_for(what, out)
    page = page_of(place) if open_page else None
    if out is None:
        say(f"verdicts go to {place}; --out names another folder")
    report = score_folder(
        settings,
        what.directory,
        place,
        model=model,
        catalog=catalog,
        drop_gone=drop_gone,
        recorded=record,
        pictures=what.pictures,
    )
    if page is not None:
        open_report(settings, page, place)
    shown = f"page: {page}" if page is not None else f"page: {command_for(place)}"
    tell(report.as_record(), f"{summary(report)}\n{shown}")


@app.command()
def enhance(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Every image below is enhanced.")],
    out: Annotated[Path, typer.Option(help="Folder for the enhanced images, same names and formats.")],
    model: Model = "champion",
) -> None:
    """Enhance every image below DIR without asking the judge; PNG stays PNG, JPEG is written at quality 95, 4:4:4."""
    from packshot.scoring.enhance import enhance_folder

    emit(enhance_folder(load_settings(), directory, out, model=model).as_record())


@app.command()
def styles(
    examples: Annotated[Path, typer.Argument(metavar="EXAMPLES", help="A folder for each style, with ~5 pictures.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `packshot score` wrote.")],
    model: Annotated[str | None, typer.Option(help="Bundle behind OUT where it is not registered.")] = None,
    name: Annotated[str, typer.Option(help="Name of this set of styles; sets of other names stay beside it.")] = "own",
) -> None:
    """Give every image of OUT one of your own styles, shown by examples: OUT/styles.parquet. Nothing is trained.

    A picture of another kind than the examples gets none. `packshot export styles --by-example` counts them.
    """
    from packshot.scoring.styles import styles_by_example

    emit(styles_by_example(load_settings(), examples, out, model, name).as_record())


@app.command()
def calibrate(
    model: Model = "champion",
    workspace_name: WorkspaceName = None,
    force: Annotated[bool, typer.Option("--force", help="Also where this machine has a calibration already.")] = False,
) -> None:
    """Find the fastest runtime (torch; OpenVINO in f32, bf16, int8) that judges as torch does; scoring then uses it.

    Judges held-out pictures of the workspace with each. Keeps choice and graphs under PACKSHOT_HOME/runtime, for this
    bundle, this kind of CPU and this version of OpenVINO. 99: it was done before. Takes minutes.
    """
    from packshot.ops.pipeline import workspace_named
    from packshot.scoring.calibrate import calibrate as step
    from packshot.scoring.calibrate import table

    record, made = step(load_settings(), model, workspace_named(workspace_name), force=force)
    say(table(record))
    finish(record.model_dump(mode="json"), made)
