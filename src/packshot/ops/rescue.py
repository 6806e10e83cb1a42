"""What becomes of damaged pictures: damage is planted on good ones, the whole decision is taken, and the outcome is
compared with the undamaged pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import ImageLimits, encode
from packshot.config import Settings
from packshot.degrade.everyday import Plan, damaged
from packshot.evaluation.metrics import psnr
from packshot.progress import track
from packshot.scoring.verdicts import read_verdicts

Pixels = NDArray[np.uint8]
Figures = dict[str, float | None]
DECISIONS = ("accept", "enhance", "review", "reject")
RESCUED_DB = 1.0
"""Nearer to the undamaged picture by so much at least, in PSNR."""
HARMED_DB = 0.3
CLEAN = Plan("clean", ())
TONE_AND_NOISE = ("dark", "flat", "cast", "noise")
COLUMNS = ("path", "decision", "reasons", "quality", "quality_after", "enhanced_path", "error")


@dataclass(frozen=True)
class Clean:
    """A good picture: its name, the set that it is of, its file."""

    name: str
    source: str
    path: Path


Planted = Mapping[str, tuple[Plan, Clean]]
"""File of a batch, POSIX and relative, to the damage planted on it and the picture that it was."""


def plant(folder: Path, pictures: Sequence[Clean], plans: Sequence[Plan], limits: ImageLimits) -> Planted:
    """Write every picture under every plan below `folder`, as PNG. Raises BadImage for a picture that is none."""
    planted = {}
    for place, clean in enumerate(track(pictures, "planting damage", total=len(pictures))):
        pixels = decode(clean.path, limits)
        for plan in plans:
            name = f"{plan.name.replace(' ', '_')}/{clean.name}.png"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            encode(damaged(pixels, plan, seed=place), folder / name, format="PNG")
            planted[name] = (plan, clean)
    return planted


def outcomes(out: Path, folder: Path, planted: Planted, settings: Settings) -> pd.DataFrame:
    """One row a planted picture: its verdict, `plan`, `source`, `clean` (path of the undamaged picture), and where an
    enhanced picture is delivered `gain`, by how many dB of PSNR it is nearer to the undamaged one than the input."""
    limits = ImageLimits.from_settings(settings.validation)
    verdicts = {row["path"]: row for row in read_verdicts(out / "verdicts.parquet", COLUMNS).to_pylist()}
    return pd.DataFrame([_outcome(verdicts[path], *planted[path], folder, out, limits) for path in planted])


def _outcome(
    row: dict[str, Any], plan: Plan, clean: Clean, folder: Path, out: Path, limits: ImageLimits
) -> dict[str, Any]:
    gain = np.nan
    if row["enhanced_path"]:
        true = decode(clean.path, limits)
        before, after = decode(folder / row["path"], limits), decode(out / row["enhanced_path"], limits)
        gain = psnr(true, after) - psnr(true, before)
    return row | {"plan": plan.name, "source": clean.source, "clean": str(clean.path), "gain": gain}


def shares(rows: pd.DataFrame) -> Figures:
    """Of some rows: the share of each decision; `rescued`, delivered RESCUED_DB nearer; of those enhanced and delivered
    the share that is over HARMED_DB further (`harmed`) and `mean_gain`, dB, None where there are none; `pictures`."""
    kept = rows[rows["decision"] == "enhance"]
    figures: Figures = {name: float((rows["decision"] == name).mean()) for name in DECISIONS}
    figures["rescued"] = float((kept["gain"] >= RESCUED_DB).sum() / max(len(rows), 1))
    figures["harmed"] = float((kept["gain"] < -HARMED_DB).mean()) if len(kept) else None
    figures["mean_gain"] = float(kept["gain"].mean()) if len(kept) else None
    return figures | {"pictures": float(len(rows))}


def by_plan(rows: pd.DataFrame) -> dict[str, Figures]:
    """The figures of each plan, of all that is damaged, of what is damaged in tones or noise alone, and of all rows."""
    found = {str(name): shares(part) for name, part in rows.groupby("plan", sort=False)}
    broken = rows[rows["plan"] != CLEAN.name]
    steps = broken["plan"].str.split(" ").str[0].str.split("+")
    mendable = broken[[all(step in TONE_AND_NOISE for step in each) for each in steps]]
    return found | {"damaged": shares(broken), "of tone and noise": shares(mendable), "all": shares(rows)}
