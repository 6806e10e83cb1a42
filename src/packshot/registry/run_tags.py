"""What the MLflow page of a run says from its beginning: author, source, and a note of what it is made from."""

from __future__ import annotations

import os

from packshot.config import Settings
from packshot.registry.ledger import TASK_URL_VARIABLE, default_actor
from packshot.revision import RunKey

NOTE = "mlflow.note.content"
"""Shown as Markdown above a run's figures."""
AIRFLOW = "packshot.airflow_task"
"""Address of the Airflow task that began the run."""


def begun_tags(settings: Settings, key: RunKey) -> dict[str, str]:
    """Of a run that begins: author, source, note, and the Airflow task that started it."""
    tags = {
        "mlflow.user": default_actor(),
        "mlflow.source.name": f"packshot {key.code_rev}",
        "mlflow.source.type": "PROJECT",
        NOTE: (
            f"Recipe **{settings.training.recipe}** on data revision `{key.data_rev}`, code `{key.code_rev}`, "
            f"parameters `{key.params_hash}`, seed {settings.training.seed}. Model **{settings.registry.model_name}**."
        ),
    }
    task = os.environ.get(TASK_URL_VARIABLE)
    return tags | ({AIRFLOW: task} if task else {})
