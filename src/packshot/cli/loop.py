"""What keeps the loop going: versions, retraining, and what was forgotten."""

from __future__ import annotations

from typing import Annotated

import typer

from packshot.cli.groups import app
from packshot.cli.shared import (
    NOT_ENOUGH_EVIDENCE,
    NOTHING_TO_DO,
    REFUSED,
    WorkspaceName,
    emit,
    finish,
)
from packshot.config import load_settings
from packshot.progress import say


@app.command()
def register(workspace_name: WorkspaceName = None) -> None:
    """Log the trained model to MLflow and register it as `challenger`; the same run registers once."""
    from packshot.ops.pipeline import workspace_named
    from packshot.registry.register import register as step

    registered = step(load_settings(), workspace_named(workspace_name))
    emit({"version": registered.version, "run_id": registered.run_id, "new": registered.new})


@app.command()
def promote(
    challenger: Annotated[int | None, typer.Option(help="Version to promote; default: the challenger now.")] = None,
    champion: Annotated[int | None, typer.Option(help="Version to compare with; default: the champion now.")] = None,
    workspace_name: WorkspaceName = None,
    check: Annotated[bool, typer.Option("--check", help="Ask the gates; leave the champion as it is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the result line.")] = False,
) -> None:
    """Judge the challenger by the gates; move the alias if all pass.

    Exit code 0: promoted, 3: refused, 4: not enough evidence, 77: passed and waits for an approval.
    """
    from packshot.ops.notices import tell
    from packshot.ops.pipeline import workspace_named, workspace_of_version
    from packshot.registry.models import bundle_path
    from packshot.registry.promote import assess
    from packshot.registry.promote import promote as move

    settings = load_settings()
    if challenger is None:
        challenger = bundle_path(settings, "challenger")[1].model_version
        assert challenger is not None
    root = workspace_named(workspace_name) if workspace_name else workspace_of_version(settings, challenger)
    step = assess if check else move
    result = step(settings, challenger=challenger, champion=champion, workspace=root)
    tell(settings)
    if not as_json:
        say(result.table())
    emit(result.as_record() | {"table": result.table()})
    codes = {
        "promoted": 0,
        "refused": REFUSED,
        "not_enough_evidence": NOT_ENOUGH_EVIDENCE,
        "nothing_to_do": NOTHING_TO_DO,
    }
    raise typer.Exit(codes[result.outcome])


@app.command()
def retrain(
    reason: Annotated[
        str, typer.Option(help="Who or what asks: schedule, catalog_ready, drift_alarm, a name.")
    ] = "a person",
    force: Annotated[
        bool, typer.Option("--force", help="Train although this data, code and parameters were trained.")
    ] = False,
) -> None:
    """Train and evaluate on the newest data in a workspace of its own; never twice for the same inputs."""
    from packshot.ops.pipeline import retrain as step

    outcome = step(load_settings(), reason, force=force)
    finish(outcome.record, outcome.done)


@app.command()
def reconcile(
    claim: Annotated[
        bool, typer.Option("--claim", help="Write down which events to send again, each once; the reconcile DAG does.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the result line.")] = False,
) -> None:
    """Find what should have happened and did not, and what to do about it; 99 where nothing is open.

    Events can be lost, so this looks at data revisions, versions, batches and the ledger themselves. Younger than
    reconcile.min_age_minutes counts as being at work.
    """
    from packshot.ops import reconcile as step

    checked = load_settings()
    found = step.reconcile(checked)
    if found and not as_json:
        say(step.table(found))
    events = step.claim(checked, found) if claim else {}
    finish({"open": [one.as_record() for one in found], "events": events}, bool(found))


@app.command()
def reap() -> None:
    """Set to KILLED the MLflow runs that a kill left RUNNING; 99 where there is none. A resumed one runs on."""
    from packshot.registry.reap import reap as step

    found = step(load_settings())
    finish({"reaped": [one.as_record() for one in found]}, done=bool(found))
