"""What is on record of one model version: who registered it, what the gates said, who approved it, when it reigned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packshot.config import Settings
from packshot.registry.ledger import COMMITS, Ledger
from packshot.registry.models import DIGEST_TAG, ModelRef, model_version, reference

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Story:
    """One version by the ledger. Every part is None or empty where the ledger has no entry of it."""

    registered: Entry | None
    gates: Entry | None
    answers: tuple[Entry, ...]
    reigns: tuple[tuple[str, str, str | None], ...]
    """(who made it champion, since when, until when), times in ISO; None: it still is."""


@dataclass(frozen=True)
class Entered:
    """One version by MLflow: what it was made from, the digest of its bundle, and its run."""

    reference: ModelRef
    digest: str | None
    run_status: str
    metrics: Mapping[str, float]


def story_of(ledger: Ledger, model_name: str, version: int) -> Story:
    """What the ledger says of a version; of several entries of a kind the last counts."""
    history = ledger.history(model_name)
    own = [entry for entry in history if entry["to_version"] == version]
    return Story(
        registered=_last(own, "register"),
        gates=_last(own, "gate"),
        answers=tuple(entry for entry in own if entry["kind"] == "approval"),
        reigns=_reigns([entry for entry in history if entry["kind"] in COMMITS], version),
    )


def entered(settings: Settings, version: int) -> Entered:
    """What MLflow says of a version. Raises NoSuchModel, TrackingUnreachable."""
    from packshot.registry.tracking import client, reaching, tracking_uri

    found = model_version(settings, str(version))
    with reaching(tracking_uri(settings)):
        run = client(settings).get_run(found.run_id)
    metrics = {str(name): float(value) for name, value in run.data.metrics.items()}
    return Entered(reference(found), found.tags.get(DIGEST_TAG), str(run.info.status), metrics)


def _last(entries: Sequence[Entry], kind: str) -> Entry | None:
    found = [entry for entry in entries if entry["kind"] == kind]
    return found[-1] if found else None


def _reigns(moves: Sequence[Entry], version: int) -> tuple[tuple[str, str, str | None], ...]:
    after = [*(entry["at"] for entry in moves[1:]), None]
    return tuple(
        (entry["actor"], entry["at"], until)
        for entry, until in zip(moves, after, strict=False)
        if entry["to_version"] == version
    )
