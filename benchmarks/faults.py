"""How surely faults are named: what share of clean pictures is called faulty, and of damaged ones which fault is found.

    python benchmarks/faults.py --workspace WORKSPACE [--count 24] [--false-alarms 0.05] [--leave-out]

Learns the detector as the train stage does, from the features of a workspace. Then, on groups of its test split: the
share of clean pictures of each pristine set, and of photographs that people scored high, that are called faulty; and
for each everyday damage (`packshot.degrade.everyday`, which no training draws from), on at most `--count` pristine
pictures, the share in which its fault is found, the median strength told, and the share in which any fault is.
`--leave-out` learns again without each pristine set in turn, and asks for its false alarms then.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from packshot.catalog.image import ImageLimits, decode, resolve_inside
from packshot.catalog.manifest import read_manifest
from packshot.config import Settings, load_settings
from packshot.degrade.everyday import damaged, other_plans, usual_plans
from packshot.evaluation.heldout import profile_of
from packshot.evaluation.pairs import IMAGES, pristine_rows
from packshot.faults.detector import Detector, Found
from packshot.inference.signal_on_cpu import signal_on_cpu
from packshot.model.preprocess import views
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.revision import SPLIT_MANIFEST
from packshot.training import layout
from packshot.training.dataset import Dataset, Rows, load_dataset
from packshot.training.faults import CLEAN_FROM, learn_faults, load_planted, with_clean

FAULT_OF = {"jpeg": "compression"}
"""The fault that an everyday damage is, where it is called otherwise."""


def detector_of(settings: Settings, workspace: Path, data: Dataset, sets: Sequence[str]) -> Detector:
    """Learned from the training and validation rows of these pristine sets, beside the scored photographs."""
    planted = load_planted(workspace)
    planted = planted.only(pd.read_parquet(workspace / layout.FAULT_INDEX)["source"].isin(sets).to_numpy())
    learned = learn_faults(
        with_clean(planted, data, data.of_splits("train", "validation"), sets), settings.training.seed
    )
    if isinstance(learned, str):
        raise SystemExit(f"nothing can be learned here: {learned}")
    return learned.detector


def flagged(detector: Detector, data: Dataset, rows: Rows, bound: float) -> float:
    """Share of these rows that is called faulty."""
    found = detector.find(data.stats[rows][:, -SIGNAL_SIZE:].numpy())
    return float(np.mean([any(one.present(bound) for one in each) for each in found]))


def clean_sets(data: Dataset, sets: Sequence[str], rows: Rows) -> dict[str, Rows]:
    """Those of `rows` that are clean, by what they are."""
    source = data.index["source"].to_numpy(dtype=str)
    found = {name: rows[source[rows] == name] for name in sets}
    found[f"photographs scored {CLEAN_FROM:g} and more"] = rows[(data.quality >= CLEAN_FROM).numpy()[rows]]
    return {name: each for name, each in found.items() if len(each)}


def recall(settings: Settings, workspace: Path, detector: Detector, count: int, bound: float) -> Table:
    """A row for each everyday damage."""
    manifest = read_manifest(workspace / SPLIT_MANIFEST)
    rows = pristine_rows(manifest, profile_of(settings, workspace), "test", count, settings.training.seed)
    limits, sides = ImageLimits.from_settings(settings.validation), settings.network.long_sides
    pictures = [decode(resolve_inside(workspace / IMAGES, str(path)).read_bytes(), limits) for path in rows["path"]]
    table = Table("damage", "found", "strength", "any fault", title=f"{len(pictures)} pictures of the test split")
    for plan in (*usual_plans(), *other_plans()):
        signal = [signal_on_cpu(views(damaged(each, plan, at), sides)[0])[0] for at, each in enumerate(pictures)]
        found = detector.find(np.stack(signal))
        wanted = [FAULT_OF.get(name, name) for name, _ in plan.steps]
        cells = [_told([_named(each, name) for each in found], bound) for name in wanted]
        some = np.mean([any(one.present(bound) for one in each) for each in found])
        table.add_row(plan.name, *("; ".join(column) for column in zip(*cells, strict=True)), f"{some:.2f}")
    return table


def _named(found: Sequence[Found], name: str) -> Found:
    return next(one for one in found if one.fault == name)


def _told(found: Sequence[Found], bound: float) -> tuple[str, str]:
    share = np.mean([one.present(bound) for one in found])
    return f"{share:.2f}", f"{np.median([one.strength for one in found]):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True, help="a workspace with features")
    parser.add_argument("--count", type=int, default=24, help="pristine pictures that are damaged (default 24)")
    parser.add_argument("--false-alarms", type=float, default=0.05, help="share of clean pictures called faulty")
    parser.add_argument("--leave-out", action="store_true", help="learn again without each pristine set")
    asked = parser.parse_args()
    settings, console = load_settings(), Console()
    profile = profile_of(settings, asked.workspace)
    data = load_dataset(asked.workspace, profile)
    detector = detector_of(settings, asked.workspace, data, profile.pristine)
    table = Table("clean pictures", "called faulty", "pictures", title=f"at {asked.false_alarms:.0%} false alarms")
    for name, rows in clean_sets(data, profile.pristine, data.of_splits("test")).items():
        table.add_row(name, f"{flagged(detector, data, rows, asked.false_alarms):.3f}", str(len(rows)))
    for name in profile.pristine if asked.leave_out else ():
        without = detector_of(settings, asked.workspace, data, [each for each in profile.pristine if each != name])
        rows = np.flatnonzero((data.index["source"] == name).to_numpy())
        table.add_row(f"{name}, never shown", f"{flagged(without, data, rows, asked.false_alarms):.3f}", str(len(rows)))
    console.print(table)
    console.print(recall(settings, asked.workspace, detector, asked.count, asked.false_alarms))


if __name__ == "__main__":
    main()
