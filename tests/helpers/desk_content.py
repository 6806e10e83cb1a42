"""What the desk's pages have to tell: a ledger, drift, a quarantine and labels, with texts that would run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from packshot.catalog.manifest import QUARANTINE_COLUMNS
from packshot.catalog.source_record import QUARANTINE, VALIDATION
from packshot.files import write_json, write_parquet
from packshot.home import Home
from packshot.registry.ledger import Ledger

HOSTILE = '<img src=x onerror=alert(1)>"'
AIRFLOW = "http://airflow.shop/dags/score/runs/1"


def drifted(home: Path, **more: Any) -> None:
    """What a check of the batch in `out` found."""
    figures = [{"name": f"brightness {HOSTILE}", "effect": 1.5, "kind": "figure", "p_holm": 0.01}]
    told = {
        "alarm": True,
        "reason": f"p is small {HOSTILE}",
        "p_value": 0.002,
        "drifted": figures,
        "examples": ["a.jpg"],
    }
    told["statistics"] = [{"name": f"brightness {HOSTILE}", "effect": 1.5}]
    write_json(home / "out" / "drift.json", told | more)


def gates(verdict: str, message: str = "found") -> dict[str, Any]:
    """A gate as the ledger has it."""
    told = {"metric": "quality/srcc", "kind": "non_inferiority", "verdict": verdict, "message": message}
    return told | {
        "challenger": 0.8125,
        "champion": 0.75,
        "threshold": -0.01,
        "difference": 0.0625,
        "low": 0.01,
        "high": 0.1,
    }


def passed(actor: str = "trainer") -> None:
    """A version that was registered and passed its gates."""
    ledger = Ledger.from_environment()
    ledger.record("register", actor=actor, model_name="packshot", to_version=1, payload={"bundle_sha256": "d" * 64})
    told = {"outcome": "promoted", "gates": [gates("pass"), gates("not_enough_evidence")], "airflow": AIRFLOW}
    ledger.record("gate", actor="airflow", model_name="packshot", to_version=1, payload=told)


def quarantined(reasons: list[str]) -> None:
    """The newest data, with a row in quarantine for each reason."""
    root = Home.from_environment().workspaces / "catalog"
    told = {"image_id": None, "source": "own", "expectation": "file_readable", "value": "v", "at": "now"}
    kept = [told | {"path": f"{n} {HOSTILE}", "reason": reason, "detail": HOSTILE} for n, reason in enumerate(reasons)]
    (root / QUARANTINE).parent.mkdir(parents=True, exist_ok=True)
    write_parquet(root / QUARANTINE, pd.DataFrame(kept, columns=list(QUARANTINE_COLUMNS), dtype=object))
    summary = {
        "rows_in": 500,
        "valid": 500 - len(kept),
        "quarantined": len(kept),
        "max_bad_share": 0.05,
        "warnings": ["w"],
    }
    write_json(root / VALIDATION, summary)


def labelled(said: list[tuple[str, str | None, float | None]], path: str = "a.jpg") -> None:
    """Labels of several people on one picture."""
    folder = Home.from_environment().labels
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.jsonl").open("a") as file:
        for who, decision, score in said:
            told = {"image_id": path, "quality_mos": score, "style": None, "who": who, "decision": decision}
            told |= {"when": "2026-03-01T00:00:00+00:00", "file": "f", "batch": "b", "path": path}
            file.write(json.dumps(told | dict.fromkeys(("sku", "title", "sender", "category", "why"))) + "\n")
