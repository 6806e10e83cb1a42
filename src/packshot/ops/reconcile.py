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
from packshot.registry.alias import CHAMPION, exclusive
from packshot.registry.ledger import COMMITS, Ledger
from packshot.registry.models import alias_version
from packshot.registry.rollback import rolled_back
from packshot.registry.shadow import in_shadow
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
    history = ledger.history()
    if any(row["kind"] == "register" and row["data_rev"] == revision for row in history) or any_held(f"{RETRAINING}*"):
        return []
    tried = [_time(row["at"]) for row in history if row["kind"] == "retrain" and row["data_rev"] == revision]
    since = max([_time(at), *tried])
    advice = "packshot retrain, then packshot register: published data that no version learned from"
    return [Finding("data not trained", revision, since, advice, "catalog_ready", {"data_rev": revision})]


def _unjudged(settings: Settings, ledger: Ledger) -> list[Finding]:
    """Versions newer than the champion that the gates never saw, and one that has come through the shadow since."""
    name = settings.registry.model_name
    history = ledger.history(name)
    judged = {row["to_version"]: row["id"] for row in history if row["kind"] in ("gate", "refused", *COMMITS)}
    champion = next((version for version in reversed(ledger.committed(name))), None) or 0
    out = rolled_back(ledger, name)
    found = [
        _to_judge(
            "challenger not judged", f"version {row['to_version']}", row["to_version"], row["at"], row["data_rev"]
        )
        for row in history
        if row["kind"] == "register" and row["to_version"] > champion and row["to_version"] not in {*judged, *out}
    ]
    shadow = in_shadow(ledger, name)
    if shadow is not None and shadow.complete_beside and judged.get(shadow.version, 0) < shadow.entry:
        subject = f"version {shadow.version}, ledger entry {shadow.entry}"
        found.append(_to_judge("shadow not judged", subject, shadow.version, shadow.at, None))
    return found


def _to_judge(condition: str, subject: str, version: int, at: str, data_rev: str | None) -> Finding:
    extra = {"model_version": version} | ({"data_rev": data_rev} if data_rev else {})
    return Finding(condition, subject, _time(at), f"packshot promote --challenger {version}", "challenger", extra)


def _interrupted(settings: Settings, ledger: Ledger) -> list[Finding]:
    """A move that was begun and not committed, with the alias at one of its ends: the next promotion finishes it."""
    pending = ledger.pending(settings.registry.model_name)
    if pending is None or alias_version(settings, CHAMPION) not in _ends(pending.entry):
        return []
    version = pending.entry["to_version"]
    advice = f"packshot promote --challenger {version}: finishes the move"
    subject = f"to version {version}, ledger entry {pending.intent_id}"
    extra = {"model_version": version}
    return [Finding("move interrupted", subject, _time(pending.entry["at"]), advice, "challenger", extra)]


def _moved_by_hand(settings: Settings, ledger: Ledger) -> list[Finding]:
    """An alias that is not where the ledger left it: a person decides."""
    name = settings.registry.model_name
    pending, recorded = ledger.pending(name), ledger.committed(name)
    expected = _ends(pending.entry) if pending is not None else (recorded[-1] if recorded else None,)
    found = alias_version(settings, CHAMPION)
    if found in expected:
        return []
    last = [_time(row["at"]) for row in ledger.history(name)][-1:]
    subject = f"alias at {found or 'no version'}, ledger at {' or '.join(str(v or 'no version') for v in expected)}"
    advice = "packshot registry adopt accepts the alias; or set it back"
    return [Finding("alias moved by hand", subject, (last or [LONG_AGO])[0], advice)]


def _of_batches(settings: Settings, ledger: Ledger) -> list[Finding]:
    """Batches that wait for the champion, for the drift check, or whose alarm nobody answered."""
    if alias_version(settings, CHAMPION) is None:
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
    decided = ledger.history(kind="drift_response")
    about = {batch for row in decided if row["to_version"] == version for batch in row["payload"]["batches"]}
    found = []
    for batch in inbox_batches():
        said = _drift(verdict_folder(batch, version) / "drift.json")
        if said.get("alarm") and said.get("checked_at") and batch not in about:
            extra, subject = {"batches": [batch], "model_version": version}, f"{batch} by version {version}"
            at = _time(said["checked_at"])
            found.append(Finding("alarm not answered", subject, at, "packshot inbox respond", "verdicts", extra))
    asked = [row["id"] for row in ledger.history(kind="retrain")]
    for row in decided:
        if row["payload"]["retrain"] and not any(later > row["id"] for later in asked):
            extra = {"batches": list(row["payload"]["batches"]), "model_version": row["to_version"]}
            subject, advice = f"ledger entry {row['id']}", "packshot retrain --reason drift_alarm"
            found.append(Finding("training not begun", subject, _time(row["at"]), advice, "drift_alarm", extra))
    return found


def _drift(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _ends(entry: Mapping[str, Any]) -> tuple[int | None, int | None]:
    return entry["from_version"], entry["to_version"]


def _sent(ledger: Ledger) -> set[tuple[str, str]]:
    return {(row["payload"]["condition"], row["payload"]["subject"]) for row in ledger.history(kind="reconcile")}


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
