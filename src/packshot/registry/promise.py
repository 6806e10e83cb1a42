"""The held-out rows that a registered version was evaluated on: what it promises."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import pandas as pd

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.registry.models import model_version
from packshot.registry.tracking import reaching, tracking_uri

ROWS = "evaluation/per_image.parquet"


class NothingPromised(PackshotError):
    """A version has no held-out rows on record."""

    exit_code = 66


def promised_rows(settings: Settings, version: int, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of the held-out rows, judged, that were logged when the version was registered.

    Raises NothingPromised, NoSuchModel, TrackingUnreachable.
    """
    found = model_version(settings, str(version))
    import mlflow
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="packshot-promise-") as scratch:
        try:
            with reaching(tracking_uri(settings)):
                path = mlflow.artifacts.download_artifacts(run_id=found.run_id, artifact_path=ROWS, dst_path=scratch)
            return pd.read_parquet(path, columns=list(columns))
        except (MlflowException, OSError, ValueError) as error:
            raise NothingPromised(
                f"run {found.run_id} of {found.name} version {version} holds no usable {ROWS} ({error}): without "
                "figures of its own the version promises nothing; register it with `packshot register` after "
                "`packshot evaluate`"
            ) from error
