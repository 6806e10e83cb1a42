"""What people are told of, read from the ledger: an entry is the event, and waits until it was told.

So a kill between an event and its notice loses nothing, and a step that is tried again tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from packshot.config import NoticesSettings, Settings
from packshot.errors import PackshotError
from packshot.home import project_root
from packshot.lock import held, lock_path
from packshot.ops.notifiers import Notice, Notifier, NotTaken, notifiers
from packshot.progress import say
from packshot.redaction import redacted
from packshot.registry.events import (
    AnyEvent,
    Approval,
    Committed,
    DriftChecked,
    Gated,
    Noticed,
    Refused,
    TaskFailed,
)
from packshot.registry.ledger import Ledger

TOLD = "notice"
FAILED = "task_failed"
LOCK_WAIT_S = 120.0


class NoticesBusy(PackshotError):
    """Another process is sending notices."""

    exit_code = 75


def tell(settings: Settings) -> None:
    """Send what waits; whatever hinders that is said in the log and stops nothing."""
    try:
        send_waiting(settings)
    except PackshotError as error:
        say(f"notices wait: {error}")


def send_waiting(settings: Settings) -> int:
    """Send every notice that a notifier has not sent yet and that is no older than `notices.max_age_hours`.

    Returns how many were sent. One that fails waits for the next call, and its notifier is asked no more in this one.
    Raises LedgerError, NoticesBusy.
    """
    ledger = Ledger.from_environment()
    sent = 0
    busy = NoticesBusy(f"another process has been sending notices for {LOCK_WAIT_S:.0f} s ({lock_path('notices')})")
    with held("notices", LOCK_WAIT_S, busy):
        history = ledger.events()
        told = {(entry.payload.key, entry.payload.to) for entry in history if isinstance(entry, Noticed)}
        waiting = list(notices(settings.notices, history))
        for notifier in notifiers(settings.notices):
            sent += _send(ledger, notifier, [one for one in waiting if (one.key, notifier.name) not in told])
    return sent


def record_failure(dag: str, run: str, task: str, attempt: int, cause: str) -> int:
    """Write down that a task of a DAG failed for good; returns the id of the entry. Raises LedgerError."""
    payload = {"dag": dag, "run": run, "task": task, "attempt": attempt, "reason": redacted(cause)}
    return Ledger.from_environment().record(FAILED, payload=payload)


def notices(settings: NoticesSettings, history: Iterable[AnyEvent]) -> Iterator[Notice]:
    """The notices that the young entries of a ledger call for, oldest first, each key once."""
    oldest = datetime.now(UTC) - timedelta(hours=settings.max_age_hours)
    seen: set[str] = set()
    for entry in history:
        found = _notice(settings, entry) if entry.time >= oldest else None
        if found is not None and found.key not in seen:
            seen.add(found.key)
            yield found


def _send(ledger: Ledger, notifier: Notifier, waiting: Iterable[Notice]) -> int:
    sent = 0
    for notice in waiting:
        try:
            notifier.send(notice)
        except NotTaken as error:
            say(f"notice {notice.key!r} was not taken by {notifier.name}: {error}")
            continue
        except Exception as error:  # of whatever library: a failing notifier must not fail the work
            say(
                f"notice {notice.key!r} could not be sent by {notifier.name}, it waits: {type(error).__name__}: {error}"
            )
            break
        ledger.record(TOLD, payload={"key": notice.key, "to": notifier.name, "note": f"{notifier.name}: {notice.key}"})
        sent += 1
    return sent


def _notice(settings: NoticesSettings, entry: AnyEvent) -> Notice | None:
    number, model, before, after = entry.id, entry.model_name, entry.from_version, entry.to_version
    was = f"It was {f'version {before}' if before else 'none'} before."
    match entry:
        case Committed(kind="committed"):
            about = ("promoted", f"{number}", f"{model}: version {after} is the champion", was)
        case Committed(rollback=True):
            about = ("rolled_back", f"{number}", f"{model}: version {after} is the champion again", was)
        case Gated(payload=said) | Refused(payload=said) if said.outcome in ("refused", "not_enough_evidence"):
            why = said.outcome.replace("_", " ")
            about = ("refused", f"{model}/{after}/{before}", f"{model}: version {after}: {why}", said.reason or "")
        case Approval(payload=said) if said.outcome == "rejected":
            text = f"{entry.actor} rejected it. {said.reason or ''}".strip()
            about = ("rejected", f"{number}", f"{model}: version {after} is not approved", text)
        case DriftChecked(payload=said) if said.alarm:
            text = f"{said.reason}\n{said.report}"
            about = ("drift_alarm", f"{model}/{after}/{said.batch}", f"{model}: drift in batch {said.batch}", text)
        case TaskFailed(payload=said):
            task = f"{said.dag}.{said.task}"
            key = f"{said.run}/{task}/{said.attempt}"
            about = (FAILED, key, f"{task} failed", f"Run {said.run}.\n{said.reason}")
        case _:
            return None
    event, key, subject, text = about
    return Notice(
        key=f"{event}/{key}",
        event=event,
        subject=" ".join(subject.split()),
        text=text,
        at=entry.at,
        model=model,
        version=after,
        run_id=entry.run_id,
        report=_report(settings),
        airflow=entry.payload.airflow,
    )


def _report(settings: NoticesSettings) -> str | None:
    path = project_root() / "reports" / "latest" / "index.html"
    return settings.report_url or (str(path) if path.exists() else None)
