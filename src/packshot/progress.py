"""Progress of long work: a live bar on a terminal, a plain line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")
LOG_EVERY_S = 10.0


def say(message: str) -> None:
    """One line to standard error, at once; standard output stays free for results."""
    print(message, file=sys.stderr, flush=True)


def track(items: Iterable[Item], what: str, total: int | None = None, unit: str = "images") -> Iterator[Item]:
    """Yield `items` while showing count, share, rate and time left on standard error."""
    known = total if total is not None else (len(items) if isinstance(items, Sized) else None)
    if sys.stderr.isatty():
        yield from _bar(items, what, known, unit)
    else:
        yield from _lines(items, what, known, unit)


def _bar(items: Iterable[Item], what: str, total: int | None, unit: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, rate="")
        begun = time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            rate = done / max(time.monotonic() - begun, 1e-9)
            bar.update(task, advance=1, rate=f"{rate:.1f} {unit}/s")


def _lines(items: Iterable[Item], what: str, total: int | None, unit: str) -> Iterator[Item]:
    begun = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_EVERY_S:
            last = now
            rate = done / (now - begun)
            left = f", {max(total - done, 0) / rate:.0f} s left" if total else ""
            say(f"{what}: {done}{f'/{total}' if total else ''} {unit}, {rate:.1f}/s{left}")
    seconds = time.monotonic() - begun
    say(f"{what}: {done} {unit} in {seconds:.1f} s")
