"""The `packshot` command: one subcommand a step. dvc.yaml, the DAGs and people call the same ones.

Results go to standard output as one JSON line (and to the file named by PACKSHOT_RESULT); progress and
messages go to standard error. Exit codes: 0 done, 2 wrong use or settings, 3 promotion or adaptation refused, 4 not
enough evidence to promote or to tune thresholds, 5 drift alarm (with --fail-on-alarm), 6 unexplained gap (with
--fail-on-gap), 99 nothing to do; others name their error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from packshot.config import Settings, load_settings
from packshot.errors import PackshotError
from packshot.files import write_json
from packshot.home import keep_private
from packshot.progress import say
from packshot.purposes import ByPurpose
from packshot.redaction import redacted
from packshot.relocation import settle

REFUSED, NOT_ENOUGH_EVIDENCE, ALARM, GAP, BROKEN_CHAIN, NOTHING_TO_DO = 3, 4, 5, 6, 65, 99

app = typer.Typer(
    cls=ByPurpose,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Judge, enhance and route the pictures of a shop's catalogue, and keep the model that does it good.",
)
data = typer.Typer(no_args_is_help=True, help="Data stages in the catalogue workspace; what the intake DAG runs.")
inbox = typer.Typer(no_args_is_help=True, help="Batches of new images; what the score and drift DAGs run.")
registry = typer.Typer(no_args_is_help=True, help="Model versions, the ledger, rollback.")
notices = typer.Typer(no_args_is_help=True, help="Telling people: the notices that wait, and failed tasks.")
labels = typer.Typer(no_args_is_help=True, help="Labels for scored pictures, and the queue of pictures to label.")
export = typer.Typer(
    no_args_is_help=True,
    help="What other systems and people take from verdicts; docs/exports.md has every column. "
    "99 where there is nothing to export.",
)
drill = typer.Typer(no_args_is_help=True, help="Rehearsals that show a safeguard at work.")


def _say_version(wanted: bool) -> None:
    if wanted:
        from packshot import __version__

        print(f"packshot {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """Judge, enhance and route the pictures of a shop's catalogue, and keep the model that does it good."""
    settle()


app.add_typer(data, name="data")
app.add_typer(inbox, name="inbox")
app.add_typer(registry, name="registry")
app.add_typer(notices, name="notices")
app.add_typer(labels, name="labels")
app.add_typer(export, name="export")
app.add_typer(drill, name="drill")

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


# --- steps, on the workspace in the working folder ---------------------------------------------


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
    from packshot.training.features import build_features

    with metered():  # its GPU seconds count for the retraining that started it
        build_features(load_settings(), workspace.resolve())


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
            with (
                open_run(settings, run_key(settings, root)) as recorder,
                costed(recorder, meter, settings.cost) as told,
            ):
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
def enhance(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Every image below is enhanced.")],
    out: Annotated[Path, typer.Option(help="Folder for the enhanced images, same names and formats.")],
    model: Model = "champion",
) -> None:
    """Enhance every image below DIR without asking the judge; PNG stays PNG, JPEG is written at quality 95, 4:4:4."""
    from packshot.scoring.enhance import enhance_folder

    emit(enhance_folder(load_settings(), directory, out, model=model).as_record())


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


@app.command()
def styles(
    examples: Annotated[Path, typer.Argument(metavar="EXAMPLES", help="A folder for each style, with ~5 pictures.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `packshot score` wrote.")],
    model: Annotated[str | None, typer.Option(help="Bundle behind OUT where it is not registered.")] = None,
) -> None:
    """Give every image of OUT one of your own styles, shown by examples: OUT/styles.parquet. Nothing is trained."""
    from packshot.scoring.styles import styles_by_example

    emit(styles_by_example(load_settings(), examples, out, model).as_record())


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


@app.command()
def settings(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema instead.")] = False,
) -> None:
    """Print the settings in force: params.yaml with the overrides of the environment."""
    from packshot.config import dump_settings

    checked = load_settings()
    print(json.dumps(Settings.model_json_schema(), indent=2) if schema else dump_settings(checked))


# --- running it ------------------------------------------------------------------------------------


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
def up() -> None:
    """Start Airflow and MLflow on loopback and say their addresses."""
    from packshot.ops.services import up as start

    start(load_settings())


@app.command()
def down() -> None:
    """Stop what `up` started."""
    from packshot.ops.services import down as stop

    stop()


@app.command()
def doctor() -> None:
    """Check disk, memory, ports, git and package lists before a long run."""
    from packshot.ops.doctor import run

    raise typer.Exit(run(load_settings()))


# --- what others take from verdicts ----------------------------------------------------------------


@app.command()
def index(
    verdicts: Verdicts = None,
    folder: IndexFolder = None,
) -> None:
    """Put the style vectors of scored pictures into the index that `similar` searches; 99 where all are there.

    Only batches that are new or were scored again are read. One index holds one model's vectors; the default index of
    a model lies under PACKSHOT_HOME/similar. Pictures that are duplicates of others are left out.
    """
    from packshot.exports.style_index import update
    from packshot.ops.exporting import chosen_verdicts, index_folder

    settings = load_settings()
    files = chosen_verdicts(settings, verdicts)
    report = update(settings.exports.similar, files, folder or index_folder(files[0].model))
    finish(report.as_record(), done=report.changed)


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


# --- what the DAGs run -----------------------------------------------------------------------------


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


@registry.command("history")
def registry_history(as_json: Annotated[bool, typer.Option("--json", help="One JSON line an entry.")] = False) -> None:
    """Every registration, gate decision, promotion and rollback, oldest first."""
    from packshot.registry.history import print_history

    print_history(load_settings(), as_json=as_json)


@registry.command("verify")
def registry_verify() -> None:
    """Whether an entry of the ledger was changed, replaced or removed; says which. Exit code 65 where one was."""
    from packshot.registry.ledger import Ledger

    ledger = Ledger.from_environment()
    found = ledger.breaks()
    for one in found:
        say(one)
    emit({"entries": len(ledger.history()), "breaks": found})
    if found:
        say("restore the ledger from a backup, or find out who wrote to its database; until then trust none of it")
        raise typer.Exit(BROKEN_CHAIN)


@registry.command("costs")
def registry_costs(
    by: Annotated[
        Literal["month", "version"], typer.Option(help="What to sum over, beside the kind of run.")
    ] = "month",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line a sum.")] = False,
) -> None:
    """What retraining, registering, gates, scoring and drift checks have cost, at the rates of params.yaml then."""
    from packshot.registry.costs import table, totals
    from packshot.registry.ledger import Ledger

    found = totals(Ledger.from_environment(), by)
    if as_json:
        for total in found:
            print(json.dumps(total.as_record(), sort_keys=True))
    else:
        print(table(found, by) if found else "nothing has left its cost in the ledger yet")


@registry.command("rollback")
def registry_rollback(
    to: Annotated[int | None, typer.Option(help="Version to return to; default: the champion before this one.")] = None,
) -> None:
    """Make an earlier champion the champion again."""
    from packshot.ops.notices import tell
    from packshot.registry.rollback import rollback

    settings = load_settings()
    result = rollback(settings, to)
    tell(settings)
    emit(result.as_record())


@registry.command("answer")
def registry_answer(
    version: Annotated[int, typer.Argument(help="The version that was asked about.")],
    approve: Annotated[bool, typer.Option("--approve/--reject", help="What the answer was.")],
    by: Annotated[str | None, typer.Option(help="Who gave it; left out: nobody did in time.")] = None,
    started_by: Annotated[str | None, typer.Option(help="Who started the run that asked.")] = None,
) -> None:
    """Write to the ledger what a person answered in Airflow; the promote DAG calls this.

    Exit code 77 where that person may not approve this version, or this account may not pass on answers.
    """
    from packshot.ops.notices import tell
    from packshot.registry.approval import record_answer

    settings = load_settings()
    try:
        found = record_answer(settings, version, approved=approve, by=by, started_by=started_by)
    finally:
        tell(settings)
    emit({"version": found.version, "approved": found.approved, "by": found.by})


@registry.command("approve")
def registry_approve(version: Annotated[int, typer.Argument(help="A version whose gates passed.")]) -> None:
    """Approve, as the user you are, that a version becomes champion; then `packshot promote` moves it.

    Exit code 77 where you may not: you are no approver, or had it trained, or asked for it yourself.
    """
    _own_answer(version, approved=True)


@registry.command("reject")
def registry_reject(version: Annotated[int, typer.Argument(help="A version whose gates passed.")]) -> None:
    """Say, as the user you are, that a version shall not become champion."""
    _own_answer(version, approved=False)


def _own_answer(version: int, *, approved: bool) -> None:
    from packshot.ops.notices import tell
    from packshot.registry.approval import record_own_answer

    settings = load_settings()
    try:
        found = record_own_answer(settings, version, approved=approved)
    finally:
        tell(settings)
    emit({"version": found.version, "approved": found.approved, "by": found.by})


@registry.command("shadow")
def registry_shadow(
    version: Annotated[int | None, typer.Argument(help="Version to show; default: the one in shadow.")] = None,
    begin: Annotated[int | None, typer.Option(help="Put this version in shadow, in place of the one that is.")] = None,
    end: Annotated[bool, typer.Option("--end", help="Take the version in shadow out of it.")] = False,
) -> None:
    """How a version in shadow agrees with the champion on the batches both scored; JSON and a picture are kept.

    A challenger that lacks nothing but batches enters by itself where registry.shadow_batches is not 0. Exit code 66:
    none is in shadow, or it has judged nothing yet.
    """
    from packshot.registry import shadow

    settings = load_settings()
    if begin is not None:
        shadow.begin(settings, begin)
    if end:
        ended = shadow.end(settings)
        finish({"ended": ended}, ended is not None)
        return
    record = shadow.report(settings, version if version is not None else begin)
    say(shadow.table(record))
    emit(record)


@registry.command("adopt")
def registry_adopt() -> None:
    """Accept a champion alias that somebody moved by hand; the ledger remembers it."""
    from packshot.registry.alias import adopt

    emit({"champion": adopt(load_settings())})


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


@export.command("feed")
def export_feed(
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    verdicts: Verdicts = None,
) -> None:
    """Recommender feed: quality weight 0..1, style vector and demotion flags of every picture, in one Parquet file."""
    from packshot.exports.feed import write_feed
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_feed(settings.exports, chosen_verdicts(settings, verdicts), out))


@export.command("best")
def export_best(
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    verdicts: Verdicts = None,
) -> None:
    """Best picture of every SKU, the next best, and why; never a rejected one, a duplicate only for want of others."""
    from packshot.exports.best import write_best
    from packshot.ops.exporting import chosen_verdicts

    emit(write_best(chosen_verdicts(load_settings(), verdicts), out))


@export.command("google")
def export_google(
    out: JsonLines,
    verdicts: Verdicts = None,
    profile: Annotated[str, typer.Option(help="Of scoring.profiles: what is asked.")] = "google-merchant",
    destination: Annotated[str, typer.Option(help="Reporting context of the Merchant API.")] = "SHOPPING_ADS",
) -> None:
    """What Google Merchant Center would hold against each picture, as issues of its Merchant API; a line a picture.

    Pictures scored with another profile are asked by what was measured then; what was not is listed as not checked.
    """
    from packshot.exports.google import google_shape
    from packshot.exports.issues import write_issues
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    files = chosen_verdicts(settings, verdicts)
    emit(write_issues(settings.scoring, files, out, profile, google_shape(destination)))


@export.command("amazon")
def export_amazon(
    out: JsonLines,
    verdicts: Verdicts = None,
    profile: Annotated[str, typer.Option(help="Of scoring.profiles: what is asked.")] = "amazon-main",
) -> None:
    """What Amazon would hold against each main picture, as issues of its Listings Items API; a line a picture.

    Pictures scored with another profile are asked by what was measured then; what was not is listed as not checked.
    """
    from packshot.exports.amazon import amazon_shape
    from packshot.exports.issues import write_issues
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_issues(settings.scoring, chosen_verdicts(settings, verdicts), out, profile, amazon_shape))


@export.command("styles")
def export_styles(
    out: OutFolder,
    verdicts: Verdicts = None,
    catalog: Annotated[Path | None, typer.Option(help="CSV or Parquet with `path` and the date column.")] = None,
    date_column: Annotated[
        str | None, typer.Option(help="Column of --catalog with an ISO date; default: when a picture was scored.")
    ] = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
) -> None:
    """Share of every style by category and month: styles.csv, styles_by_month.png, styles_by_category.png."""
    from packshot.exports.styles import write_styles
    from packshot.ops.exporting import catalog_months, chosen_verdicts

    settings = load_settings().catalog_read_as(delimiter, encoding)
    files = chosen_verdicts(settings, verdicts)
    months = catalog_months(settings, files, catalog, date_column)
    emit(write_styles(settings.exports, files, out, months))


@export.command("sellers")
def export_sellers(out: OutFolder, verdicts: Verdicts = None) -> None:
    """What each seller has to fix: sellers.csv, pictures.csv, and a page to send to each (index.html lists them)."""
    from packshot.exports.sellers import write_sellers
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_sellers(settings.exports, chosen_verdicts(settings, verdicts), out))


@export.command("renditions")
def export_renditions(
    out: Annotated[Path, typer.Option(help="Folder; the same one goes on, and makes only what is new or changed.")],
    verdicts: Verdicts = None,
    images: Images = None,
) -> None:
    """Accepted and enhanced pictures in the display sizes of exports.renditions; renditions.csv lists them."""
    from packshot.exports.renditions import write_renditions
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_renditions(settings, chosen_verdicts(settings, verdicts), out, images))


@export.command("tree")
def export_tree(
    out: OutFolder,
    verdicts: Verdicts = None,
    layout: Annotated[
        str, typer.Option(help="Folders, from decision, category, style, sku, sender and batch.")
    ] = "{decision}/{category}/{style}",
    placing: Annotated[
        Literal["link", "copy"], typer.Option(help="Hard links (a copy where the disk has none), or copies.")
    ] = "link",
    images: Images = None,
) -> None:
    """Accepted and enhanced pictures in a folder tree; never a rejected one, nor one changed since it was judged."""
    from packshot.exports.tree import write_tree
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_tree(settings.exports, chosen_verdicts(settings, verdicts), out, layout, placing, images))


@export.command("segments")
def export_segments(
    out: OutFolder,
    verdicts: Verdicts = None,
    catalog: Annotated[Path | None, typer.Option(help="CSV or Parquet with `path` and the brand column.")] = None,
    brand_column: Annotated[
        str | None, typer.Option(help="Column of --catalog with the brand; brands.csv is written then.")
    ] = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
) -> None:
    """Ad segments (style, category, band of quality) of the pictures to show, and how brands stand by style."""
    from packshot.exports.segments import write_segments
    from packshot.ops.exporting import catalog_column, chosen_verdicts

    settings = load_settings().catalog_read_as(delimiter, encoding)
    files = chosen_verdicts(settings, verdicts)
    brands = catalog_column(settings, files, catalog, brand_column)
    emit(write_segments(settings, files, out, brands))


@export.command("profile")
def export_profile(
    events: Annotated[
        Path, typer.Argument(metavar="EVENTS", help="CSV: user, event (view, click), path or sku, optionally time.")
    ],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    verdicts: Verdicts = None,
) -> None:
    """Each user's style vector and top styles from what they viewed and clicked; settings: exports.profile."""
    from packshot.exports.profile import write_profiles
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_profiles(settings.exports.profile, chosen_verdicts(settings, verdicts), events, out))


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


def main() -> None:
    """Entry point: an error that a user can mend is one message, not a traceback."""
    # threads that spin at a barrier cost a factor of 2 and more as soon as another process wants the core
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    keep_private()
    try:
        app()
    except PackshotError as error:
        say(f"packshot: {type(error).__name__}: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("packshot: stopped; what was finished is kept, the same command goes on")
        sys.exit(130)
    except Exception:
        # as Python would, but through `say`, which hides what a library may have put into its message
        say(traceback.format_exc().rstrip())
        sys.exit(1)


if __name__ == "__main__":
    main()
