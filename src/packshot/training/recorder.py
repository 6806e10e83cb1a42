"""Where a training run reports to: MLflow in the pipeline, nothing in tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Recorder(Protocol):
    """What training tells the outside world. Metrics are finite floats; `step` is the epoch, from 0."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings of the run; the same again is allowed, since a resumed run says them twice."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Figures of one epoch."""

    def artifact(self, path: Path, folder: str) -> None:
        """A file to keep with the run."""


class NullRecorder:
    """Reports to nobody."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Drop the settings."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Drop the figures."""

    def artifact(self, path: Path, folder: str) -> None:
        """Drop the file."""
