"""Progress of long work: a live bar on a terminal, a plain line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from packshot.redaction import redacted

Item = TypeVar("Item")
Advance = Callable[[int], None]
LOG_EVERY_S = 10.0


def say(message: str) -> None:
    """One line to standard error, at once, without secrets; standard output stays free for results."""
    print(redacted(message), file=sys.stderr, flush=True)


def track(items: Iterable[Item], what: str, total: int | None = None, unit: str = "images") -> Iterator[Item]:
    """Yield `items` while showing count, share, rate and time left on standard error."""
    known = total if total is not None else (len(items) if isinstance(items, Sized) else None)
    with counting(what, known, unit) as advance:
        for item in items:
            yield item
            advance(1)
            del item  # it may be large, and the next one waits for room


def counting(what: str, total: int | None, unit: str = "images") -> AbstractContextManager[Advance]:
    """Show count, share, rate and time left of work that calls what this yields with how many more it has done."""
    return _bar(what, total, unit) if sys.stderr.isatty() else _lines(what, total, unit)


@contextmanager
def _bar(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    done, begun = 0, time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, rate="")

        def advance(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(time.monotonic() - begun, 1e-9)
            bar.update(task, advance=count, rate=f"{rate:.1f} {unit}/s")

        yield advance


@contextmanager
def _lines(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    done, begun = 0, time.monotonic()
    last = begun

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= LOG_EVERY_S:
            last = now
            rate = done / (now - begun)
            left = f", {duration(max(total - done, 0) / rate)} left" if total and rate else ""
            say(f"{what}: {done}{f'/{total}' if total else ''} {unit}, {rate:.1f}/s{left}")

    yield advance
    say(f"{what}: {done} {unit} in {time.monotonic() - begun:.1f} s")


def duration(seconds: float) -> str:
    """In words: `40 s`, `12 min`, `3 h 5 min`."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
