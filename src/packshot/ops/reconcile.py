"""What should have happened and did not: read from where the state lives, never from the events that announce it.

An event may be lost; the state it announced is not. Each finding names the event that would have started what is
missing; the `reconcile` DAG sends it again, once for each finding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from packshot.config import Settings
from packshot.home import Home
from packshot.lock import any_held
from packshot.ops.arrivals import arrival
from packshot.ops.pipeline import RETRAINING, inbox_batches, inbox_drift_plan, inbox_plan, verdict_folder
from packshot.registry.alias import exclusive
from packshot.registry.alias_check import CHAMPION, AliasMovedByHand, alias_version, promoted
from packshot.registry.events import DriftAnswered, Reconciled, Registered, Retrained
from packshot.registry.ledger import Ledger
from packshot.workspace import CATALOG, Workspace

COLUMNS = ("condition", "subject", "since", "event", "what to do")
LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Finding:
    """Something open: since when, what a person can do, and the asset event (with what it carries) that starts it.

    `event` None: only a person can decide. `sent`: the event was sent again before, and this is still open.
    """

    condition: str
    subject: str
    since: datetime
    advice: str
    event: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    sent: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same finding in a later run."""
        return self.condition, self.subject

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        own = ("condition", "subject", "advice", "event", "sent")
        since = self.since.isoformat(timespec="seconds")
        return {name: getattr(self, name) for name in own} | {"since": since, "extra": dict(self.extra)}


def reconcile(settings: Settings, now: datetime | None = None) -> list[Finding]:
    """Everything that is open for longer than `reconcile.min_age_minutes`, the oldest first; nothing is changed.

    Raises TrackingUnreachable, LedgerError.
    """
    ledger = Ledger.from_environment()
    before = (now or datetime.now(UTC)) - timedelta(minutes=settings.reconcile.min_age_minutes)
    sent = _sent(ledger)
    found = chain(
        _untrained(ledger),
        _unjudged(settings, ledger),
        _interrupted(settings, ledger),
        _moved_by_hand(settings, ledger),
        _of_batches(settings, ledger),
    )
    open_since = sorted((one for one in found if one.since <= before), key=lambda one: (one.since, one.key))
    return [replace(one, sent=one.key in sent) for one in open_since]


def claim(settings: Settings, findings: Sequence[Finding]) -> dict[str, dict[str, Any]]:
    """Write down which events are to be sent for these findings, and return them: asset name to what it carries.

    Each finding is sent for at most once. Batches of one event go together; of other findings that need the same event
    the oldest is sent now and the next in the next run, since a receiver may take two waiting events for one.
    """
    ledger = Ledger.from_environment()
    events: dict[str, dict[str, Any]] = {}
    with exclusive():
        sent = _sent(ledger)
        for one in findings:
            if one.event is None or one.key in sent or not _fits(one, events):
                continue
            note = f"{one.condition}: {one.subject}; event {one.event} sent again"
            payload = {"condition": one.condition, "subject": one.subject, "event": one.event, "note": note}
            ledger.record("reconcile", model_name=settings.registry.model_name, payload=payload)
            events[one.event] = _together(events.get(one.event), one)
    return events


def table(findings: Sequence[Finding]) -> str:
    """The findings for people."""
    rows = [COLUMNS, *(_row(one) for one in findings)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]))
    return "\n".join(lines)


def _untrained(ledger: Ledger) -> list[Finding]:
    """The newest data revision, where no version was made from it and no training is at work."""
    catalog = Workspace(Home.from_environment().workspaces / CATALOG)
    if not (catalog.root / ".git").exists():
        return []
    published = catalog.run("git", "log", "--all", "-1", "--format=%s %cI", "--grep=^data ", quiet=True).split()
    if not published:
        return []
    _, revision, at = published
    about = [event for event in ledger.events() if event.data_rev == revision]
    if any(isinstance(event, Registered) for event in about) or any_held(f"{RETRAINING}*"):
        return []
    tried = [event.time for event in about if isinstance(event, Retrained)]
    since = max([_time(at), *tried])
    advice = "packshot retrain, then packshot register: published data that no version learned from"
    return [Finding("data not trained", revision, since, advice, "catalog_ready", {"data_rev": revision})]


def _unjudged(settings: Settings, ledger: Ledger) -> list[Finding]:
    """Versions newer than the champion that the gates never saw, and one that has come through the shadow since."""
    name = settings.registry.model_name
    state = ledger.state(name)
    champion = state.champion or 0
    found = [
        _to_judge("challenger not judged", f"version {version}", version, entry.at, entry.data_rev)
        for version, entry in state.registered.items()
        if version > champion and version not in {*state.judged, *state.rolled_back}
    ]
    shadow = state.shadow
    if shadow is not None and shadow.complete_beside and state.judged.get(shadow.version, 0) < shadow.entry:
        subject = f"version {shadow.version}, ledger entry {shadow.entry}"
        found.append(_to_judge("shadow not judged", subject, shadow.version, shadow.at, None))
    return found


def _to_judge(condition: str, subject: str, version: int, at: str, data_rev: str | None) -> Finding:
    extra = {"model_version": version} | ({"data_rev": data_rev} if data_rev else {})
    return Finding(condition, subject, _time(at), f"packshot promote --challenger {version}", "challenger", extra)


def _interrupted(settings: Settings, ledger: Ledger) -> list[Finding]:
    """A move that was begun and not committed, with the alias at one of its ends: the next promotion finishes it."""
    pending = ledger.state(settings.registry.model_name).pending
    if pending is None or alias_version(settings, CHAMPION) not in pending.ends:
        return []
    version = pending.version
    advice = f"packshot promote --challenger {version}: finishes the move"
    subject = f"to version {version}, ledger entry {pending.entry.id}"
    extra = {"model_version": version}
    return [Finding("move interrupted", subject, pending.entry.time, advice, "challenger", extra)]


def _moved_by_hand(settings: Settings, ledger: Ledger) -> list[Finding]:
    """An alias that is not where the ledger left it: a person decides.

    As old as the last move by the ledger: what is scored or checked meanwhile makes it no younger.
    """
    state = ledger.state(settings.registry.model_name)
    found, expected = alias_version(settings, CHAMPION), state.alias_may_be
    if found in expected:
        return []
    since = _time(state.reigns[-1].since) if state.reigns else LONG_AGO
    subject = f"alias at {found or 'no version'}, ledger at {' or '.join(str(v or 'no version') for v in expected)}"
    advice = "packshot registry adopt accepts the alias; or set it back"
    return [Finding("alias moved by hand", subject, since, advice)]


def _of_batches(settings: Settings, ledger: Ledger) -> list[Finding]:
    """Batches that wait for the champion, for the drift check, or whose alarm nobody answered.

    None while there is no champion, or a person has to decide which it is: nothing is scored until then.
    """
    try:
        if promoted(settings, ledger) is None:
            return []
    except AliasMovedByHand:
        return []
    scoring, checking = inbox_plan(settings).record, inbox_drift_plan(settings).record
    version, inbox = scoring["model_version"], Home.from_environment().inbox
    found = [
        Finding(
            "batch not scored",
            batch,
            arrival(inbox / batch),
            f"packshot inbox score {batch}",
            "champion",
            {"batches": [batch], "model_version": version},
        )
        for batch in scoring["batches"]
    ]
    for batch in checking["batches"]:
        scored = (verdict_folder(batch, version) / "verdicts.parquet").stat().st_mtime
        at, extra = datetime.fromtimestamp(scored, UTC), {"batches": [batch], "model_version": version}
        advice = f"packshot inbox drift {batch}"
        found.append(Finding("drift not checked", f"{batch} by version {version}", at, advice, "verdicts", extra))
    return found + _unanswered(ledger, version)


def _unanswered(ledger: Ledger, version: int) -> list[Finding]:
    """Alarms that nobody has decided about, and a decision to train after which nobody was asked to."""
    events = ledger.events()
    decided = [event for event in events if isinstance(event, DriftAnswered)]
    about = {batch for event in decided if event.to_version == version for batch in event.payload.batches}
    found = []
    for batch in inbox_batches():
        said = _drift(verdict_folder(batch, version) / "drift.json")
        if said.get("alarm") and said.get("checked_at") and batch not in about:
            extra, subject = {"batches": [batch], "model_version": version}, f"{batch} by version {version}"
            at = _time(said["checked_at"])
            found.append(Finding("alarm not answered", subject, at, "packshot inbox respond", "verdicts", extra))
    asked = max((event.id for event in events if isinstance(event, Retrained)), default=0)
    for event in decided:
        if event.payload.retrain and asked < event.id:
            extra = {"batches": list(event.payload.batches), "model_version": event.to_version}
            subject, advice = f"ledger entry {event.id}", "packshot retrain --reason drift_alarm"
            found.append(Finding("training not begun", subject, event.time, advice, "drift_alarm", extra))
    return found


def _drift(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _sent(ledger: Ledger) -> set[tuple[str, str]]:
    sent = [event.payload for event in ledger.events(kind="reconcile") if isinstance(event, Reconciled)]
    return {(payload.condition, payload.subject) for payload in sent}


def _fits(one: Finding, events: Mapping[str, Any]) -> bool:
    return one.event not in events or "batches" in one.extra


def _together(earlier: Mapping[str, Any] | None, one: Finding) -> dict[str, Any]:
    if earlier is None:
        return {**one.extra, "reconciled": True}
    return {**earlier, "batches": [*earlier["batches"], *one.extra["batches"]]}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _row(one: Finding) -> tuple[str, ...]:
    event = "–" if one.event is None else f"{one.event}, sent" if one.sent else one.event
    return one.condition, one.subject, one.since.strftime("%Y-%m-%d %H:%M"), event, one.advice
