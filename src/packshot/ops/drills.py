"""Rehearsals: a safeguard that was never seen at work is a hope."""

from __future__ import annotations

import tempfile
from pathlib import Path

from packshot.config import Settings
from packshot.ops.pipeline import Outcome, champion_version
from packshot.progress import say
from packshot.workspace import workspace_of_data

NOTE = "drill: the champion with damaged weights; the gates must refuse it"


def bad_challenger(settings: Settings) -> Outcome:
    """Register a damaged copy of the champion as challenger, once for each champion.

    The gates must refuse it; nothing else tells this version from an honest one but its note.
    """
    from packshot.registry.damage import damaged_copy
    from packshot.registry.models import bundle_path
    from packshot.registry.register import register

    version = champion_version(settings)
    bundle, reference = bundle_path(settings, str(version))
    workspace = workspace_of_data(reference.key.data_rev)
    with tempfile.TemporaryDirectory(prefix="packshot-drill-") as scratch:
        damaged = Path(scratch) / "bundle"
        damaged_copy(bundle, damaged, seed=version)
        registered = register(settings, workspace.root, bundle=damaged, note=NOTE, require_metrics=False)
    if not registered.new:
        say(f"the drill against champion {version} was registered already, as version {registered.version}")
    return Outcome({"version": registered.version, "against": version}, done=registered.new)
