"""What the whole decision makes of held-out pictures, pristine and damaged: what is enhanced and kept, and its worth.

    python benchmarks/enhanced_in_production.py --bundle models/packshot --workspace WORKSPACE [--count 200]

Takes crops of the pristine test pictures of a workspace, as they are and under mixes of damage, and scores both as two
batches, as `packshot score` does. Printed for each batch: the share of each decision; of the enhanced pictures that are
kept, the gain in PSNR against the undamaged crop and the share that lost over 0.1 dB; and the share of the whole batch
that ended with a lower score than before, or further than 40 dB from the input.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from packshot.catalog.image import ImageLimits, decode, encode
from packshot.catalog.manifest import read_manifest
from packshot.config import Settings, load_settings
from packshot.evaluation.heldout import HARM_DB, UNTOUCHED_DB, profile_of
from packshot.evaluation.metrics import PSNR_CAP_DB, psnr
from packshot.evaluation.pairs import mixed_pairs, pristine_rows
from packshot.revision import SPLIT_MANIFEST
from packshot.scoring.batch import score
from packshot.scoring.verdicts import read_verdicts

Pixels = NDArray[np.uint8]
DECISIONS = ("accept", "enhance", "review", "reject")


def decided(settings: Settings, bundle: Path, clean: Sequence[Pixels], batch: Sequence[Pixels]) -> pd.DataFrame:
    """One row a picture of `batch`: decision, quality, quality_after, and where an enhanced one was kept, its PSNR to
    the undamaged picture before and after, and to the input."""
    limits = ImageLimits.from_settings(settings.validation)
    with tempfile.TemporaryDirectory(prefix="packshot-production-") as scratch:
        folder, out = Path(scratch) / "batch", Path(scratch) / "verdicts"
        folder.mkdir()
        for place, image in enumerate(batch):
            encode(image, folder / f"{place:05d}.png", format="PNG")
        score(settings, folder, out, model=str(bundle))
        columns = ["path", "decision", "quality", "quality_after", "enhanced_path"]
        rows = read_verdicts(out / "verdicts.parquet", columns).to_pandas().sort_values("path", ignore_index=True)
        for place, name in enumerate(rows["enhanced_path"]):
            if isinstance(name, str):
                image = decode(out / name, limits)
                pairs = {"before": (clean, batch[place]), "after": (clean, image), "to_input": (batch, image)}
                for column, (reference, shown) in pairs.items():
                    rows.loc[place, column] = psnr(reference[place], shown)
    complete: pd.DataFrame = rows.reindex(columns=[*columns, "before", "after", "to_input"])
    return complete


def figures(rows: pd.DataFrame) -> dict[str, str]:
    """What is printed of a batch."""
    kept = rows[rows["enhanced_path"].notna()]
    gain = kept["after"] - kept["before"]
    lower = kept["quality_after"] < kept["quality"]
    found = {"pictures": f"{len(rows)}"}
    found |= {decision: f"{(rows['decision'] == decision).mean():.1%}" for decision in DECISIONS}
    if (kept["before"] < PSNR_CAP_DB).any():
        found["kept: PSNR gain, dB"] = f"{gain.mean():+.2f}"
        found[f"kept: lost over {HARM_DB:g} dB"] = f"{(gain < -HARM_DB).mean():.1%}"
    found["all: lower score than before"] = f"{lower.sum() / len(rows):.1%}"
    found[f"all: below {UNTOUCHED_DB:g} dB to the input"] = f"{(kept['to_input'] < UNTOUCHED_DB).sum() / len(rows):.1%}"
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the trained model")
    parser.add_argument(
        "--workspace", type=Path, required=True, help="a workspace with a split manifest and its images"
    )
    parser.add_argument("--count", type=int, default=200, help="pictures at most (default 200)")
    given = parser.parse_args()
    settings = load_settings()
    profile, manifest = profile_of(settings, given.workspace), read_manifest(given.workspace / SPLIT_MANIFEST)
    rows = pristine_rows(manifest, profile, "test", given.count, settings.training.seed)
    if rows.empty:
        parser.error(f"{given.workspace} holds out no pristine picture")
    pairs = list(mixed_pairs(rows, settings, given.workspace))
    clean = [pair.clean for pair in pairs]
    batches = {"pristine": clean, "damaged": [pair.degraded for pair in pairs]}
    found = {name: figures(decided(settings, given.bundle, clean, batch)) for name, batch in batches.items()}
    table = Table("the whole decision", *found)
    for line in dict.fromkeys(key for each in found.values() for key in each):
        table.add_row(line, *(each.get(line, "–") for each in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
