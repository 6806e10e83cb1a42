"""What an engineer reads first on the MLflow pages of a run and a version: who, from what, and what became of it.

Tags and notes are for people: the ledger alone rules, and nothing here is read back to decide anything.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packshot.catalog.manifest import read_manifest
from packshot.catalog.source_record import read_source
from packshot.config import Settings
from packshot.registry.gates import GateResult
from packshot.registry.run_tags import NOTE
from packshot.registry.tracking import client, reaching, tracking_uri
from packshot.revision import SPLIT_MANIFEST, RunKey

if TYPE_CHECKING:
    from mlflow import MlflowClient

GATES, REASON, AGAINST = "packshot.gates", "packshot.gates.reason", "packshot.gates.against"
LONGEST_TAG = 500
DATASET_CONTEXT = "training"


def note_dataset(settings: Settings, run_id: str, key: RunKey, workspace: Path) -> None:
    """The data of a training run as MLflow's dataset, with its rows by set and split. Raises TrackingUnreachable."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    record, manifest = read_source(workspace), read_manifest(workspace / SPLIT_MANIFEST)
    profile = Counter(manifest["source"].astype(str) + ", " + manifest["split"].astype(str))
    dataset = Dataset(
        name=record.profile,
        digest=key.data_rev,
        source_type="dvc",
        source=_text({"chosen": record.chosen, "sets": sorted(record.sets)}),
        schema=_text({"columns": sorted(map(str, manifest.columns))}),
        profile=_text({"num_rows": len(manifest), **dict(sorted(profile.items()))}),
    )
    given = [DatasetInput(dataset, [InputTag("mlflow.data.context", DATASET_CONTEXT)])]
    with reaching(tracking_uri(settings)):
        client(settings).log_inputs(run_id, given)


def note_gates(
    settings: Settings,
    version: int,
    run_id: str | None,
    champion: int | None,
    said: str,
    gates: Sequence[GateResult],
    table: str,
) -> None:
    """What the gates said of a version: as tags of the version and of its run, whose note ends in their table.

    `said`: promoted, refused or not_enough_evidence. Raises TrackingUnreachable.
    """
    failed = [each.message for each in gates if each.verdict in ("fail", "not_enough_evidence")]
    tags = {GATES: said, REASON: "; ".join(failed)[:LONGEST_TAG] or "every gate passed"}
    tags[AGAINST] = "no champion" if champion is None else f"version {champion}"
    mlflow_client = client(settings)
    with reaching(tracking_uri(settings)):
        for name, value in tags.items():
            mlflow_client.set_model_version_tag(settings.registry.model_name, str(version), name, value)
        if run_id is not None:
            note_on_run(mlflow_client, run_id, tags, f"### Gates of version {version}", table)


def note_on_run(mlflow_client: MlflowClient, run_id: str, tags: Mapping[str, str], head: str, text: str) -> None:
    """Tags of a run, and a section of its note, in place of an earlier one below the same heading."""
    for name, value in tags.items():
        mlflow_client.set_tag(run_id, name, value)
    before = mlflow_client.get_run(run_id).data.tags.get(NOTE, "")
    kept = before.split(f"\n\n{head}", 1)[0]
    mlflow_client.set_tag(run_id, NOTE, f"{kept}\n\n{head}\n\n{text}")


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)
