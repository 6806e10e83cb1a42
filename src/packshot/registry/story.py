"""What is on record of one model version: who registered it, what the gates said, who approved it, when it reigned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from packshot.config import Settings
from packshot.registry.events import Approval, Gated, Registered
from packshot.registry.ledger import Ledger
from packshot.registry.lineage import Lineage
from packshot.registry.models import DIGEST_TAG, model_version, reference
from packshot.registry.state import Reign


@dataclass(frozen=True)
class Story:
    """One version by the ledger. Every part is None or empty where the ledger has no entry of it."""

    registered: Registered | None
    gates: Gated | None
    answers: tuple[Approval, ...]
    reigns: tuple[Reign, ...]


@dataclass(frozen=True)
class Entered:
    """One version by MLflow: what it was made from, the digest of its bundle, and its run."""

    reference: Lineage
    digest: str | None
    run_status: str
    metrics: Mapping[str, float]


def story_of(ledger: Ledger, model_name: str, version: int) -> Story:
    """What the ledger says of a version; of several decisions of the gates the last counts."""
    state = ledger.state(model_name)
    return Story(
        registered=state.registered.get(version),
        gates=state.gates.get(version),
        answers=tuple(state.approvals.get(version, ())),
        reigns=tuple(state.reigns_of(version)),
    )


def entered(settings: Settings, version: int) -> Entered:
    """What MLflow says of a version. Raises NoSuchModel, TrackingUnreachable."""
    from packshot.registry.tracking import client, reaching, tracking_uri

    found = model_version(settings, str(version))
    with reaching(tracking_uri(settings)):
        run = client(settings).get_run(found.run_id)
    metrics = {str(name): float(value) for name, value in run.data.metrics.items()}
    return Entered(reference(found), found.tags.get(DIGEST_TAG), str(run.info.status), metrics)
