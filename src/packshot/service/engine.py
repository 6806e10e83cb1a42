"""The engine of the batch, asked a few pictures at a time: what waits together is judged together.

Two threads judge, so that one decodes while the other decides. While they work questions gather; each takes as many of
them as a call may have, so that under load batches grow by themselves and alone a picture waits for nobody. Everything
a question asks is answered by one model.
"""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packshot.catalog.decoding.pool import decoders
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.exports.source import model_label
from packshot.progress import say
from packshot.scoring.contract import Verdict
from packshot.scoring.judging import Scorer
from packshot.scoring.listing import open_batch
from packshot.scoring.look import alone
from packshot.scoring.reading import read_ahead
from packshot.scoring.rows import Work, rows_of

CALLS = 2
"""Calls of the engine at a time."""
TOGETHER = 16
"""Pictures of one call at most, unless a single question has more."""


class TooBusy(PackshotError):
    """More pictures wait than may."""

    exit_code = 75


class NoModel(PackshotError):
    """No model may judge at the moment."""

    exit_code = 75


@dataclass(frozen=True)
class Sent:
    """One picture of a question: its file, what the shop calls it, and what it says of it (sku, title, ...)."""

    file: Path
    name: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """The verdict on one picture, the bytes of the repaired one where that is shown in its place, where it lies in the
    style space (None: it could not be judged), and the model that says so."""

    verdict: Verdict
    enhanced: bytes | None
    style_vector: NDArray[np.float32] | None
    model: str


@dataclass(frozen=True)
class _Job:
    sent: tuple[Sent, ...]
    done: Future[list[Answer]]


class Engine:
    """`settings` decide; `most_waiting`: pictures that may wait for the judging thread."""

    def __init__(self, settings: Settings, most_waiting: int) -> None:
        self._settings = settings
        self._most = most_waiting
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._scorer: Scorer | None = None
        self._why: str | None = "the model is being loaded"
        self._threads = [threading.Thread(target=self._work, name="judging", daemon=True) for _ in range(CALLS)]

    def start(self) -> None:
        """Begin to answer."""
        decoders().begin()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Answer what waits, and end."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout=60)

    def use(self, scorer: Scorer) -> None:
        """From the next call on this model answers; it is loaded before that."""
        _ = scorer.judge
        with self._lock:
            self._scorer, self._why = scorer, None

    def refuse(self, why: str) -> None:
        """Until `use` is called again nothing is judged, for this reason."""
        with self._lock:
            self._why = why

    @property
    def scorer(self) -> Scorer | None:
        """The model that answers; None where none may."""
        with self._lock:
            return self._scorer if self._why is None else None

    @property
    def why_not(self) -> str | None:
        """Why nothing is judged; None where it is."""
        return self._why

    @property
    def waiting(self) -> int:
        """Pictures that wait or are being judged."""
        return self._waiting

    def ask(self, sent: Sequence[Sent]) -> Future[list[Answer]]:
        """Verdicts on these pictures, in order, when they are done. Raises TooBusy, NoModel."""
        job = _Job(tuple(sent), Future())
        with self._lock:
            if self._why is not None:
                raise NoModel(self._why)
            if self._waiting and self._waiting + len(sent) > self._most:
                raise TooBusy(f"{self._waiting} pictures wait, and at most {self._most} may; ask again in a moment")
            self._waiting += len(sent)
        self._jobs.put(job)
        return job.done

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, last = self._with_others(first)
            try:
                self._answer(jobs)
            finally:
                with self._lock:
                    self._waiting -= sum(len(job.sent) for job in jobs)
            if last:
                return

    def _with_others(self, first: _Job) -> tuple[list[_Job], bool]:
        jobs = [first]
        while sum(len(job.sent) for job in jobs) < TOGETHER:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
        return jobs, False

    def _answer(self, jobs: Sequence[_Job]) -> None:
        # whoever does not wait any more is left out; from here on nobody can go
        jobs = [job for job in jobs if job.done.set_running_or_notify_cancel()]
        with self._lock:
            scorer, why = self._scorer, self._why
        try:
            if scorer is None or why is not None:
                raise NoModel(why or "no model is loaded")
            answers = iter(judged(self._settings, scorer, [each for job in jobs for each in job.sent]))
        except Exception as error:
            say(f"service: {type(error).__name__}: {error}")
            for job in jobs:
                job.done.set_exception(error)
            return
        for job in jobs:
            job.done.set_result([next(answers) for _ in job.sent])


def judged(settings: Settings, scorer: Scorer, sent: Sequence[Sent]) -> list[Answer]:
    """The verdict on each picture by the code of the batch. Nothing is recorded."""
    settings = scorer.bounds(settings.scoring).applied(settings)
    with TemporaryDirectory(prefix="packshot-service-") as scratch:
        root, out = Path(scratch).resolve() / "in", Path(scratch).resolve() / "out"
        facts: dict[str, Mapping[str, str]] = {}
        for number, each in enumerate(sent):
            place = root / f"{number:06d}" / each.file.name
            place.parent.mkdir(parents=True)
            shutil.move(each.file, place)
            facts[place.relative_to(root).as_posix()] = each.facts
        files = open_batch(root, out, None, tuple(sorted(root.glob("*/*")))).files()
        told = (replace(file, facts=dict(facts[file.path])) for file in files)
        work = Work(settings, root, out, scorer)
        rows = rows_of(work, read_ahead(told, root, work.limits))
        return [_answer(row | asdict(scorer.lineage), each, out, scorer) for row, each in zip(rows, sent, strict=True)]


def _answer(row: Mapping[str, Any], sent: Sent, out: Path, scorer: Scorer) -> Answer:
    enhanced, lineage = row.get("enhanced_path"), scorer.lineage
    content = (out / enhanced).read_bytes() if enhanced else None
    model = model_label(lineage.model_name, lineage.model_version, scorer.digest)
    return Answer(alone({**row, "path": sent.name}, kept=False), content, row.get("style_vector"), model)
