"""Held-out rows of models whose figures follow from one number, their skill (0..1)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from packshot.config import Settings
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.heldout import HeldOut
from packshot.files import write_json
from packshot.registry.alias import champion, exclusive, move
from packshot.registry.gates import Evidence
from packshot.registry.ledger import Ledger
from packshot.registry.register import register
from packshot.revision import run_key

ROWS = 400


def evidence(version: int, skill: float, metrics: dict[str, float] | None = None) -> Evidence:
    """A model that is right with probability `skill`; what is hard to one model is hard to all."""
    luck = np.random.default_rng(5)
    own = np.random.default_rng(version)
    mos = luck.uniform(0, 1, ROWS)
    quality = mos + (1.15 - skill) * luck.normal(0, 1, ROWS) * 0.5 + own.normal(0, 0.01, ROWS)
    right = luck.uniform(0, 1, ROWS) < skill
    styles = np.array(["rustic", "modern"])[luck.integers(0, 2, ROWS)]
    per_image = pd.DataFrame(
        {
            "image_id": [f"{i:03d}" for i in range(ROWS)],
            "source": "shop",
            "path": [f"shop/{i:03d}.jpg" for i in range(ROWS)],
            "subset": np.where(np.arange(ROWS) % 2, "a", "b"),
            "group": [f"g{i // 2}" for i in range(ROWS)],
            "quality_mos": mos,
            "quality": quality,
            "quality_low": quality - 0.3,
            "quality_high": quality + 0.3,
            "style": styles,
            "style_pred": np.where(right, styles, np.where(styles == "rustic", "modern", "rustic")),
        }
    )
    pairs = per_image.iloc[:60]
    psnr_in = luck.uniform(15, 25, 60)
    per_pair = pd.DataFrame(
        {
            "image_id": pairs["image_id"],
            "group": pairs["group"],
            "degradations": "jpeg:2",
            "family": np.where(np.arange(60) % 2, "noise", "blur+noise"),
            "psnr_in": psnr_in,
            "psnr_out": psnr_in + 4 * skill + luck.normal(0, 0.5, 60),
            "psnr_classic": psnr_in + 0.5,
            "ssim_in": 0.5,
            "ssim_out": 0.6,
        }
    )
    figures = metrics if metrics is not None else {"quality/srcc/shop": skill}
    return Evidence(version, figures, per_image, per_pair, ladders_of(skill))


def ladders_of(skill: float) -> pd.DataFrame:
    """Blur and noise in three levels on 60 crops; whether each level is seen is a matter of skill."""
    luck = np.random.default_rng(7)
    records = [
        {"image_id": f"{crop:03d}", "group": f"g{crop // 2}", "degradation": None, "level": 0, "quality": 0.8}
        for crop in range(60)
    ]
    for crop in range(60):
        for degradation, attribute in (("gaussian_blur", "sharpness"), ("noise", "detail")):
            seen = (luck.uniform(0, 1, 3) < skill).cumsum() * 0.2
            for level in (1, 2, 3):
                judged = 0.8 - float(seen[level - 1]) + 0.01 * level * (seen[level - 1] == 0)
                own = {"degradation": degradation, "level": level, "attribute": attribute}
                records.append(records[crop] | own | {"quality": judged, "judged": judged, "reference": 1 - level / 10})
    return pd.DataFrame(records)


def scored(bundle: Path, settings: Settings, workspace: Path) -> HeldOut:
    """What the held-out rows say of a bundle that `Shop.bundle` made, in place of judging pictures."""
    found = evidence(0, json.loads((bundle / "bundle.json").read_text())["skill"])
    srcc = found.slice("quality/srcc/shop").value
    return HeldOut(found.per_image, found.per_pair, found.per_single, {"quality/srcc/shop": srcc})


@dataclass(frozen=True)
class Shop:
    """A workspace with held-out rows, and bundles whose figures follow from one number: their skill, 0..1."""

    settings: Settings
    workspace: Path

    def bundle(self, skill: float, name: str = "packshot") -> Path:
        folder = self.workspace / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        made_from = asdict(run_key(self.settings, self.workspace))
        (folder / "bundle.json").write_text(json.dumps({"skill": skill, "run_key": made_from}))
        return folder

    def evaluate(self, figures: dict[str, float] | None = None) -> None:
        """What the evaluation step leaves for the bundle that is there now."""
        reports = self.workspace / "reports/evaluation"
        write_json(reports / "metrics.json", figures or {"quality/srcc/shop": 0.8, "quality/srcc_folds/shop": 0.79})
        digest = bundle_digest(self.workspace / "models/packshot")
        write_json(reports / "evaluated.json", {"bundle_sha256": digest})
        (reports / "plots").mkdir(exist_ok=True)
        (reports / "plots" / "quality.csv").write_text("predicted,actual\n0.5,0.5\n")

    def champions(self, *skills: float) -> None:
        """Register these and make each champion in turn, without asking the gates."""
        for skill in skills:
            version = self.register(skill)
            with exclusive():
                ledger = Ledger.from_environment()
                before = champion(self.settings, ledger)
                move(self.settings, ledger, from_version=before, to_version=version, rollback=False, payload={})

    def register(self, skill: float) -> int:
        """A version from a bundle of that skill, as alias challenger."""
        return register(self.settings, self.workspace, bundle=self.bundle(skill, f"b{skill}"), note="test").version
