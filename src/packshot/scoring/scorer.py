"""Opening the model that is to score: from the registry, by number, or from a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from packshot.config import Settings
from packshot.evaluation.thresholds import read_rated
from packshot.scoring.judging import JudgeLike, Scorer
from packshot.scoring.runtime import TORCH, choose_runtime
from packshot.training.layout import OUT_OF_FOLD

if TYPE_CHECKING:
    from packshot.inference.runtime import OpenRuntime


def open_scorer(settings: Settings, model: str) -> Scorer:
    """The model named by an alias, a version number or the path of a bundle; it is loaded when first used.

    Raises what `bundle_path` raises, and RatedUnusable."""
    from packshot.evaluation.digest import bundle_digest
    from packshot.registry.models import bundle_path

    folder, lineage = bundle_path(settings, model)
    digest = bundle_digest(folder)
    runtime = choose_runtime(settings, digest)
    device = settings.training.device if runtime.label == TORCH else "cpu"
    load = partial(_load, folder, device, settings.training.threads, runtime.open)
    return Scorer(load, lineage, digest, read_rated(folder / OUT_OF_FOLD), runtime.label, folder)


def _load(folder: Path, device: str, threads: int, open_runtime: OpenRuntime) -> JudgeLike:
    import cv2

    from packshot.bundle import Judge
    from packshot.model.parallel import worker_count

    cv2.setNumThreads(worker_count(threads))  # its own default is every core of the machine
    return Judge.load(folder, device, threads, open_runtime)
