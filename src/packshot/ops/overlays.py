"""`packshot overlays`: the network of the rule `laid_over` anew, from the sets that teach the starter model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import ImageLimits, resolve_inside
from packshot.catalog.manifest import read_manifest
from packshot.catalog.narrowing import narrow
from packshot.catalog.statistics import shrink
from packshot.config import Settings
from packshot.inference.overlay_spotter import WEIGHTS
from packshot.inference.weights import read_weights
from packshot.model.preprocess import Image
from packshot.ops.starter import PROFILE, gather
from packshot.progress import say, track
from packshot.revision import SPLIT_MANIFEST
from packshot.training import layout
from packshot.training.overlay_network import LARGEST, installed_fonts, teach, write_overlay_network
from packshot.training.overlays import Fonts

COPIES = 120_000
"""Copies of pictures that it learns from."""
AS_MANY = 40
"""Pictures that stand for a set of fewer in each 400: print on packages is rare, and is what it must leave alone."""


def run(
    settings: Settings, folder: Path, target: Path = WEIGHTS, copies: int = COPIES, go_on: bool = False
) -> dict[str, Any]:
    """Collect and split the catalogue below `folder`, as `packshot starter` does, teach the network on its train split
    and write it to `target`. Pictures of the validation split calibrate it, those of the test split it never sees.
    `go_on`: from the weights that are there, with other copies.
    """
    whole, own = folder / "catalogue", folder / "overlays"
    gather(settings, whole)
    narrow(settings, whole, PROFILE, own)
    return teach_from(settings, own, target, copies, go_on)


def teach_from(
    settings: Settings, workspace: Path, target: Path, copies: int = COPIES, go_on: bool = False
) -> dict[str, Any]:
    """The same from a workspace whose splits are there."""
    manifest = read_manifest(workspace / SPLIT_MANIFEST)
    learned, others = (
        list(_pictures(settings, workspace, _weighed(manifest[manifest["split"] == split])))
        for split in ("train", "validation")
    )
    start, seed = (read_weights(target), settings.training.seed + 1000) if go_on else (None, settings.training.seed)
    taught = teach(learned, others, Fonts(list(installed_fonts())), copies, seed, say, start=start)
    write_overlay_network(taught, target)
    return {"network": str(target), "auc": round(taught.auc, 4), "found_at_2_percent": round(taught.recall, 4)}


def _weighed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, those of a small set as often as makes it count."""
    least = AS_MANY * len(rows) // 400
    parts = [part.loc[np.resize(part.index, max(len(part), least))] for _, part in rows.groupby("source", sort=True)]
    return pd.concat(parts)


def _pictures(settings: Settings, workspace: Path, rows: pd.DataFrame) -> Iterator[Image]:
    limits, root = ImageLimits.from_settings(settings.validation), workspace / layout.IMAGES
    known: dict[str, Image] = {}
    for path in track(rows["path"].tolist(), "pictures", total=len(rows)):
        if path not in known:
            known[path] = np.ascontiguousarray(shrink(decode(resolve_inside(root, path), limits), LARGEST))
        yield known[path]
