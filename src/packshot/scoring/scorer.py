"""Opening the model that is to score: from the registry, by number, or from a folder."""

from __future__ import annotations

from dataclasses import replace
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
    from packshot.registry.lineage import Lineage
    from packshot.registry.shop_scales import ShopScale


def open_scorer(settings: Settings, model: str) -> Scorer:
    """`open_unscaled` on the scale of the shop, where one is in force.

    A shop's scale applies to registered versions alone. Raises what `judging_bundle` raises, RatedUnusable,
    ScaleDamaged and ScaleOutdated."""
    scorer = open_unscaled(settings, model)
    return replace(scorer, scale=_scale(settings, scorer.digest, scorer.lineage))


def open_unscaled(settings: Settings, model: str) -> Scorer:
    """The model named by an alias, a version number or the path of a bundle; it is loaded when first used.

    Raises what `judging_bundle` raises, and RatedUnusable."""
    from packshot.evaluation.digest import bundle_digest
    from packshot.registry.models import judging_bundle

    folder, lineage = judging_bundle(settings, model)
    digest = bundle_digest(folder)
    runtime = choose_runtime(settings, digest)
    device = settings.training.device if runtime.label == TORCH else "cpu"
    load = partial(_load, folder, device, settings.training.threads, runtime.open)
    return Scorer(load, lineage, digest, read_rated(folder / OUT_OF_FOLD), runtime.label, folder)


def _scale(settings: Settings, digest: str, lineage: Lineage) -> ShopScale | None:
    if lineage.model_name is None or lineage.model_version is None:
        return None
    from packshot.registry.ledger import Ledger
    from packshot.registry.shop_scales import in_force

    return in_force(digest, lineage.model_name, settings.scoring.costs.good_from, Ledger.from_environment())


def _load(folder: Path, device: str, threads: int, open_runtime: OpenRuntime) -> JudgeLike:
    import cv2

    from packshot.bundle import Judge
    from packshot.model.parallel import worker_count

    cv2.setNumThreads(worker_count(threads))  # its own default is every core of the machine
    return Judge.load(folder, device, threads, open_runtime)
