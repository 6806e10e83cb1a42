"""What becomes of product pictures that were damaged: rescued, harmed, passed on as they are, or sent to a person.

    python benchmarks/rescue.py --workspace WORKSPACE [--bundle models/packshot] [--count 48] [--plans usual|others|all]

Takes pristine pictures of the test split of a workspace (garments, groceries, furniture: whatever the profile calls
pristine), whole, as they are and under each everyday damage (`packshot.degrade.everyday`, which no training draws
from), and scores them as `packshot score` does. Printed for each damage, as shares of its pictures: the decisions;
`rescued`, delivered at least 1 dB nearer to the undamaged picture; of those enhanced and delivered, the share that is
further from it by more than .3 dB (`harmed`) and the mean gain.
`--json FILE` writes the table, `--sheet FOLDER` pictures to look at.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from packshot.catalog.image import ImageLimits, decode, resolve_inside
from packshot.catalog.manifest import read_manifest
from packshot.config import Settings, load_settings
from packshot.degrade.everyday import other_plans, usual_plans
from packshot.evaluation.heldout import profile_of
from packshot.evaluation.pairs import IMAGES, pristine_rows
from packshot.files import write_bytes, write_json
from packshot.ops.rescue import CLEAN, DECISIONS, Clean, Figures, by_plan, outcomes, plant, shares
from packshot.revision import SPLIT_MANIFEST
from packshot.scoring.batch import score

Pixels = NDArray[np.uint8]
SHOWN, TILE = 6, 240
"""Pictures of each plan on a sheet, and their side in pixels."""


def pristine(settings: Settings, workspace: Path, count: int) -> list[Clean]:
    """At most `count` pictures of the test split, shared out over the sets."""
    manifest = read_manifest(workspace / SPLIT_MANIFEST)
    rows = pristine_rows(manifest, profile_of(settings, workspace), "test", count, settings.training.seed)
    return [
        Clean(f"{place:03d}", str(row["source"]), resolve_inside(workspace / IMAGES, str(row["path"])))
        for place, row in enumerate(rows.to_dict("records"))
    ]


def printed(found: dict[str, Figures], title: str) -> Table:
    """The figures as a table."""
    columns = (*DECISIONS, "rescued", "harmed", "mean_gain", "pictures")
    table = Table("damage", *columns, title=title)
    for name, figures in found.items():
        cells = ["–" if (value := figures[column]) is None else f"{value:.2f}" for column in columns[:-1]]
        table.add_row(name, *cells, f"{figures['pictures'] or 0:.0f}")
    return table


def sheets(folder: Path, rows: pd.DataFrame, shown: Path, out: Path, settings: Settings) -> Iterator[Path]:
    """Pictures to look at, a file for each plan: the picture as it came, as it is delivered, and the verdict."""
    limits = ImageLimits.from_settings(settings.validation)
    for plan, part in rows.groupby("plan", sort=False):
        lines = [beside(row, folder, out, limits) for row in part.head(SHOWN).to_dict("records")]
        target = shown / f"{str(plan).replace(' ', '_')}.png"
        data = cv2.imencode(".png", cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR))[1]
        write_bytes(target, data.tobytes())
        yield target


def beside(row: dict[str, Any], folder: Path, out: Path, limits: ImageLimits) -> Pixels:
    """One line of a sheet, H x W x 3 uint8 RGB."""
    came = decode(folder / row["path"], limits)
    kept = row["enhanced_path"]
    delivered = decode(out / kept, limits) if isinstance(kept, str) else np.full_like(came, 255)
    words = np.full((TILE, 3 * TILE, 3), 255, dtype=np.uint8)
    for line, text in enumerate((row["decision"], *row["reasons"][:6])):
        cv2.putText(words, str(text)[:98], (6, 24 + 30 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1)
    tiles = [cv2.resize(side, (TILE, TILE), interpolation=cv2.INTER_AREA) for side in (came, delivered)]
    return np.hstack([*tiles, words])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True, help="a workspace that holds its pictures")
    parser.add_argument("--bundle", type=Path, help="folder of the trained model (default: the workspace's)")
    parser.add_argument("--count", type=int, default=48, help="pristine pictures (default 48)")
    parser.add_argument("--plans", choices=("usual", "others", "all"), default="usual")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--sheet", type=Path, help="write pictures beside their verdicts into this folder")
    given = parser.parse_args()
    settings = load_settings()
    pictures = pristine(settings, given.workspace, given.count)
    if not pictures:
        parser.error(f"{given.workspace} holds out no pristine picture")
    chosen = {"usual": usual_plans(), "others": other_plans(), "all": [*usual_plans(), *other_plans()]}[given.plans]
    with tempfile.TemporaryDirectory(prefix="packshot-rescue-") as scratch:
        folder, out = Path(scratch) / "batch", Path(scratch) / "verdicts"
        planted = plant(folder, pictures, [CLEAN, *chosen], ImageLimits.from_settings(settings.validation))
        score(settings, folder, out, model=str(given.bundle or given.workspace / "models" / "packshot"))
        rows = outcomes(out, folder, planted, settings)
        if given.sheet:
            for path in sheets(folder, rows, given.sheet, out, settings):
                print(path)
    found = by_plan(rows)
    Console(width=130).print(printed(found, f"{len(pictures)} pictures that no training and no tuning saw"))
    by_source = {str(source): shares(part) for source, part in rows[rows["plan"] != CLEAN.name].groupby("source")}
    Console(width=130).print(printed(by_source, "the damaged by set"))
    if given.json:
        write_json(given.json, found)


if __name__ == "__main__":
    main()
