"""The stages from pictures to an evaluated model, on the workspace in the working folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from packshot.cli.groups import app
from packshot.cli.shared import (
    HERE,
    NOT_ENOUGH_EVIDENCE,
    REFUSED,
    Delimiter,
    Encoding,
    Folder,
    Model,
    WorkspaceName,
    emit,
)
from packshot.config import load_settings
from packshot.progress import say


@app.command()
def collect(
    workspace: Folder = HERE,
    catalog: Annotated[
        Path | None, typer.Option(help="Your own catalogue: CSV or Parquet with at least `path`.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Collect again although the source is unchanged.")] = False,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
) -> None:
    """Take images and labels from the source (PACKSHOT_SOURCE=auto|mirror|public|packages) or your own catalogue.

    Name further sets in profiles.own of params.yaml to borrow their labels for an own catalogue that has none.
    """
    from packshot.catalog.collect import collect as step

    settings = load_settings().catalog_read_as(delimiter, encoding)
    emit(step(settings, workspace.resolve(), catalog=catalog, force=force).as_record())


@app.command()
def validate(workspace: Folder = HERE) -> None:
    """Check rows and images with Great Expectations; quarantine bad rows; refuse a batch with too many."""
    from packshot.catalog.validate import validate as step

    emit(step(load_settings(), workspace.resolve()).as_record())


@app.command()
def split(workspace: Folder = HERE) -> None:
    """Group near-duplicates, senders and SKUs; assign groups to train, validation and test for ever."""
    from packshot.catalog.split import split as step

    emit(step(load_settings(), workspace.resolve()).as_record())


@app.command()
def features(workspace: Folder = HERE) -> None:
    """Compute once what the frozen half of the network says of every image."""
    from packshot.cost import metered
    from packshot.ops.teacher import teacher_of
    from packshot.training.features import build_features

    settings = load_settings()
    with metered():  # its GPU seconds count for the retraining that started it
        build_features(settings, workspace.resolve(), teacher_of(settings))


@app.command()
def train(
    workspace: Folder = HERE,
    tracked: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Record the run in MLflow.")] = True,
) -> None:
    """Train all tasks together; go on from the last checkpoint, in the same MLflow run, after a kill.

    On several GPUs: training.processes in params.yaml, or torchrun --no-python packshot train for several machines.
    """
    from packshot.cost import metered
    from packshot.registry.costs import costed
    from packshot.registry.tracking import open_run
    from packshot.revision import run_key
    from packshot.training import distributed
    from packshot.training.recorder import NullRecorder
    from packshot.training.run import train as step

    settings, root = load_settings(), workspace.resolve()
    if settings.training.processes > 1 and not distributed.started_by_torchrun():
        distributed.start_again(settings.training.processes, [sys.executable, "-m", "packshot.cli", *sys.argv[1:]])
    if not distributed.leads():
        step(settings, root, NullRecorder())
        return
    with metered(ranks=distributed.processes()) as meter:
        if tracked:
            from packshot.registry.run_page import note_dataset  # pandas: who lacks torch is to hear of that first

            key = run_key(settings, root)
            with open_run(settings, key) as recorder, costed(recorder, meter, settings.cost) as told:
                note_dataset(settings, recorder.run_id, key, root)
                bundle = step(settings, root, told)
        else:
            bundle = step(settings, root, NullRecorder())
    emit({"bundle": str(bundle)})


@app.command()
def evaluate(workspace: Folder = HERE) -> None:
    """Held-out and cross-validated figures beside their baselines, with plots."""
    from packshot.cost import metered
    from packshot.evaluation.run import evaluate as step
    from packshot.registry.costs import record_evaluation

    settings, root = load_settings(), workspace.resolve()
    with metered() as meter:
        found = step(settings, root)
        record_evaluation(settings, root, meter)
    emit(dict(found))


@app.command()
def thresholds(workspace_name: WorkspaceName = None) -> None:
    """What decisions cost on held-out pictures, by scoring.costs of params.yaml; after `packshot evaluate`.

    reports/thresholds of the workspace: thresholds.json, cost.png, frontier.png. Exit code 4: not enough scored
    pictures to tune on, so the values of params.yaml decide.
    """
    from packshot.evaluation.decision_costs import weigh_workspace
    from packshot.evaluation.decision_plots import FOLDER, write
    from packshot.ops.pipeline import workspace_named

    root = workspace_named(workspace_name)
    found = weigh_workspace(load_settings(), root)
    write(found, root / FOLDER)
    say(f"{found.bounds}\n{found.table()}")
    told = ("bounds", "policies", "saving")
    emit({"folder": str(root / FOLDER), **{name: value for name, value in found.as_record().items() if name in told}})
    if found.bounds.origin == "fallback":
        raise typer.Exit(NOT_ENOUGH_EVIDENCE)


@app.command()
def compare(
    against: Annotated[Literal["classic"], typer.Option(help="What to stand beside: measures and baselines.")],
    workspace_name: WorkspaceName = None,
) -> None:
    """One table: this model beside what one would otherwise use, on the same pictures; after `packshot evaluate`."""
    from packshot.evaluation.compare import compare_classic
    from packshot.ops.pipeline import workspace_named

    found = compare_classic(load_settings(), workspace_named(workspace_name))
    for (task, name), part in found.groupby(["task", "set"], sort=False):
        wide = part.pivot_table(index="method", columns="figure", values="value", sort=False)
        say(f"{task}, {name}\n{wide.to_string(float_format=lambda value: f'{value:.3f}', na_rep='')}")
    emit({"against": against, "rows": found.to_dict("records")})


@app.command()
def ablate(
    workspace_name: WorkspaceName = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this variant; may be repeated.")] = None,
) -> None:
    """What each part of the recipe earns: cross-validation without it; reports/ablation.png. A minute or two a part."""
    from packshot.evaluation.ablation import ablate as step
    from packshot.ops.pipeline import workspace_named

    found = step(load_settings(), workspace_named(workspace_name), only or ())
    for (name, figure), part in found.groupby(["set", "figure"], sort=False):
        say(f"{figure}, {name}\n{part.drop(columns=['set', 'figure']).round(4).to_string(index=False, na_rep='')}")
    emit({"rows": found.astype(object).where(found.notna(), None).to_dict("records")})


@app.command()
def search(
    workspace_name: WorkspaceName = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all; default: search.trials.")] = None,
) -> None:
    """Search better settings of the recipe (search.space in params.yaml) by group folds that leave the test split out.

    One MLflow run, a nested run for each trial; the same command goes on after a stop.
    """
    from packshot.ops.pipeline import workspace_named
    from packshot.ops.search import run

    found = run(load_settings(), workspace_named(workspace_name), trials)
    say(f"best {found['score']:.4f}, as it is {found['as_it_is']:.4f}; to try it:")
    for line in found["environment"]:
        say(f"  export {line}")
    emit(found)


@app.command()
def adapt(
    directory: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of your own pictures; no label needed.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the adapted bundle and what it gained.")],
    model: Model = "champion",
    workspace_name: Annotated[
        str | None,
        typer.Option("--workspace", help="Measure also on the labelled held-out rows of this workspace."),
    ] = None,
    keep_anyway: Annotated[
        bool, typer.Option("--keep-anyway", help="Write the bundle although a figure fell beyond adapt.margin.")
    ] = False,
) -> None:
    """Adapt a model to your own unlabelled pictures: the upper backbone learns to rank their degraded copies.

    OUT is a bundle for --model, with adaptation.json and adaptation.png: figures before and after on held-out pictures.
    Exit code 3: a figure fell by more than adapt.margin; OUT then says so and holds no bundle.
    """
    from packshot.ops.adapt import run
    from packshot.ops.pipeline import workspace_named

    labelled = workspace_named(workspace_name) if workspace_name else None
    adapted = run(load_settings(), directory, out, model, labelled, keep_anyway)
    record = adapted.record
    for name, value in record["before"].items():
        say(f"{name:32} {value:.4f} -> {record['after'].get(name, float('nan')):.4f}")
    low, high = record["ranking_interval"]
    say(
        f"gain in ranking within pictures: {low:+.4f} to {high:+.4f}; undamaged pictures moved by a median of "
        f"{record['median_shift']:.4f}; intervals are those of the source, not fitted anew"
    )
    for fallen in record["fallen"]:
        say(f"{fallen}, beyond adapt.margin" + ("" if adapted.kept else ": no bundle is written; see --keep-anyway"))
    emit({"out": str(out), **record})
    if not adapted.kept:
        raise typer.Exit(REFUSED)
