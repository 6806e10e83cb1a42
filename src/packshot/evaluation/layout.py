"""Where a workspace keeps its bundle and its figures."""

from pathlib import Path

BUNDLE = Path("models/packshot")
REPORTS = Path("reports/evaluation")
METRICS = "metrics.json"
EVALUATED = "evaluated.json"
"""Beside the figures: which bundle (sha256) and data revision they are of; written last."""
