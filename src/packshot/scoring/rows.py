"""What each file of a batch becomes: a row with scores, findings and decision, and where it helps an enhanced image."""

from __future__ import annotations

import errno
import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import BadImage, ImageLimits
from packshot.catalog.same_picture import look_of
from packshot.catalog.statistics import image_statistics
from packshot.config import Settings
from packshot.evaluation.shop_scale import JUDGED
from packshot.files import OutputNotWritable, write_bytes
from packshot.progress import say
from packshot.scoring.checks import Mending, checks_of
from packshot.scoring.contract import SCHEMA_VERSION
from packshot.scoring.decisions import Decision, Enhanced, Scores, decide, refuse, settle, with_faults
from packshot.scoring.enhancing import NOTHING_GAINS, repaired
from packshot.scoring.faults import fault_rows, outcomes_of, present, to_mend
from packshot.scoring.fidelity import colour_shift, luma_similarity, structure_kept
from packshot.scoring.judging import Scorer
from packshot.scoring.preview import preview
from packshot.scoring.reading import Opened
from packshot.scoring.rules import Finding, Picture, findings, measure, profile_in_force
from packshot.scoring.verdicts import STATISTICS
from packshot.scoring.writing import enhanced_file, kept_format, output_name

if TYPE_CHECKING:
    from packshot.bundle import Judgement

NOT_TAUGHT = "style_not_taught: the styles that are known are those of other products"
TOGETHER = 8
"""Images a call of the judge gets at most."""
PIXELS_TOGETHER = 16_000_000
"""And a single image of more pixels by itself: who holds such a one waits for nothing else."""
NO_SUCH_NAME = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
"""A name that is too long; in an object store, also one whose parent, or which itself, has objects below it."""


@dataclass(frozen=True)
class Work:
    """What every row needs. It pickles, without the loaded model, so that a shard can be scored anywhere."""

    settings: Settings
    root: Path
    out: Path
    scorer: Scorer
    names: frozenset[str] = frozenset()
    """Names that an enhanced image may not take."""

    @property
    def limits(self) -> ImageLimits:
        return ImageLimits.from_settings(self.settings.validation)


def rows_of(work: Work, opened: Iterable[Opened]) -> list[dict[str, Any]]:
    """A row for each file, in order, whatever is wrong with it. Raises OutputNotWritable."""
    rows: list[dict[str, Any]] = []
    for chunk, judged in _judged_ahead(work.scorer, chunks(opened)):
        answers = deque(judged.get(id(item)) for item in chunk)
        while chunk:  # emptied as it goes: whoever has the list holds no picture any more
            rows.append(_row(work, chunk.pop(0), answers.popleft()))
    return rows


Judged = dict[int, "Judgement | Exception"]


def _judged_ahead(scorer: Scorer, parts: Iterable[list[Opened]]) -> Iterator[tuple[list[Opened], Judged]]:
    """Each chunk with what was said of its items, by their id; a thread judges the next one meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="judge") as pool:
        before: tuple[list[Opened], Future[Judged]] | None = None
        for part in parts:
            coming = part, pool.submit(_judge_chunk, scorer, part)
            large = _pixels(part) > PIXELS_TOGETHER
            if before is not None:
                yield before[0], before[1].result()
            before = coming
            if large:
                yield before[0], before[1].result()
                before = None
        if before is not None:
            yield before[0], before[1].result()


def _judge_chunk(scorer: Scorer, chunk: Sequence[Opened]) -> Judged:
    readable = [item for item in chunk if item.pixels is not None]
    return dict(zip(map(id, readable), _judge(scorer, readable), strict=True))


def chunks(opened: Iterable[Opened]) -> Iterator[list[Opened]]:
    """What a call of the judge gets at a time."""
    chunk: list[Opened] = []
    for item in opened:
        if chunk and _pixels([*chunk, item]) > PIXELS_TOGETHER:
            yield chunk
            chunk = []
        chunk.append(item)
        del item  # the next picture waits for its room
        if len(chunk) == TOGETHER or _pixels(chunk) > PIXELS_TOGETHER:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _pixels(items: Iterable[Opened]) -> int:
    return sum(item.pixels.shape[0] * item.pixels.shape[1] for item in items if item.pixels is not None)


def _judge(scorer: Scorer, items: Sequence[Opened]) -> list[Judgement | Exception]:
    """A judgement or the reason why there is none, for each image; one bad image does not spoil the others."""
    images = [item.pixels for item in items if item.pixels is not None]
    texts = [item.file.text() for item in items]
    if not images:
        return []
    try:
        return list(scorer.judge.judge(images, texts))
    except OutputNotWritable:
        raise
    except Exception as error:
        if len(items) == 1:
            return [error]
        return [judged for item in items for judged in _judge(scorer, [item])]


def _row(work: Work, item: Opened, judged: Judgement | Exception | None) -> dict[str, Any]:
    row, broken, mending = _found(work, item, judged)
    checks = checks_of(row, work.settings.scoring, broken, mending)
    return row | {"schema_version": SCHEMA_VERSION, "checks": [check.model_dump() for check in checks]}


Found = tuple[dict[str, Any], tuple[Finding, ...], Mending]
"""The columns of a row, the rules that the picture breaks, and what enhancing came to."""


def _found(work: Work, item: Opened, judged: Judgement | Exception | None) -> Found:
    row: dict[str, Any] = {"path": item.file.path, "scored_at": datetime.now(UTC), "error": None}
    row |= {name: item.file.facts.get(name) for name in ("sku", "title", "sender", "category")}
    if item.info is None or item.pixels is None:
        return row | _refused(item.reason or "unreadable", item.detail), (), Mending()
    row |= {"image_id": item.info.image_id, "format": item.info.format}
    row |= {"width": item.info.width, "height": item.info.height, "notes": list(item.info.notes)}
    picture = Picture(item.pixels, item.info.format, item.info.bytes)
    broken, columns = _ruled(work, picture)
    look = look_of(picture.plan, min(item.pixels.shape[:2]))
    row |= columns | {"perceptual_hash": look.whole, "hashes": look.hashes, "thumbnail": look.thumbnail}
    statistics = image_statistics(item.pixels)
    row |= {name: statistics[name] for name in STATISTICS}
    row["preview"] = preview(picture.at_least(work.settings.scoring.preview_side), work.settings.scoring.preview_side)
    if judged is None or isinstance(judged, Exception):
        return row | _refused("not_judged", f"{type(judged).__name__}: {judged}"), broken, Mending()
    scores = _scores(work, judged)
    if not scores.finite:
        return row | _refused("not_judged", "the judge gave a score that is not a number"), broken, Mending()
    decided, mending = _decided(work, item, item.pixels, judged, broken)
    row |= _judged_columns(judged) | _scale_columns(work, judged)
    return row | asdict(scores) | decided, broken, mending


def _ruled(work: Work, picture: Picture) -> tuple[tuple[Finding, ...], dict[str, Any]]:
    """The catalogue rules that a picture breaks, and the columns that say so."""
    scoring = work.settings.scoring
    profile = profile_in_force(scoring)
    measures = measure(picture, profile)
    broken = findings(measures, profile, picture)
    columns = {"profile": scoring.profile, "measures": measures, "findings": [asdict(one) for one in broken]}
    return broken, columns


def _refused(reason: str, detail: str) -> dict[str, Any]:
    decision, error = refuse(reason, detail)
    return {"decision": decision.decision, "reasons": list(decision.reasons), "error": error}


def _scores(work: Work, judged: Judgement) -> Scores:
    """On the shop's scale, where one is in force."""
    said = Scores(
        quality=float(judged.quality),
        quality_low=float(judged.quality_low),
        quality_high=float(judged.quality_high),
        sharpness=float(judged.sharpness),
        colour_balance=float(judged.colour_balance),
        detail=float(judged.detail),
    )
    if work.scorer.scale is None:
        return said
    line, at = work.scorer.scale.line, np.array([said.quality])
    low, high = line.interval(at)
    return replace(said, quality=float(line.quality(at)[0]), quality_low=float(low[0]), quality_high=float(high[0]))


def _scale_columns(work: Work, judged: Judgement) -> dict[str, Any]:
    if work.scorer.scale is None:
        return {}
    return {"scale": work.scorer.scale.id} | {kept: float(getattr(judged, name)) for name, kept in JUDGED.items()}


def _judged_columns(judged: Judgement) -> dict[str, Any]:
    told = judged.style if judged.style_taught else None
    return {
        "style": told,
        "style_reason": NOT_TAUGHT if told is None and judged.style is not None else None,
        "style_confidence": float(judged.style_confidence) if told is not None else 0.0,
        "style_vector": np.asarray(judged.style_vector, dtype=np.float32),
        "embedding": np.asarray(judged.embedding, dtype=np.float32),
    }


def _decided(
    work: Work, item: Opened, pixels: NDArray[np.uint8], judged: Judgement, broken: Sequence[Finding]
) -> tuple[dict[str, Any], Mending]:
    rules, scores, faults = work.settings.scoring, _scores(work, judged), judged.faults
    there = present(faults, rules)
    first = decide(scores, rules, broken, faults)
    if first.decision != "enhance":
        return _told(first) | {"faults": fault_rows(faults, there, {})}, Mending()
    attempt = _attempt(work, item, pixels, scores, to_mend(faults, there, broken))
    made = attempt.enhanced if isinstance(attempt, Attempt) else attempt
    decision = settle(first, scores, made, rules, broken, there)
    columns: dict[str, Any] = {}
    if isinstance(attempt, Attempt) and np.isfinite(attempt.enhanced.scores.quality):
        columns["quality_after"] = attempt.enhanced.scores.quality
    if decision.decision == "enhance" and isinstance(attempt, Attempt):
        columns["enhanced_path"] = _keep(work, item, attempt)
        if columns["enhanced_path"] is None:
            decision, columns["quality_after"] = settle(first, scores, None, rules), None
        else:
            columns["enhanced_id"] = hashlib.sha256(attempt.content).hexdigest()
    after = attempt.enhanced if isinstance(attempt, Attempt) else None
    kept = decision.decision == "enhance"
    outcomes = outcomes_of(there, after.faults if after is not None else None, rules, kept)
    columns |= _told(with_faults(decision, scores, there, outcomes, rules))
    return columns | {"faults": fault_rows(faults, there, outcomes)}, Mending(True, after)


def _told(decision: Decision) -> dict[str, Any]:
    return {"decision": decision.decision, "reasons": list(decision.reasons)}


@dataclass(frozen=True)
class Attempt:
    """An enhanced image as the file that would be kept, under a name below the output folder, and what that did."""

    name: str
    content: bytes
    enhanced: Enhanced


def _attempt(
    work: Work, item: Opened, pixels: NDArray[np.uint8], scores: Scores, faults: Collection[str] | None
) -> Attempt | str | None:
    """The catalogue rules are asked of the file itself, as a buyer gets it. A text says why there is nothing to keep;
    None: the enhancer failed."""
    if item.info is None:
        return None
    path, source, text = item.file.path, item.info, item.file.text()

    def balance(made: NDArray[np.uint8]) -> float:
        return float(_judged_again(work, made, text).colour_balance)

    try:
        rules, judge = work.settings.scoring, work.scorer.judge
        found = repaired(judge, pixels, rules, faults, lambda made: balance(made) - scores.colour_balance)
        if found is None:
            return NOTHING_GAINS
        image, after = found.image, _judged_again(work, found.image, text)
        alike = luma_similarity if found.gain is None else structure_kept
        similarity, shift = alike(pixels, image), colour_shift(pixels, image)
        quality = work.settings.scoring.jpeg_quality
        content = enhanced_file(image, item.file.location, source.image_id, source.format, work.limits, quality)
        gain = found.gain
        del image, found
        written = Picture(decode(content, work.limits), kept_format(source.format), len(content))
        broken, _ = _ruled(work, written)
    except BadImage as error:
        return error.detail
    except Exception as error:
        say(f"{path} could not be enhanced: {type(error).__name__}: {error}")
        return None
    name = f"enhanced/{output_name(path, source.format, work.names)}"
    return Attempt(name, content, Enhanced(_scores(work, after), similarity, shift, broken, gain, after.faults))


def _judged_again(work: Work, image: NDArray[np.uint8], text: str | None) -> Judgement:
    return work.scorer.judge.judge([image], [text])[0]


def _keep(work: Work, item: Opened, attempt: Attempt) -> str | None:
    """Write the enhanced image; None where its name forbids it. Raises on a full disk."""
    try:
        write_bytes(work.out / attempt.name, attempt.content)
    except OutputNotWritable as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_SUCH_NAME:
            say(f"{item.file.path}: the enhanced image cannot have this name: {error.__cause__.strerror}")
            return None
        raise
    return attempt.name
