"""`packshot adapt`: a bundle adapted to a folder of unlabelled pictures, with what that gained or lost."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from packshot.bundle import FOLDS, REFERENCE, Adaptation, Image, Judge, Judgement
from packshot.catalog.grouping import ties_of
from packshot.catalog.image import ImageLimits
from packshot.catalog.near_duplicates import near_duplicate_sets, signature, unpack
from packshot.catalog.statistics import image_statistics, shrink
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.evaluation import adaptation as gains
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.heldout import score_heldout, score_heldout_once
from packshot.faults.detector import FAULTS
from packshot.files import atomic_folder, write_json, write_parquet
from packshot.inference.devices import choose_device
from packshot.inference.gain import FILE as GAIN
from packshot.inference.scope import FILE as SCOPE
from packshot.inference.torch_runtime import source_of
from packshot.model.architecture import ATTRIBUTES
from packshot.model.network import PackshotNet
from packshot.model.parallel import worker_count
from packshot.progress import say, track
from packshot.registry.models import bundle_path
from packshot.scoring.listing import list_batch
from packshot.scoring.reading import read_ahead
from packshot.scoring.writing import OutputIsInput
from packshot.trained import read_trained, save_bundle
from packshot.training.adapt import Ladder, adapt, ladder_of, lessons
from packshot.training.layout import OUT_OF_FOLD
from packshot.training.run import REFERENCE_COLUMNS

RECORD, PLOT = "adaptation.json", "adaptation.png"
FEWEST = 8
"""Pictures below which there is nothing to hold out and learn from."""
SOURCE = "own"


class TooFewPictures(PackshotError):
    """The folder holds too few usable pictures, or only near-duplicates of one."""

    exit_code = 65


class OutputTaken(PackshotError):
    """The output folder holds something that is no adapted bundle."""

    exit_code = 73


@dataclass(frozen=True)
class Picture:
    """A picture at the size of the longest view, uint8 H x W x 3 RGB. `facts`: columns of a reference."""

    image_id: str
    pixels: Image
    facts: dict[str, Any]


@dataclass(frozen=True)
class Adapted:
    """What became of it. `kept`: whether `out` holds the bundle; `record` is what adaptation.json says."""

    kept: bool
    out: Path
    record: dict[str, Any]


def run(
    settings: Settings,
    directory: Path,
    out: Path,
    model: str = "champion",
    workspace: Path | None = None,
    keep_anyway: bool = False,
) -> Adapted:
    """Adapt `model` to the pictures below `directory` and write the new bundle, adaptation.json and adaptation.png to
    `out`, which appears whole or not at all.

    Where a guarded figure falls by more than `adapt.margin`, `out` gets no bundle unless `keep_anyway`. `workspace`
    gives labelled held-out rows. Raises BatchFolderMissing, EmptyBatch, TooFewPictures, OutputTaken, OutputIsInput,
    NoSuchModel, BundleError, OutputNotWritable.
    """
    _check_out(directory, out)
    folder, reference = bundle_path(settings, model)
    before = Judge.load(folder, settings.training.device, settings.training.threads)
    pictures = _read(settings, directory, out, max(before.bundle.architecture.long_sides))
    groups = _groups(pictures, settings)
    held = _held_out(groups, settings)
    learn = [picture for picture, apart in zip(pictures, held, strict=True) if not apart]
    say(f"adapt: {len(learn)} pictures to learn from, {int(held.sum())} held out to measure")
    own = [
        (group, _whole_ladder(picture, settings))
        for picture, group, apart in track(zip(pictures, groups, held, strict=True), "held-out copies", len(pictures))
        if apart
    ]
    recipe, rate = settings.training.chosen, settings.training.chosen.learning_rate
    first = gains.judged_ladders(before, track(own, "judging before"))
    torch.set_num_threads(worker_count(settings.training.threads))
    shown = track([(each.image_id, each.pixels) for each in learn], "adapt: degrading and looking")
    network = read_trained(folder).to(choose_device(settings.training.device))
    adapt(network, lessons(shown, recipe, settings.adapt), settings.adapt, rate)
    after = before.with_network(source_of(network), settings.training.device, settings.training.threads)
    second = gains.judged_ladders(after, track(own, "judging after"))
    labelled = None
    if workspace is not None:
        labelled = (
            score_heldout_once(folder, settings, workspace).metrics,
            score_heldout(after, settings, workspace).metrics,
        )
    found = gains.compare(first, second, labelled, settings)
    lineage = Adaptation(
        source=f"{reference.model_name} version {reference.model_version}"
        if reference.model_version
        else reference.model_name,
        source_sha256=bundle_digest(folder),
        pictures=len(learn),
        pictures_sha256=hashlib.sha256("\n".join(sorted(each.image_id for each in learn)).encode()).hexdigest(),
        settings={name: float(value) for name, value in settings.adapt.model_dump().items()},
        calibration_refitted=False,
    )
    kept = keep_anyway or not found.fallen
    record = {**asdict(found), "adaptation": lineage.model_dump(), "held_out": int(held.sum()), "kept": kept}
    with atomic_folder(out) as building:
        if kept:
            _write_bundle(building, folder, network, after, lineage, found.after, pictures, groups)
        write_json(building / RECORD, record)
        gains.draw(found, int(held.sum()), building / PLOT)
    return Adapted(kept, out, record)


def _check_out(directory: Path, out: Path) -> None:
    if directory.resolve().is_relative_to(out.resolve()):
        raise OutputIsInput(f"{out} is or holds the folder of the images; choose another output folder")
    if out.exists() and not (out.is_dir() and ((out / RECORD).is_file() or not any(out.iterdir()))):
        raise OutputTaken(f"{out} exists and was not written by `packshot adapt`; choose a new or empty folder")


def _read(settings: Settings, directory: Path, out: Path, side: int) -> list[Picture]:
    """At most `adapt.pictures` distinct pictures, drawn by lot; files that cannot be used are named."""
    seed = settings.adapt.seed
    files = sorted(list_batch(directory, out, None, settings.catalog), key=lambda file: _lot(f"{seed}:{file.path}"))
    limits = ImageLimits.from_settings(settings.validation)
    found: dict[str, Picture] = {}
    bad = 0
    for opened in track(read_ahead(files, directory.resolve(), limits), "reading", total=len(files)):
        if opened.info is None or opened.pixels is None:
            bad += 1
            say(f"{opened.file.path} is left out: {opened.reason}: {opened.detail}")
            continue
        facts = dict(opened.file.facts) | image_statistics(opened.pixels) | {"source": SOURCE, "style": None}
        pixels = np.ascontiguousarray(shrink(opened.pixels, side))
        found.setdefault(opened.info.image_id, Picture(opened.info.image_id, pixels, facts))
        del opened
        if len(found) == settings.adapt.pictures:
            break
    if len(found) < FEWEST:
        raise TooFewPictures(
            f"{directory} holds {len(found)} usable pictures ({bad} of {len(files)} files were left out); adapting "
            f"needs at least {FEWEST}, and gains from about 50"
        )
    return [found[image_id] for image_id in sorted(found)]


def _groups(pictures: Sequence[Picture], settings: Settings) -> list[str]:
    """The group of each picture: near-duplicates, and pictures of one sender or SKU where a catalogue tells them."""
    size = settings.splits.hash_size
    signs = [signature(each.pixels, size) for each in pictures]
    bits, thumbnails = unpack([each.phash for each in signs], [each.thumbnail for each in signs], size)
    frame = pd.DataFrame(
        {
            "image_id": [each.image_id for each in pictures],
            "source": SOURCE,
            "sender": [each.facts.get("sender") for each in pictures],
            "sku": [each.facts.get("sku") for each in pictures],
        }
    )
    near = near_duplicate_sets(bits, thumbnails, settings.splits.max_distance)
    which = ties_of(frame, near).components()
    names = [pictures[int(np.flatnonzero(which == each)[0])].image_id for each in which]
    return names


def _held_out(groups: Sequence[str], settings: Settings) -> np.ndarray:
    """Which pictures are held out: whole groups by lot, until the share is reached."""
    names = sorted(set(groups), key=lambda name: _lot(f"{settings.adapt.seed}/{name}"))
    if len(names) < 2:
        raise TooFewPictures("all pictures are near-duplicates, or of one sender: none can be held out; add others")
    chosen: set[str] = set()
    for name in names[:-1]:
        if sum(group in chosen for group in groups) >= settings.adapt.held_out * len(groups):
            break
        chosen.add(name)
    return np.array([group in chosen for group in groups])


def _whole_ladder(picture: Picture, settings: Settings) -> Ladder:
    # another seed than that of the lessons: damage is drawn anew
    return ladder_of(
        picture.pixels, picture.image_id, settings.training.chosen, settings.adapt, settings.adapt.seed + 1
    )


def _write_bundle(
    target: Path,
    source: Path,
    network: PackshotNet,
    judge: Judge,
    lineage: Adaptation,
    figures: dict[str, float],
    pictures: Sequence[Picture],
    groups: Sequence[str],
) -> None:
    answers: list[Judgement] = []
    for picture in track(pictures, "judging for the reference"):
        answers += judge.judge([picture.pixels])
    rows = [_reference_row(*each) for each in zip(pictures, groups, answers, strict=True)]
    record = judge.bundle.model_copy(update={"adaptation": lineage, "metrics": figures})
    save_bundle(target, network, record)
    write_parquet(target / REFERENCE, pd.DataFrame(rows))
    # faults, and what repairs gain, are told by the pixels, which no stage of a backbone moves; scopes move little
    for name in (FOLDS, OUT_OF_FOLD, FAULTS, GAIN, SCOPE):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _reference_row(picture: Picture, group: str, seen: Judgement) -> dict[str, Any]:
    known = {**picture.facts, "image_id": picture.image_id, "group": group}
    return {
        **{name: known.get(name) for name in REFERENCE_COLUMNS},
        **{name: getattr(seen, name) for name in ("quality", *ATTRIBUTES, "style")},
        "embedding": seen.embedding.tolist(),
        "style_vector": seen.style_vector.tolist(),
    }


def _lot(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
