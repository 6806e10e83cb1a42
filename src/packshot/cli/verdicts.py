"""Acting on verdicts: pages, questions, alarms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from packshot.cli.groups import app
from packshot.cli.shared import (
    ALARM,
    GAP,
    Delimiter,
    Encoding,
    Images,
    IndexFolder,
    Model,
    Verdicts,
    emit,
    finish,
    hand_on,
)
from packshot.config import load_settings
from packshot.progress import say


@app.command()
def report(
    out: Annotated[
        Path | None, typer.Option(help="Folder for index.html and metrics.json; default reports/latest.")
    ] = None,
    verdicts: Annotated[
        list[Path] | None, typer.Option(help="Folders with verdicts.parquet; default: all the champion scored.")
    ] = None,
    latest: Annotated[bool, typer.Option("--latest", hidden=True)] = False,
) -> None:
    """Write the report: one self-contained HTML page, and metrics.json with every held-out figure."""
    from packshot.ops.reporting import write_report

    del latest
    emit(write_report(load_settings(), out=out, folders=verdicts))


@app.command()
def why(
    path: Annotated[str, typer.Argument(metavar="ROW", help="`path` of the picture in the verdicts, or BATCH/path.")],
    verdicts: Verdicts = None,
    images: Images = None,
    model: Annotated[
        Path | None, typer.Option(help="Bundle that judged, where it was never registered: what it says of itself.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line instead of a page.")] = False,
) -> None:
    """Follow one verdict back: pixels and findings, model version and its gates, training data revision and code.

    Checked on the way: the file is still the one that was judged, and the model is the one that was registered. What
    is not on record is named.
    """
    from packshot.exports.why import why as step
    from packshot.exports.why_page import page
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    record = step(settings, chosen_verdicts(settings, verdicts), path, images=images, bundle=model)
    if as_json:
        emit(record)
    else:
        print(page(record))


@app.command()
def similar(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="`path` of an indexed picture, or any image file.")],
    verdicts: Verdicts = None,
    folder: IndexFolder = None,
    model: Annotated[
        str | None, typer.Option(help="Bundle that scored the pictures, where it is not registered; judges IMAGE.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many to find.")] = 10,
    category: Annotated[list[str] | None, typer.Option(help="Only of this category; may be repeated.")] = None,
    decision: Annotated[
        list[str] | None,
        typer.Option(help="Only with this decision (accept, enhance, review, reject); may be repeated."),
    ] = None,
) -> None:
    """Find the pictures whose style is nearest to that of IMAGE, which may be a customer's own photograph.

    With --verdicts the index is brought up to date first; without, the champion's index is searched. Found are
    accepted and enhanced pictures, unless --decision says otherwise.
    """
    from packshot.exports.style_index import Wanted
    from packshot.ops.exporting import find_similar
    from packshot.scoring.decisions import SHOWN

    wanted = Wanted(count, tuple(category or ()), tuple(decision or SHOWN))
    hits = find_similar(load_settings(), image, wanted, verdicts=verdicts, folder=folder, model=model)
    for hit in hits:
        say(f"{hit.similarity:.3f}  {hit.batch_id}/{hit.path}  {hit.style or ''}  {hit.category or ''}")
    emit({"image": image, "hits": [hit.as_record() for hit in hits]})


@app.command()
def index(
    verdicts: Verdicts = None,
    folder: IndexFolder = None,
) -> None:
    """Put the style vectors of scored pictures into the index that `similar` searches; 99 where all are there.

    Only batches that are new or were scored again are read. One index holds one model's vectors; the default index of
    a model lies under PACKSHOT_HOME/similar. Pictures that are duplicates of others are left out.
    """
    from packshot.exports.style_index import index_folder, update
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    files = chosen_verdicts(settings, verdicts)
    report = update(settings.exports.similar, files, folder or index_folder(files[0].model))
    finish(report.as_record(), done=report.changed)


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `packshot score` wrote.")],
    by: Annotated[
        list[str] | None,
        typer.Option(help="category, sender, style, `product lightness`, or a column of --catalog; may be repeated."),
    ] = None,
    catalog: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet with `path` and the columns to audit by; also category, sender and SKU that OUT lacks."
        ),
    ] = None,
    fail_on_gap: Annotated[bool, typer.Option("--fail-on-gap", help="End with exit code 6 on a finding.")] = False,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
) -> None:
    """Ask whether the judge treats categories, senders, light and dark products alike; OUT/audit.csv and audit.png."""
    from packshot.serving.audit import BY_DEFAULT
    from packshot.serving.audit import audit as step

    settings = load_settings().catalog_read_as(delimiter, encoding)
    found = step(settings, folder, by or BY_DEFAULT, catalog)
    for name in found.not_compared:
        say(f"{name}: no value has {settings.audit.min_images} judged images beside as many others; not compared")
    for one in found.slices:
        interval = f"{one.gap:+.3f} ({one.low:+.3f} to {one.high:+.3f})"
        say(f"{one.by} {one.value}: n = {one.images}, quality {one.quality:.3f}, gap {interval}: {one.finding}")
    emit(found.as_record())
    if found.gaps and fail_on_gap:
        raise typer.Exit(GAP)


@app.command()
def drift(
    verdicts: Annotated[Path, typer.Option(help="verdicts.parquet of a scored batch.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for drift.json and the plots; default: beside the verdicts.")
    ] = None,
    model: Model = "champion",
    fail_on_alarm: Annotated[bool, typer.Option("--fail-on-alarm", help="End with exit code 5 on an alarm.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the result line: all of drift.json.")] = False,
) -> None:
    """Compare a scored batch with the data the champion learned from; says what drifted, how far, and the limit."""
    from packshot.drift.summary import summary
    from packshot.ops.pipeline import drift_check

    result = drift_check(load_settings(), verdicts, model=model, out=out)
    if as_json:
        emit(result.as_record())
    else:
        print(summary(result), flush=True)
        hand_on(result.as_record())
    if result.alarm and fail_on_alarm:
        raise typer.Exit(ALARM)
