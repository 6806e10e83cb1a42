"""`packshot enhance`: every image below a folder, enhanced, with the names and formats it came with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from packshot.catalog.decoding.attempts import Attempts
from packshot.catalog.image import ImageInfo, ImageLimits, Pixels
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import OutputNotWritable, write_bytes
from packshot.progress import say, track
from packshot.scoring.enhancing import repaired
from packshot.scoring.judging import Scorer
from packshot.scoring.listing import BatchFile, list_batch
from packshot.scoring.reading import Opened, read_ahead
from packshot.scoring.scorer import open_scorer
from packshot.scoring.shards import FOLDER, check_same_model, read_manifest, sole_writer, work_id, write_manifest
from packshot.scoring.writing import KEPT_FORMATS, OutputIsInput, enhanced_file, output_name
from packshot.spreadsheet import write_csv

ANIMATED = "animated:"


class NothingEnhanced(PackshotError):
    """Not one file of the folder could be enhanced."""


@dataclass(frozen=True)
class EnhanceReport:
    """`enhanced` images written in all, `found` of them by an earlier run; `errors` files that could not be."""

    files: int
    enhanced: int
    found: int
    errors: int
    as_png: int
    out: Path

    def as_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self) | {"out": str(self.out)}


@dataclass(frozen=True)
class _Outcome:
    path: str
    name: str | None
    error: str | None
    still: bool = False
    """Of an animation, one frame was written."""


def enhance_folder(
    settings: Settings, directory: Path, out: Path, model: str = "champion", *, scorer: Scorer | None = None
) -> EnhanceReport:
    """Enhance every image below `directory` into `out`, without asking whether it is good enough.

    Where the model knows what repairs gain, an image that none is sure to bring nearer to the true one stays as it is.
    JPEG, PNG and WebP keep name and format, other formats become PNG. Files that cannot be enhanced stand
    in `out/errors.csv` (path, error). The same `out` again goes on where a killed run stopped.
    Raises NothingEnhanced when no file could be, EmptyBatch, BatchFolderMissing, OutputNotWritable.
    """
    if directory.resolve() == out.resolve() or directory.resolve().is_relative_to(out.resolve()):
        raise OutputIsInput(f"{out} is or holds the folder of the images; choose another output folder")
    files = list_batch(directory, out, None, settings.catalog)
    scorer = scorer if scorer is not None else open_scorer(settings, model)
    with sole_writer(out):
        check_same_model(out, scorer)
        if not read_manifest(out):
            write_manifest(out, scorer)
        journal = _Journal(out, work_id(settings, scorer))
        attempts = Attempts(out / FOLDER / "decoding.attempts")
        waiting = [file for file in files if not journal.has(file)]
        if not waiting:
            say(f"{out} is finished: {len(files)} images; nothing to do")
        else:
            _ = scorer.judge  # a model that does not load ends the run, not each image
        work = _Enhancing(settings, directory.resolve(), out, scorer, frozenset(file.path for file in files))
        opened = read_ahead(waiting, work.root, work.limits, attempts)
        outcomes = list(map(partial(work.run, journal), track(opened, "enhancing", total=len(waiting))))
        attempts.rest()
        _write_errors(out / "errors.csv", outcomes)
    return _report(files, outcomes, out)


def _report(files: Sequence[BatchFile], outcomes: Sequence[_Outcome], out: Path) -> EnhanceReport:
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if len(failed) == len(files):
        raise NothingEnhanced(f"none of the {len(files)} files could be enhanced; the first: {failed[0].error}")
    as_png = sum(1 for outcome in outcomes if outcome.name is not None and outcome.name != outcome.path)
    if as_png:
        say(f"{as_png} image(s) in other formats than {', '.join(KEPT_FORMATS)} were written as PNG")
    stills = [outcome.path for outcome in outcomes if outcome.still]
    if stills:
        say(f"{len(stills)} animated file(s) were written as their first frame; the first: {stills[0]}")
    if failed:
        say(f"{len(failed)} file(s) could not be enhanced; see {out / 'errors.csv'}")
    return EnhanceReport(
        files=len(files),
        enhanced=len(files) - len(failed),
        found=len(files) - len(outcomes),
        errors=len(failed),
        as_png=as_png,
        out=out,
    )


@dataclass(frozen=True)
class _Enhancing:
    settings: Settings
    root: Path
    out: Path
    scorer: Scorer
    names: frozenset[str]

    @property
    def limits(self) -> ImageLimits:
        return ImageLimits.from_settings(self.settings.validation)

    def run(self, journal: _Journal, item: Opened) -> _Outcome:
        path = item.file.path
        if item.info is None or item.pixels is None:
            return _Outcome(path, None, f"{item.reason}: {item.detail}")
        name = output_name(path, item.info.format, self.names)
        try:
            write_bytes(self.out / name, self._content(item.info, item.file.location, item.pixels, item.file.text()))
        except OutputNotWritable:
            raise
        except Exception as error:
            return _Outcome(path, None, f"not_enhanced: {type(error).__name__}: {error}")
        journal.add(item.file, name)
        return _Outcome(path, name, None, any(note.startswith(ANIMATED) for note in item.info.notes))

    def _content(self, info: ImageInfo, source: Path, pixels: Pixels, text: str | None) -> bytes:
        judge, rules = self.scorer.judge, self.settings.scoring

        def balance_gained(image: Pixels) -> float:
            before, after = (judge.judge([one], [text])[0].colour_balance for one in (pixels, image))
            return float(after - before)

        found = repaired(judge, pixels, rules, None, balance_gained)
        own = found.image if found is not None else pixels
        return enhanced_file(own, source, info.image_id, info.format, self.limits, rules.jpeg_quality)


class _Journal:
    """Which files are finished: a line for each, appended after its image is in place."""

    def __init__(self, out: Path, work: str) -> None:
        self._out = out
        self._path = out / FOLDER / "enhanced.jsonl"
        self._work = work
        self._done = dict(self._read())

    def has(self, file: BatchFile) -> bool:
        """Whether the file, as it is now, was enhanced by this work and its image is still there."""
        name = self._done.get(self._key(file))
        return name is not None and (self._out / name).is_file()

    def add(self, file: BatchFile, name: str) -> None:
        line = json.dumps({"key": self._key(file), "name": name})
        try:
            with self._path.open("a", encoding="utf-8") as handle:
                handle.write(f"{line}\n")
        except OSError as error:
            raise OutputNotWritable(self._path, error) from error

    def _key(self, file: BatchFile) -> str:
        payload = json.dumps([self._work, file.path, file.stamp])
        return hashlib.sha256(payload.encode()).hexdigest()

    def _read(self) -> list[tuple[str, str]]:
        if not self._path.exists():
            return []
        found = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                found.append((str(entry["key"]), str(entry["name"])))
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a killed run
        return found


def _write_errors(target: Path, outcomes: Sequence[_Outcome]) -> None:
    failed = [{"path": outcome.path, "error": outcome.error} for outcome in outcomes if outcome.error is not None]
    write_csv(target, ("path", "error"), failed)
