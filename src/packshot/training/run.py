"""The train stage: start, fit, calibrate, write the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from packshot import __version__
from packshot.bundle import (
    FOLDS,
    FORMAT_VERSION,
    RECORD,
    REFERENCE,
    BundleRecord,
    Calibration,
)
from packshot.catalog.decoding.isolated import decode
from packshot.catalog.held_out import held_out_of, write_held_out
from packshot.catalog.image import ImageLimits, resolve_inside
from packshot.catalog.manifest import read_manifest
from packshot.catalog.source_record import read_source
from packshot.config import Profile, Settings
from packshot.faults.detector import write_detector
from packshot.files import atomic_folder, remove_unfinished, write_parquet
from packshot.home import Home
from packshot.inference.devices import choose_device
from packshot.inference.gain import Forest, write_forest
from packshot.inference.scope import Scope, write_scope
from packshot.model import preprocess
from packshot.model.architecture import ATTRIBUTES
from packshot.model.network import PackshotNet
from packshot.model.parallel import keep_freed_memory, one_core, worker_count
from packshot.model.preprocess import Image
from packshot.progress import say
from packshot.revision import SPLIT_MANIFEST, RunKey, run_key
from packshot.trained import save_bundle
from packshot.training import layout
from packshot.training.build import architecture_of
from packshot.training.calibration import Residuals, calibration, coverage_of, half_widths_out_of_fold
from packshot.training.crossval import group_folds, out_of_fold
from packshot.training.dataset import Dataset, NoLabels, Pairs, Rows, load_dataset, load_pairs
from packshot.training.distributed import joined, local_processes
from packshot.training.faults import QUOTED_ALARMS, Learned, as_metrics, learn_faults, load_planted, with_clean
from packshot.training.features import MEASURED
from packshot.training.fit import Progress, Task, fit
from packshot.training.gain import gain_rows, learn_gain
from packshot.training.pretrained import pretrained_backbone
from packshot.training.recorder import Recorder
from packshot.training.scope import learn_scope
from packshot.training.sources import FeatureSource, KeptFeatures, LiveFeatures
from packshot.training.tone_trust import fit_tone_trust
from packshot.training.warm_start import FEWEST_RATED, refit_heads, refit_quality, warm_start

REFERENCE_BATCH = 64
REFERENCE_COLUMNS = ("image_id", "source", "category", "sender", "group", "style", "width", "height", *MEASURED)


def train(settings: Settings, workspace: Path, recorder: Recorder) -> Path:
    """Train all tasks together on `data/features/` and write `models/packshot/`; returns that folder.

    A run that was killed goes on from its last checkpoint, kept under the run key. On CUDA the upper stages of the
    backbone learn too, from the images. Started by torchrun, the processes share the work and the first of them writes.
    Raises NoLabels where neither a score, nor a style, nor a pair is there to learn from.
    """
    key = run_key(settings, workspace)
    profile_name = read_source(workspace).profile
    profile = settings.profiles[profile_name]  # type: ignore[index]
    task = _task(load_dataset(workspace, profile, settings.training.chosen), load_pairs(workspace))
    folder = Home.from_environment().checkpoints / key.short
    keep_freed_memory()
    with joined(settings.training.device) as ranks:
        torch.set_num_threads(max(1, worker_count(settings.training.threads) // local_processes()))
        if ranks.leads:
            recorder.params(_told(settings, profile_name, key.tags()))
        network = _started(settings, task).to(choose_device(settings.training.device))
        source = _source(network, task, settings, workspace)
        progress = fit(network, task, source, settings.training, checkpoints=folder, recorder=recorder, ranks=ranks)
    bundle = workspace / layout.BUNDLE
    if ranks.leads:
        torch.set_num_threads(worker_count(settings.training.threads))
        network.requires_grad_(False).eval()
        _finish(settings, bundle, network, task, source, progress, recorder, profile_name, key)
    return bundle


def _finish(
    settings: Settings,
    bundle: Path,
    network: PackshotNet,
    task: Task,
    source: FeatureSource,
    progress: Progress,
    recorder: Recorder,
    profile_name: str,
    key: RunKey,
) -> None:
    """What follows the fit, in one process: trust, heads, calibration, and the bundle."""
    data, profile = task.data, settings.profiles[profile_name]  # type: ignore[index]
    say(f"train: kept the state of epoch {progress.best_epoch + 1} of {progress.epoch}")
    if task.enhance:
        fit_tone_trust(network, task, source)
    folds = _refitted(network, task, settings) if isinstance(source, KeptFeatures) else None
    calibrated = _calibrated(network, task, source, settings)
    learned = _faults(settings, task, bundle.parents[1], profile)
    gain = _gain(settings, network, task, learned, bundle.parents[1], profile) if learned is not None else None
    covered = calibrated.covered | (as_metrics(learned.recall) if learned is not None else {})
    if covered:
        recorder.metrics(covered, progress.epoch)
    record = BundleRecord(
        format_version=FORMAT_VERSION,
        preprocessing_version=preprocess.VERSION,
        packshot_version=__version__,
        torch_version=str(torch.__version__),
        architecture=network.architecture,
        calibration=calibrated.calibration,
        text_seen=bool(data.has_text[data.with_style(task.train)].any()),
        profile=profile_name,
        run_key={"data_rev": key.data_rev, "code_rev": key.code_rev, "params_hash": key.params_hash},
        recipe=settings.training.recipe,
        epochs=progress.epoch,
        best_epoch=progress.best_epoch,
        metrics=_figures_kept(progress) | covered,
    )
    scope = _scope(settings, network, task, source)
    yardstick = reference(network, data, source, profile)
    remove_unfinished(bundle)
    with atomic_folder(bundle) as building:
        save_bundle(building, network.cpu(), record)
        write_held_out(building, held_out_of(data.index))
        write_parquet(building / REFERENCE, yardstick)
        if learned is not None:
            write_detector(building, learned.detector)
        if gain is not None:
            write_forest(building, gain)
        if scope is not None:
            write_scope(building, scope)
        if folds is not None:
            write_parquet(building / FOLDS, folds)
        if calibrated.out_of_fold is not None:
            write_parquet(building / layout.OUT_OF_FOLD, calibrated.out_of_fold)
    recorder.artifact(bundle / RECORD, "bundle")


def _task(data: Dataset, pairs: Pairs) -> Task:
    learn, stop = data.of_splits("train"), data.of_splits("validation")
    if not len(learn) or not (len(data.with_quality(learn)) or len(data.with_style(learn)) or len(pairs.index)):
        raise NoLabels(
            f"{layout.INDEX} has {len(learn)} training rows, none with a score or a style, and there is no pristine "
            "image to degrade; nothing can be learned. Label some rows, or name pristine sets in the profile."
        )
    return Task(data, pairs, learn, stop, pairs.of_split("train"), pairs.of_split("validation"), len(pairs.index) > 0)


def _faults(settings: Settings, task: Task, workspace: Path, profile: Profile) -> Learned | None:
    """What finds faults, learned from training and validation rows; None, said once, where they are too few."""
    lessons = with_clean(load_planted(workspace), task.data, _known(task), profile.pristine)
    learned = learn_faults(lessons, settings.training.seed)
    if isinstance(learned, str):
        say(f"train: the model will name no faults: {learned}")
        return None
    told = ", ".join(f"{name} {share:.2f}" for name, share in learned.recall.items())
    say(f"train: planted faults of any strength found at {QUOTED_ALARMS:.0%} false alarms: {told}")
    return learned


def _gain(
    settings: Settings, network: PackshotNet, task: Task, learned: Learned, workspace: Path, profile: Profile
) -> Forest | None:
    """What repairs gain, learned from pristine pictures that the enhancer has not learned from; None, said once, where
    they are too few."""
    recipe, seed = settings.training.chosen, settings.training.seed
    rows = gain_rows(read_manifest(workspace / SPLIT_MANIFEST), profile, recipe, seed)
    limits = ImageLimits.from_settings(settings.validation)

    def opener(path: str) -> Image:
        return decode(resolve_inside(workspace / layout.IMAGES, path), limits)

    found = learn_gain(network, learned.detector, rows, opener, recipe.crop, settings.training.threads, seed)
    if isinstance(found, str):
        say(f"train: what repairs gain is not learned: {found}")
        return None
    return found


@torch.no_grad()
def _scope(settings: Settings, network: PackshotNet, task: Task, source: FeatureSource) -> Scope | None:
    """Which pictures the styles are for, from training and validation rows; None where all of them have a style."""
    known, embedding, style = _known(task), [], []
    for start in range(0, len(known), REFERENCE_BATCH):
        features = source.rows(known[start : start + REFERENCE_BATCH])
        embedding.append(network.embed(features.stats).cpu().numpy())
        style.append(network.style_space(features.gram).cpu().numpy())
    inside = (task.data.style[known] >= 0).numpy()
    group = task.data.index["group"].iloc[known].to_numpy(dtype=str)
    loss, seed = settings.training.style_scope_loss, settings.training.seed
    scope = learn_scope(np.concatenate(embedding), np.concatenate(style), inside, group, loss, seed)
    if scope is not None:
        told = f"{int(inside.sum())} pictures with styles and {int((~inside).sum())} without"
        say(f"train: styles are for pictures like those that have one, learned from {told}")
    return scope


def _known(task: Task) -> Rows:
    return np.concatenate([task.train, task.validation])


def _rated(task: Task) -> Rows:
    """Every scored row, held-out ones included."""
    return task.data.with_quality(np.arange(len(task.data.index)))


def _refitted(network: PackshotNet, task: Task, settings: Settings) -> pd.DataFrame | None:
    """Solve the quality heads on the trained trunk; where there are several, which head has not seen which row."""
    data, seed, heads = task.data, settings.training.seed, network.architecture.quality_heads
    steepness = settings.training.loss.gradient_norm
    found = refit_quality(network, data, _known(task), task.pairs, task.train_pairs, seed, steepness)
    if heads == 1 or found is None:
        return None
    rated = _rated(task)
    fold = group_folds(data, rated, heads, seed)
    refit_heads(network, data, rated, fold, found, seed)
    say(f"train: {heads} quality heads learned from {len(rated)} scored rows, each without a fold of their groups")
    return data.index.iloc[rated][["image_id", "group"]].assign(fold=fold).reset_index(drop=True)


def _told(settings: Settings, profile: str, tags: Mapping[str, str]) -> dict[str, object]:
    return {
        "profile": profile,
        "recipe": settings.training.recipe,
        "seed": settings.training.seed,
        **{f"model.{name}": value for name, value in settings.network.model_dump(mode="json").items()},
        **{f"recipe.{name}": value for name, value in settings.training.chosen.model_dump(mode="json").items()},
        **{f"loss.{name}": value for name, value in settings.training.loss.model_dump(mode="json").items()},
        **tags,
    }


def _started(settings: Settings, task: Task) -> PackshotNet:
    torch.manual_seed(settings.training.seed)
    heads = settings.network.quality_heads if len(_rated(task)) >= FEWEST_RATED else 1
    rated = len(_rated(task) if heads > 1 else task.data.with_quality(_known(task))) or len(task.train_pairs)
    rated = rated if task.data.teacher is None else len(_known(task))
    network = PackshotNet(
        architecture_of(settings, task.data.styles, max(rated, 1), max(len(task.train_pairs), 1), heads)
    )
    network.backbone = pretrained_backbone(settings.network.backbone, settings.network.weights)
    network.backbone.requires_grad_(False)
    say(f"train: closed-form start on {len(task.train)} rows")
    with one_core():
        seed, steepness = settings.training.seed, settings.training.loss.gradient_norm
        warm_start(network, task.data, task.train, task.pairs, task.train_pairs, seed, steepness)
    return network


def _source(network: PackshotNet, task: Task, settings: Settings, workspace: Path) -> FeatureSource:
    live = network.device.type == "cuda" and settings.network.frozen_stages < network.backbone.depth
    if not live:
        return KeptFeatures(network, task.data, task.pairs)
    network.backbone.freeze(settings.network.frozen_stages)
    limits = ImageLimits.from_settings(settings.validation)

    def opener(path: str) -> Image:
        return decode(resolve_inside(workspace / layout.IMAGES, path), limits)

    return LiveFeatures(network, task.data, task.pairs, opener, settings.training.chosen, settings.training.seed)


@dataclass(frozen=True)
class _Calibrated:
    """The calibration; what share of scores such an interval covers out of fold, by kind of image (empty: unknown); and
    the scored rows with what their folds' models say of them (None: too few)."""

    calibration: Calibration
    covered: dict[str, float]
    out_of_fold: pd.DataFrame | None


@torch.no_grad()
def _calibrated(network: PackshotNet, task: Task, source: FeatureSource, settings: Settings) -> _Calibrated:
    """From out-of-fold predictions of train and validation; with a trained backbone, from validation alone, since
    its features have seen the training rows."""
    data = task.data
    coverage = settings.evaluation.interval_coverage
    if isinstance(source, LiveFeatures):
        rows = task.validation
        fold = group_folds(data, rows, settings.training.chosen.folds, settings.training.seed)
        seen = network.perceive(source.rows(rows)) if len(rows) else None
        quality = seen.quality.cpu() if seen else torch.zeros(0)
        logits = seen.logits.cpu() if seen else torch.zeros(0, 1)
    else:
        known = np.sort(_known(task))
        mine = data.only(known)  # test rows are no pictures to find principal components on
        labelled = np.flatnonzero((mine.quality.isfinite() | (mine.style >= 0)).numpy())
        with torch.enable_grad():
            found = out_of_fold(settings, mine, task.pairs, labelled, "calibration")
        rows, quality, logits, fold = known[found.rows], found.quality, found.logits, found.fold
    rated = (data.quality[rows].isfinite() & quality.isfinite()).numpy()
    styled = (data.style[rows] >= 0).numpy()
    stats = source.rows(rows[rated]).stats if rated.any() else data.stats[:0].to(network.device)
    scaled = network.trunk.scaled(network.trunk(stats)).double().cpu().numpy()
    error = (data.quality[rows[rated]] - quality[rated]).double().numpy()
    subsets = data.index["subset"].iloc[rows[rated]]
    residuals = Residuals(scaled, error, [name if isinstance(name, str) else None for name in subsets], fold[rated])
    fitted = calibration(network, residuals, logits[styled], data.style[rows[styled]], coverage)
    half = half_widths_out_of_fold(residuals, coverage)
    if half is None:
        return _Calibrated(fitted, {}, None)
    covered = {f"interval/coverage_folds/{kind}": share for kind, share in coverage_of(residuals, half).items()}
    frame = data.index.iloc[rows[rated]][["image_id", "group"]].reset_index(drop=True)
    judged, scored = quality[rated].double().numpy(), data.quality[rows[rated]].double().numpy()
    frame = frame.assign(quality_mos=scored, quality=judged)
    frame = frame.assign(quality_low=np.clip(judged - half, 0, None), quality_high=np.clip(judged + half, None, 1))
    return _Calibrated(fitted, covered, frame)


def _figures_kept(progress: Progress) -> dict[str, float]:
    kept = next(entry for entry in progress.history if int(entry["epoch"]) == progress.best_epoch)
    return {name: value for name, value in sorted(kept.items()) if name != "epoch"}


@torch.no_grad()
def reference(network: PackshotNet, data: Dataset, source: FeatureSource, profile: Profile) -> pd.DataFrame:
    """What the model says of its own training pictures of the catalogue sets: the yardstick of the drift check."""
    index = data.index
    rows = np.flatnonzero((index["source"].isin(profile.catalogue) & (index["split"] == "train")).to_numpy())
    frame = index.iloc[rows][list(REFERENCE_COLUMNS)].reset_index(drop=True)
    records = []
    for start in range(0, len(rows), REFERENCE_BATCH):
        features = source.rows(rows[start : start + REFERENCE_BATCH])
        seen = network.perceive(features)
        values = {
            "quality": seen.quality,
            **{name: seen.attributes[:, place] for place, name in enumerate(ATTRIBUTES)},
            "style": seen.logits.argmax(dim=1),
            "embedding": network.embed(features.stats),
            "style_vector": seen.style,
        }
        # rows of float32, as which vectors are kept: as Python's numbers they would take twice the space
        records.append(pd.DataFrame({name: list(value.cpu().numpy()) for name, value in values.items()}))
    names = np.array(data.styles or (None,), dtype=object)
    columns = ["quality", *ATTRIBUTES, "style", "embedding", "style_vector"]
    found = pd.concat(records, ignore_index=True) if records else pd.DataFrame(columns=columns)
    for name in columns:
        frame[name] = names[found[name].to_numpy(dtype=np.int64)] if name == "style" else found[name].to_numpy()
    return frame
