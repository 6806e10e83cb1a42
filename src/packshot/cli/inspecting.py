"""What is in force, and whether the machine is fit."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from packshot.cli.groups import app
from packshot.cli.shared import (
    HERE,
    Folder,
    finish,
)
from packshot.config import Settings, load_settings


@app.command()
def settings(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema instead.")] = False,
) -> None:
    """Print the settings in force: params.yaml with the overrides of the environment."""
    from packshot.config import dump_settings

    checked = load_settings()
    print(json.dumps(Settings.model_json_schema(), indent=2) if schema else dump_settings(checked))


@app.command("code-deps")
def code_deps(
    stage: Annotated[str | None, typer.Argument(help="A stage of dvc.yaml, or score; default: all.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write them into dvc.yaml: after imports changed.")] = False,
    workspace: Folder = HERE,
) -> None:
    """What code each stage depends on, with its hash: whatever the stage imports, and the lock file.

    Of a stage that is named every file, of all how many. 99 with --write: dvc.yaml says so already.
    """
    from packshot.revision import code_rev
    from packshot.stages import code_deps as deps_of
    from packshot.stages import named_parts, write_code_deps

    changed = write_code_deps(workspace / "dvc.yaml") if write else True
    told: dict[str, Any] = {}
    for part in named_parts(stage):
        files = list(deps_of(part))
        told[part] = {"code_rev": code_rev(part), "files": files if stage else len(files)}
    finish(told, done=changed)


@app.command("verdict-schema")
def verdict_schema(
    write: Annotated[bool, typer.Option("--write", help="Write it to docs/verdict.schema.json.")] = False,
    workspace: Folder = HERE,
) -> None:
    """The JSON Schema of a verdict. 99 with --write: the file says so already."""
    from packshot.files import write_text
    from packshot.scoring.contract import SCHEMA_FILE, SCHEMA_VERSION, json_schema

    if not write:
        print(json_schema(), end="")
        return
    target, schema = workspace / SCHEMA_FILE, json_schema()
    changed = not target.is_file() or target.read_text(encoding="utf-8") != schema
    write_text(target, schema)
    finish({"schema": str(target), "schema_version": SCHEMA_VERSION}, done=changed)


@app.command()
def card() -> None:
    """The card of the model that comes with the package: what it learned from, by which licences, how well it judges.

    Of a registered version the card is its description in MLflow."""
    from packshot.starter import card_of

    print(card_of().rstrip(), flush=True)


@app.command()
def doctor() -> None:
    """Check disk, memory, ports, git and package lists before a long run."""
    from packshot.ops.doctor import run

    raise typer.Exit(run(load_settings()))
