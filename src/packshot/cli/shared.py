"""What commands share: how results are given, exit codes, and options that several of them have."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from packshot.files import write_json
from packshot.redaction import redacted

REFUSED, NOT_ENOUGH_EVIDENCE, ALARM, GAP, BROKEN_CHAIN, NOTHING_TO_DO = 3, 4, 5, 6, 65, 99
Folder = Annotated[Path, typer.Option(help="Root of the workspace (the folder with dvc.yaml).")]
WorkspaceName = Annotated[str | None, typer.Option("--workspace", help="Name of a workspace under PACKSHOT_HOME.")]
Engine = Annotated[
    Literal["local", "ray"] | None,
    typer.Option(help="What scores: this process, or a Ray cluster; default: scoring.engine in params.yaml."),
]
Delimiter = Annotated[
    str | None,
    typer.Option(help="Between the fields of the catalogue: auto, tab, or a character; as catalog.delimiter."),
]
Encoding = Annotated[
    str | None, typer.Option(help="Of the catalogue: auto, utf-8, cp1252, utf-16, ...; as catalog.encoding.")
]
Model = Annotated[str, typer.Option(help="Alias, version number, or path of a model bundle.")]
RuleProfile = Annotated[
    str | None,
    typer.Option(
        "--profile", help="Catalogue rules to keep, as amazon-main; a wrong name lists them. Default: scoring.profile."
    ),
]
Verdicts = Annotated[
    list[Path] | None,
    typer.Option(help="Folder that `packshot score` wrote; may be repeated. Default: all the champion scored."),
]
JsonLines = Annotated[Path, typer.Option(help="JSON Lines file to write.")]
OutFolder = Annotated[Path, typer.Option(help="Folder: new, or an earlier export of the same kind, which is replaced.")]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the judged pictures, where they have moved since they were scored.")
]
IndexFolder = Annotated[
    Path | None, typer.Option("--index", help="Folder of the index; default: the model's own under PACKSHOT_HOME.")
]
HERE = Path()


def emit(record: dict[str, Any]) -> None:
    """Print the result as one JSON line; also write it to PACKSHOT_RESULT where that is set."""
    print(json.dumps(record, sort_keys=True, default=str), flush=True)
    hand_on(record)


def hand_on(record: dict[str, Any]) -> None:
    """Write the result to PACKSHOT_RESULT where that is set."""
    named = os.environ.get("PACKSHOT_RESULT")
    if named:
        write_json(Path(named), json.loads(json.dumps(record, default=str)))


def tell(record: dict[str, Any], shown: str) -> None:
    """Show `shown` to a person at a terminal; give programs the record, as `emit` does."""
    if not sys.stdout.isatty():
        emit(record)
        return
    print(redacted(shown), flush=True)
    hand_on(record)


def finish(record: dict[str, Any], done: bool = True) -> None:
    """Emit the result and end with 99 where there was nothing to do."""
    emit(record)
    if not done:
        raise typer.Exit(NOTHING_TO_DO)
