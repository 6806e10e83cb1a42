"""The steps that DAG tasks run: each idempotent, each returning one plain record.

`NOTHING_TO_DO` is the exit code by which a step says that its result already exists; Airflow turns
it into a skipped task, so no event is sent for work that was not done.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import write_json
from packshot.home import Home
from packshot.lock import held
from packshot.ops.arrivals import arrived_on, champion_then, keep_arrival, record_arrival
from packshot.ops.charged import charged
from packshot.ops.teacher import settled
from packshot.progress import say
from packshot.revision import RunKey, code_rev, data_rev, run_key
from packshot.workspace import Workspace, catalog_workspace, training_workspace, workspace_of_data

if TYPE_CHECKING:
    from packshot.drift.check import DriftResult
    from packshot.scoring.batch import ScoreReport
    from packshot.scoring.judging import Scorer

NOTHING_TO_DO = 99
RETRAINING = "retrain-"
"""Begins the name of the lock that a retraining holds, followed by its run key."""
Step = Literal["collect", "validate", "split"]


class BatchUnknown(PackshotError):
    """The inbox holds no batch of that name."""

    exit_code = 2


@dataclass(frozen=True)
class Outcome:
    """What a step did: the record handed to whoever comes next, and whether anything was done at all."""

    record: dict[str, Any]
    done: bool = True


def data_step(settings: Settings, step: Step) -> Outcome:
    """Run one data stage in the catalogue workspace.

    `collect` always looks at its source; it and the stages after it change nothing where nothing changed.
    """
    workspace = catalog_workspace(settings)
    workspace.repro(step, force=step == "collect")
    return Outcome({"step": step, "workspace": str(workspace.root)})


def publish_data(settings: Settings) -> Outcome:
    """Make the catalogue workspace's data a revision: pushed to the remote, then committed under its hash."""
    import pandas as pd

    workspace = catalog_workspace(settings)
    revision = data_rev(workspace.root)
    rows = len(pd.read_parquet(workspace.root / "data/splits/manifest.parquet", columns=["split"]))
    record: dict[str, Any] = {"data_rev": revision, "rows": rows}
    if _is_published(workspace, revision):
        say(f"data revision {revision} is published already ({rows} rows); nothing to do")
        return Outcome(record | {"changed": False}, done=False)
    workspace.push()
    with workspace.alone():
        workspace.commit(f"data {revision}")
    say(f"published data revision {revision} ({rows} rows)")
    return Outcome(record | {"changed": True})


def _is_published(workspace: Workspace, revision: str) -> bool:
    newest = workspace.run("git", "log", "-1", "--format=%s", "--grep=^data ", quiet=True).strip()
    changed = workspace.run("git", "status", "--porcelain", quiet=True).strip()
    return newest == f"data {revision}" and not changed


def current_key(settings: Settings) -> RunKey:
    """The key that a training run on the published data would have now."""
    return run_key(settled(settings), Home.from_environment().workspaces / "catalog")


def retrain(settings: Settings, reason: str, *, force: bool = False) -> Outcome:
    """Train and evaluate on the newest data in a workspace of its own, unless that was done before.

    With `force` the stages run again even where a model of the same (data, code, params) is registered. Who asked, and
    whether that led to training, goes to the ledger first. Raises RunBusy where this is being trained.
    """
    from packshot.registry.ledger import Ledger
    from packshot.registry.register import find_version
    from packshot.registry.tracking import RunBusy

    settings = settled(settings)
    workspace_root = catalog_workspace(settings).root
    key = RunKey(data_rev(workspace_root), code_rev(), settings.params_hash())
    record: dict[str, Any] = {"run_key": key.short, "data_rev": key.data_rev, "reason": reason}
    version = find_version(settings, key)
    skip = version is not None and not force
    Ledger.from_environment().record(
        "retrain",
        model_name=settings.registry.model_name,
        to_version=version,
        data_rev=key.data_rev,
        code_rev=key.code_rev,
        params_hash=key.params_hash,
        payload={"reason": reason, "outcome": "trained before" if skip else "training", "run_key": key.short},
    )
    if skip:
        say(f"data {key.data_rev[:12]}, code {key.code_rev} and parameters {key.params_hash} were trained already")
        say(f"as version {version}; nothing to do (asked for by: {reason})")
        return Outcome(record | {"version": version, "trained": False}, done=False)
    say(f"training {key.short} on data {key.data_rev[:12]} (asked for by: {reason})")
    lineage = {"data_rev": key.data_rev, "code_rev": key.code_rev, "params_hash": key.params_hash}
    with (
        held(f"{RETRAINING}{key.short}", 0, RunBusy(key)),
        charged(settings, "retrain", payload={"reason": reason, "outcome": "trained"}, **lineage),
    ):
        workspace = training_workspace(settings, key.short)
        if force:
            workspace.repro("train", force=True)
        workspace.repro("features", "train", "evaluate")
        with workspace.alone():
            workspace.commit(f"model {key.short}")
        workspace.tag_in_catalog(f"model-{key.short}")
        workspace.push()
    return Outcome(record | {"workspace": workspace.name, "trained": True})


def workspace_named(name: str | None) -> Path:
    """The folder of a workspace by name, else the working folder."""
    if name is None:
        return Path.cwd()
    root = Home.from_environment().workspaces / name
    if not root.is_dir():
        raise PackshotError(f"there is no workspace {name!r} under {root.parent}")
    return root


def workspace_of_version(settings: Settings, version: int) -> Path:
    """A workspace that holds the data a registered version was trained on."""
    from packshot.registry.models import bundle_path

    _, reference = bundle_path(settings, str(version))
    return workspace_of_data(reference.key.data_rev).root


def champion_version(settings: Settings) -> int:
    """The champion's version number."""
    from packshot.registry.models import bundle_path

    _, reference = bundle_path(settings, "champion")
    if reference.model_version is None:
        raise PackshotError("the champion has no version number; is its registry entry intact?")
    return reference.model_version


def verdict_folder(batch: str, version: int) -> Path:
    """Where the verdicts of a batch by one model version live."""
    return Home.from_environment().verdicts_by(batch, version)


def inbox_batches() -> list[str]:
    """Names of the complete batches in the inbox; a folder whose name starts with a dot is still arriving."""
    inbox = Home.from_environment().inbox
    if not inbox.is_dir():
        return []
    return sorted(p.name for p in inbox.iterdir() if p.is_dir() and not p.name.startswith("."))


def inbox_plan(settings: Settings, *, rescore: bool = False, batch: str | None = None) -> Outcome:
    """Batches that no version has scored yet; with `rescore`, all that the champion has not scored.

    `batch` narrows it to one, which must exist (BatchUnknown).
    """
    version = champion_version(settings)
    names = inbox_batches()
    if batch is not None:
        names = [_known(batch)]
    waiting = [name for name in names if not _is_scored(name, version if rescore or batch else None)]
    return Outcome({"batches": waiting, "model_version": version}, done=bool(waiting))


def _known(batch: str) -> str:
    batches = inbox_batches()
    if batch not in batches:
        inbox = Home.from_environment().inbox
        raise BatchUnknown(f"no batch {batch!r} in {inbox}; there are: {', '.join(batches) or 'none'}")
    return batch


def _is_scored(batch: str, version: int | None) -> bool:
    """By this version, or with None by any."""
    if version is not None:
        return (verdict_folder(batch, version) / "verdicts.parquet").exists()
    return any((Home.from_environment().verdicts / batch).glob("v*/verdicts.parquet"))


def inbox_day_plan(settings: Settings, day: date, champion: Literal["then", "now"]) -> Outcome:
    """Batches that arrived on a day (UTC) and lack verdicts by the champion of then, or of now: each with its version.

    What arrived within `reconcile.min_age_minutes` is left to the hourly scoring, which may be at it.
    Raises NoSuchModel where no champion followed.
    """
    from packshot.registry.ledger import Ledger

    ledger, name = Ledger.from_environment(), settings.registry.model_name
    before = datetime.now(UTC) - timedelta(minutes=settings.reconcile.min_age_minutes)
    arrived = arrived_on(Home.from_environment().inbox, inbox_batches(), day)
    arrived = {batch: at for batch, at in arrived.items() if at <= before}
    current = champion_version(settings)
    versions = {b: champion_then(ledger, name, at) if champion == "then" else current for b, at in arrived.items()}
    waiting = [
        {"batch": batch, "model_version": version or current}
        for batch, version in versions.items()
        if not _is_scored(batch, version or current)
    ]
    return Outcome({"batches": waiting, "day": day.isoformat(), "arrived": list(arrived)}, done=bool(waiting))


def inbox_drift_plan(settings: Settings) -> Outcome:
    """Batches the champion has scored but nobody has checked for drift."""
    version = champion_version(settings)
    waiting = [
        b
        for b in inbox_batches()
        if (verdict_folder(b, version) / "verdicts.parquet").exists()
        and not (verdict_folder(b, version) / "drift.json").exists()
    ]
    return Outcome({"batches": waiting, "model_version": version}, done=bool(waiting))


def inbox_shadow_plan(settings: Settings) -> Outcome:
    """Batches the champion has scored since a version is in shadow and that version has not, as many as it still needs.

    The oldest first.
    """
    from packshot.registry.ledger import Ledger
    from packshot.registry.shadow import missing, seen

    champion = champion_version(settings)
    now = Ledger.from_environment().state(settings.registry.model_name).shadow
    if now is None:
        return Outcome({"batches": [], "model_version": None}, done=False)
    since = datetime.fromisoformat(now.at).timestamp()
    scored = {name: verdict_folder(name, champion) / "verdicts.parquet" for name in inbox_batches()}
    at = {name: file.stat().st_mtime for name, file in scored.items() if file.exists()}
    done = set(seen(now.version, champion))
    waiting = sorted((name for name in at if at[name] >= since and name not in done), key=lambda name: at[name])
    waiting = waiting[: missing(settings, now.version, champion)]
    return Outcome({"batches": waiting, "model_version": now.version}, done=bool(waiting))


def inbox_put(folder: Path, batch: str) -> Outcome:
    """Copy a folder of new images into the inbox as one batch; it appears whole or not at all."""
    if not folder.is_dir():
        raise BatchUnknown(f"{folder} is not a folder; name the folder that holds the new images")
    if not batch or batch.startswith(".") or "/" in batch:
        raise BatchUnknown(f"a batch cannot be named {batch!r}; use letters, digits, dashes and underscores")
    target = Home.from_environment().inbox / batch
    if target.exists():
        say(f"batch {batch} is in the inbox already; nothing to do")
        return Outcome({"batch": batch, "path": str(target)}, done=False)
    arriving = target.with_name(f".{batch}.arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    shutil.copytree(folder, arriving)
    record_arrival(arriving, datetime.now(UTC))
    arriving.rename(target)
    return Outcome({"batch": batch, "path": str(target)})


def inbox_forget(settings: Settings, batch: str) -> Outcome:
    """Take the pictures of a batch out of those that the shop knows, and say so in the ledger."""
    from packshot.registry.ledger import Ledger
    from packshot.scoring.duplicates import forget

    found = forget(Home.from_environment().known_pictures, batch)
    record = {"batch": batch, "pictures": found.pictures, "displaced_elsewhere": found.displaced_elsewhere}
    if not found.pictures:
        say(f"no picture of batch {batch} is known; nothing to do")
        return Outcome(record, done=False)
    Ledger.from_environment().record("forgotten", model_name=settings.registry.model_name, payload=record)
    say(f"{found.pictures} picture(s) of batch {batch} are forgotten; its verdicts and its folder are where they were")
    return Outcome(record)


def score_folder(
    settings: Settings,
    directory: Path | str,
    out: Path | str,
    *,
    model: str = "champion",
    batch_id: str | None = None,
    catalog: Path | None = None,
    drop_gone: bool = False,
    recorded: bool = True,
    pictures: tuple[Path, ...] = (),
) -> ScoreReport:
    """Score a folder; the other arguments are those of `scoring.batch.score`.

    Where it is `recorded`, its cost goes to the ledger and its pictures to those that the shop knows; otherwise they
    are only looked up there.

    Either folder may be an address in an object store.
    """
    from packshot.catalog.decoding.pool import decoders
    from packshot.scoring.batch import score
    from packshot.scoring.bucket import is_address
    from packshot.scoring.duplicates import Known
    from packshot.scoring.scorer import open_scorer
    from packshot.scoring.stored import score_stored

    if settings.scoring.engine == "local":
        decoders().begin()  # while this process loads the model
    source, target, scorer = str(directory), str(out), open_scorer(settings, model)
    if is_address(source) or is_address(target):
        run = partial(score_stored, settings, source, target)
    else:
        run = partial(score, settings, Path(source), Path(target), pictures=pictures)
    known = Known(Home.from_environment().known_pictures, record=recorded)
    run = partial(run, scorer=scorer, batch_id=batch_id, catalog=catalog, known=known, drop_gone=drop_gone)
    if not recorded:
        return run()
    with _charged_score(settings, scorer, {"batch": batch_id or Path(source).name}) as payload:
        report = run()
        payload |= {"batch": report.batch_id, "rows": report.rows}
    return report


def _charged_score(
    settings: Settings, scorer: Scorer, payload: dict[str, Any]
) -> AbstractContextManager[dict[str, Any]]:
    return charged(settings, "score", payload=payload, **scorer.lineage.entry())


def drift_check(settings: Settings, verdicts: Path, *, model: str = "champion", out: Path | None = None) -> DriftResult:
    """Check a scored batch for drift; leave the result and what it cost in the ledger, and tell of an alarm."""
    from packshot.drift.check import check, open_reference
    from packshot.ops.notices import tell

    reference = open_reference(settings, model)
    with charged(
        settings,
        "drift",
        payload={"batch": verdicts.parent.name},
        model_name=reference.model_name,
        to_version=reference.model_version,
        run_id=reference.run_id,
    ) as payload:
        result = check(settings, verdicts, out=out, reference=reference)
        told = ("alarm", "reason", "p_value", "in_cooldown")
        payload |= {name: getattr(result, name) for name in told}
        payload |= {"batch": result.batch_id, "report": str(result.report_path.resolve())}
    tell(settings)
    return result


def inbox_score(settings: Settings, batch: str, version: int | None = None) -> Outcome:
    """Score one batch of the inbox with the champion, by version number, or with the version named."""
    folder = Home.from_environment().inbox / _known(batch)
    version = version if version is not None else champion_version(settings)
    keep_arrival(folder)
    out = verdict_folder(batch, version)
    report = score_folder(settings, folder, out, model=str(version), batch_id=batch)
    return _scored(batch, version, report)


def inbox_cut(settings: Settings, batch: str, version: int | None = None) -> Outcome:
    """Cut one batch of the inbox into shards, and say which parts of them wait: each can be scored by itself."""
    from packshot.scoring.batch import plan_batch
    from packshot.scoring.scorer import open_scorer

    folder = Home.from_environment().inbox / _known(batch)
    version = version if version is not None else champion_version(settings)
    keep_arrival(folder)
    plan = plan_batch(settings, folder, verdict_folder(batch, version), open_scorer(settings, str(version)))
    most = settings.scoring.tasks_per_batch if settings.scoring.engine == "local" else 1
    parts = plan.parts(settings.scoring.shards_per_task, most)
    record: dict[str, Any] = {"batch": batch, "model_version": version, "images": plan.files, "shards": plan.shards}
    return Outcome(record | {"parts": [[part.start, part.stop] for part in parts]})


def inbox_score_part(settings: Settings, batch: str, version: int, shards: range) -> Outcome:
    """Score some shards of a batch that was cut, beside whoever scores others; the cost goes to the ledger."""
    from packshot.scoring.batch import score_part
    from packshot.scoring.scorer import open_scorer

    scorer = open_scorer(settings, str(version))
    record: dict[str, Any] = {"batch": _known(batch), "shards": [shards.start, shards.stop]}
    with _charged_score(settings, scorer, record) as payload:
        payload["rows"] = score_part(settings, verdict_folder(batch, version), scorer, shards)
    return Outcome(record | {"model_version": version, "rows": payload["rows"]})


def inbox_merge(settings: Settings, batch: str, version: int) -> Outcome:
    """Make the scored shards of a batch its verdicts."""
    from packshot.scoring.batch import merge_batch
    from packshot.scoring.duplicates import Known
    from packshot.scoring.scorer import open_scorer

    out = verdict_folder(_known(batch), version)
    scorer, known = open_scorer(settings, str(version)), Known(Home.from_environment().known_pictures, record=True)
    report = merge_batch(settings, out, scorer, batch_id=batch, known=known)
    return _scored(batch, version, report)


def _scored(batch: str, version: int, report: ScoreReport) -> Outcome:
    folder = str(verdict_folder(batch, version))
    return Outcome({"batch": batch, "model_version": version, "verdicts": folder, "rows": report.rows})


def inbox_shadow(settings: Settings, batch: str) -> Outcome:
    """Score one batch with the version in shadow, apart from all verdicts that count.

    A model that fails on the batch is evidence against it, written down and no error here. `complete` in the record:
    with this batch the version has seen all it needs, and the gates can be asked again.
    """
    from packshot.bundle import BundleError
    from packshot.registry.ledger import Ledger
    from packshot.registry.shadow import FAILED, complete
    from packshot.scoring.batch import JudgeFailed, score
    from packshot.scoring.duplicates import Known

    folder = Home.from_environment().inbox / _known(batch)
    champion, ledger = champion_version(settings), Ledger.from_environment()
    now = ledger.state(settings.registry.model_name).shadow
    if now is None:
        say("no version is in shadow; nothing to do")
        return Outcome({"batch": batch, "model_version": None}, done=False)
    out = Home.from_environment().shadow_by(batch, now.version)
    record: dict[str, Any] = {"batch": batch, "model_version": now.version, "beside": champion, "failure": None}
    try:
        known = Known(Home.from_environment().known_pictures)
        score(settings, folder, out, model=str(now.version), batch_id=batch, known=known)
        (out / FAILED).unlink(missing_ok=True)
    except (JudgeFailed, BundleError) as error:
        say(f"version {now.version} fails on batch {batch}, which counts against it: {error}")
        record["failure"] = f"{type(error).__name__}: {error}"
        write_json(out / FAILED, record)
    shutil.rmtree(out / "enhanced", ignore_errors=True)  # nobody may take these pictures for the shop's
    return Outcome(record | {"complete": complete(settings, ledger, champion)})


def inbox_drift(settings: Settings, batch: str) -> Outcome:
    """Check one scored batch for drift against the champion's reference."""
    from packshot.drift.summary import summary

    version = champion_version(settings)
    out = verdict_folder(batch, version)
    result = drift_check(settings, out / "verdicts.parquet", model=str(version), out=out)
    say(summary(result))
    drifted = [row["name"] for row in result.drifted]
    told = {"alarm": result.alarm, "p_value": result.p_value, "reason": result.reason, "drifted": drifted}
    headline = f"{batch}: {'ALARM' if result.alarm else 'no alarm' if result.p_value is not None else 'not tested'}"
    return Outcome({"batch": batch, "model_version": version, **told, "headline": headline})
