"""When drift becomes an alarm, and the history of checked windows that the rule looks back on."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from packshot.config import DriftSettings
from packshot.files import OutputNotWritable, write_text


@dataclass(frozen=True)
class Window:
    """One checked batch, or one check of labels. `p_value` is None where there was too little to test, and for labels.

    `answered_at`: when the alarm started a training.
    """

    batch_id: str
    p_value: float | None
    alarm: bool
    checked_at: str
    answered_at: str | None = None


@dataclass(frozen=True)
class Alarm:
    """The outcome of the rule: `beyond` of the last `looked_at` windows are beyond `alpha`, this one included."""

    alarm: bool
    reason: str
    beyond: int
    looked_at: int
    in_cooldown: bool
    cooldown_until: str | None


def judge_windows(p_value: float | None, before: Sequence[Window], rules: DriftSettings, now: datetime) -> Alarm:
    """Alarm when this window is beyond `strict_alpha`, or beyond `alpha` as `needed` of the last `windows` are.

    `before` are the earlier windows, oldest first; those too small to test do not count. Within `cooldown_hours`
    of an earlier alarm that started a training the alarm stands, and `in_cooldown` tells whoever would retrain.
    """
    until = cooldown_until(before, rules, now)
    tested = [window.p_value for window in before if window.p_value is not None]
    recent = tested[-(rules.windows - 1) :] if rules.windows > 1 else []
    values = [*recent, p_value]
    beyond = sum(1 for value in values if value is not None and value <= rules.alpha)
    common = {"beyond": beyond, "looked_at": len(values), "cooldown_until": until.isoformat() if until else None}
    alarm, reason = _rule(p_value, beyond, len(values), rules)
    return Alarm(alarm=alarm, reason=reason, in_cooldown=bool(until and now < until), **common)  # type: ignore[arg-type]


def _rule(p_value: float | None, beyond: int, looked_at: int, rules: DriftSettings) -> tuple[bool, str]:
    if p_value is None:
        return False, "not tested"
    if p_value <= rules.strict_alpha:
        return True, f"p = {p_value:.4f} is beyond the strict level {rules.strict_alpha:g}"
    if p_value > rules.alpha:
        return False, f"p = {p_value:.3f} is within the level {rules.alpha:g}"
    seen = f"{beyond} of the last {looked_at} windows are beyond {rules.alpha:g}; {rules.needed} are needed"
    return beyond >= rules.needed, f"p = {p_value:.4f}; {seen}"


def cooldown_until(windows: Sequence[Window], rules: DriftSettings, now: datetime) -> datetime | None:
    """When an alarm may start a training again; None: now.

    A training that was started later than now was written down by a clock that has been set back since: nobody knows
    how long ago it was, so it is not waited for.
    """
    started = [datetime.fromisoformat(window.answered_at) for window in windows if window.answered_at]
    ends = [time + timedelta(hours=rules.cooldown_hours) for time in started if time <= now]
    return max((end for end in ends if end > now), default=None)


class History:
    """The windows of one model version, as JSON lines; a batch stands in it once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def windows(self) -> list[Window]:
        """All windows, oldest first; a damaged line is passed over."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                window = Window(**json.loads(line))
                times = [datetime.fromisoformat(at) for at in (window.checked_at, window.answered_at) if at]
                if all(time.tzinfo is not None for time in times):
                    found.append(window)
            except (ValueError, TypeError):
                continue
        return found

    @contextmanager
    def update(self) -> Iterator[None]:
        """Hold the history for this process while it is read and written."""
        lock = self.path.with_suffix(".lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OutputNotWritable(self.path, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def before(self, batch_id: str) -> list[Window]:
        """The windows that were checked before this batch was, all of them where it is new."""
        windows = self.windows()
        known = [window.batch_id for window in windows]
        return windows[: known.index(batch_id)] if batch_id in known else windows

    def put(self, window: Window) -> Window:
        """Append a window, or bring the one of the same batch up to date, keeping its place and time."""
        windows = self.windows()
        known = [entry.batch_id for entry in windows]
        if window.batch_id in known:
            place = known.index(window.batch_id)
            window = replace(window, checked_at=windows[place].checked_at, answered_at=windows[place].answered_at)
            windows[place] = window
        else:
            windows.append(window)
        self._write(windows)
        return window

    def answer(self, batch_ids: Collection[str], now: datetime) -> None:
        """Note that the alarms of these windows start a training now."""
        at = now.isoformat(timespec="seconds")
        self._write([replace(w, answered_at=at) if w.batch_id in batch_ids else w for w in self.windows()])

    def _write(self, windows: Iterable[Window]) -> None:
        write_text(self.path, "".join(json.dumps(asdict(window)) + "\n" for window in windows))


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)
