"""Labels for scored pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from packshot.cli.groups import app, labels
from packshot.cli.shared import (
    REFUSED,
    Delimiter,
    Encoding,
    emit,
    finish,
)
from packshot.config import load_settings
from packshot.progress import say


@labels.command("add")
def labels_add(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV with image_id or path (and batch), who, when, and quality_mos (0..1), style, decision.",
        ),
    ],
    delimiter: Delimiter = None,
    encoding: Encoding = None,
) -> None:
    """Add labels for scored pictures of the inbox: all rows or, where one is wrong, none; 99 where none is new.

    Rows with all labels blank are passed over, so a partly filled queue.csv will do. The next `collect` takes the
    pictures into the catalogue.
    """
    from packshot.ops.labels import add_labels

    outcome = add_labels(load_settings().catalog_read_as(delimiter, encoding), file)
    finish(outcome.record, outcome.done)


@labels.command("desk")
def labels_desk() -> None:
    """Add what people decided at the desk, accept or reject, on pictures of the inbox; 99 where nothing is new.

    `packshot calibrate-shop` then learns the shop's own scale from it.
    """
    from packshot.ops.reviews import reviews_as_labels

    outcome = reviews_as_labels(load_settings())
    finish(outcome.record, outcome.done)


@labels.command("export")
def labels_export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The JSON file to write.")],
    form: Annotated[Literal["label-studio"], typer.Option("--format", help="What reads it.")] = "label-studio",
    images: Annotated[
        str | None, typer.Option(help="What addresses of pictures begin with; default: Label Studio's local files.")
    ] = None,
) -> None:
    """Write all labels, and the pictures that wait for one, as tasks with annotations for Label Studio."""
    from packshot.ops.label_studio import LOCAL_FILES, export_labels

    finish(export_labels(file, LOCAL_FILES if images is None else images).record)


@labels.command("import")
def labels_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Label Studio's export as JSON.")],
    form: Annotated[Literal["label-studio"], typer.Option("--format", help="What wrote it.")] = "label-studio",
) -> None:
    """Add what people said in Label Studio: all annotations or, where one is wrong, none; 99 where none is new."""
    from packshot.ops.label_studio import import_labels

    outcome = import_labels(load_settings(), file)
    finish(outcome.record, outcome.done)


@app.command("calibrate-shop")
def calibrate_shop_command(
    labels_file: Annotated[
        Path | None, typer.Option("--labels", help="A file of labels to add first; as `packshot labels add` takes it.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply/--dry-run", help="Put the scale in force, or only say.")] = False,
    withdraw: Annotated[bool, typer.Option(help="Take the scale in force back.")] = False,
) -> None:
    """The champion on the shop's own scale, fitted from labels (scores, accept or reject); nothing is trained.

    Says what it is worth on labels left out, and what more labels would narrow. Exit codes: 3 it is no better than the
    champion alone, 4 too few labels, 99 this scale is in force.
    """
    from packshot.ops.shop_scale import calibrate_shop, withdraw_scale

    if withdraw:
        finish(withdraw_scale(load_settings()).record)
        return
    outcome = calibrate_shop(load_settings(), "apply" if apply else "dry-run", labels_file)
    against = outcome.record["objections"]
    if against:
        emit(outcome.record)
        say(f"refused: {'; '.join(against)}")
        raise typer.Exit(REFUSED)
    finish(outcome.record, outcome.done)


@labels.command("check")
def labels_check() -> None:
    """Compare the champion on newly labelled pictures with its held-out figures; 99 where no label is new."""
    from packshot.ops.labels import check_labels

    outcome = check_labels(load_settings())
    for one in outcome.record.get("figures", []):
        values = [one[name] for name in ("found", "promised", "at_least")]
        shown = "{:.3f}, promised {:.3f}, worse by at least {:+.3f}: ".format(*values) if None not in values else ""
        say(f"{one['figure']} (n = {one['images']}, senders {one['groups']}): {shown}{one['finding']}")
    finish(outcome.record, outcome.done)


@labels.command("queue")
def labels_queue(
    batch: Annotated[
        list[str] | None, typer.Option(help="A batch that was checked for drift; default: all that alarmed.")
    ] = None,
) -> None:
    """Write queue.csv and queue.html: the pictures most worth a label, and why; 99 where no batch alarmed."""
    from packshot.ops.labels import queue_labels

    outcome = queue_labels(load_settings(), batch or ())
    finish(outcome.record, outcome.done)
