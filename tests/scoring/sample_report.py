"""A report over two small batches, one of them with hostile names, everything in it filled in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from sample_batch import make_batch, picture, rated, save, scorer

from packshot.config import load_settings
from packshot.drift.check import Reference, check
from packshot.evaluation.decision_costs import weigh
from packshot.home import project_root
from packshot.scoring.batch import score
from packshot.serving.report import render

HOSTILE = "<img src=x onerror=alert(1)>.jpg"
GATES = {
    "outcome": "promoted",
    "challenger": 3,
    "champion": 2,
    "reason": "<script>alert(2)</script>",
    "gates": [
        {
            "metric": "quality/srcc/q",
            "kind": "floor",
            "verdict": "pass",
            "message": "0.8 reaches 0.7",
            "challenger": 0.8,
        }
        | {"threshold": 0.7},
        {"metric": "quality/srcc/q", "kind": "non_inferiority", "verdict": "not_enough_evidence", "message": "too few"}
        | {"challenger": 0.8, "champion": 0.79, "difference": 0.01, "low": -0.03, "high": 0.05, "threshold": -0.02},
    ],
}
METRICS = {
    "quality/srcc/q": 0.8,
    "quality/srcc_subset_baseline/q": 0.64,
    "enhance/psnr_gain": 1.5,
    "enhance/psnr_gain_classic": 1.9,
}
HISTORY = [
    {"at": "2026-01-01T00:00:00", "kind": "committed", "actor": "<b>eve</b>", "from_version": 2, "to_version": 3}
]


def make_report(folder: Path) -> Path:
    """Score, check and render below `folder`; PACKSHOT_HOME must point somewhere harmless."""
    settings = load_settings(project_root() / "params.yaml")
    images, batches = {}, []
    for name, low, high in (("reference", 60, 200), ("same", 60, 200), ("other", 225, 250)):
        source = make_batch(folder / "in" / name, 48, low, high, senders=48)
        if name == "same":
            save(source / "plain.jpg", picture(20), quality=95)
            shutil.copy(source / "plain.jpg", source / HOSTILE)
            (source / "broken <b>.jpg").write_text("no")
        out = folder / "out" / name
        score(settings, source, out, batch_id=name, scorer=scorer())
        images[out] = source
        batches.append(out)
    reference = folder / "reference.parquet"
    frame: pd.DataFrame = pq.read_table(batches[0] / "verdicts.parquet").to_pandas()
    frame.drop(columns=["findings", "measures"]).assign(group=frame.sender).to_parquet(reference)
    for out in batches[1:]:
        check(settings, out / "verdicts.parquet", reference=Reference(reference, "packshot", 3, "run1"))
    return render(
        settings,
        folder / "report",
        batches=batches[1:],
        images=images,
        gates=GATES,
        metrics=METRICS,
        history=HISTORY,
        reference=reference,
        source={"chosen": "mirror", "why": "it is <there>"},
        weighed=weigh(settings, rated(0.4), rated(0.5)),
        links={"run": "http://127.0.0.1:5000/run", "evil": "javascript:alert(3)"},
    )
