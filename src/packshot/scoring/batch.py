"""`packshot score`: every file below a folder becomes exactly one row of `OUT/verdicts.parquet`."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from packshot.catalog.image import BadImage, ImageLimits
from packshot.catalog.statistics import image_statistics
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.evaluation.thresholds import in_force
from packshot.files import OutputNotWritable
from packshot.progress import Advance, counting, say
from packshot.scoring.decisions import Decision, Enhanced, Scores, changes_colours, decide, refuse, settle
from packshot.scoring.fidelity import colour_shift, luma_similarity, with_colours_of
from packshot.scoring.listing import BatchSource, open_batch
from packshot.scoring.merging import VERDICTS, is_merged, merge
from packshot.scoring.plan import Plan, make_plan, open_plan
from packshot.scoring.preview import preview
from packshot.scoring.reading import Opened, read_ahead
from packshot.scoring.rules import Finding, Picture, findings, measure, profile_in_force
from packshot.scoring.rules.copies import perceptual_hash, thumbnail
from packshot.scoring.scorer import Scorer, open_scorer
from packshot.scoring.shards import Shard, ShardBusy, check_same_model, claimed, one_of_writers, sole_writer
from packshot.scoring.verdicts import STATISTICS, tally, write_shard
from packshot.scoring.writing import check_output_apart, output_name, write_enhanced

if TYPE_CHECKING:
    from packshot.bundle import Judgement

TOGETHER = 8
"""Images a call of the judge gets at most."""
NO_SUCH_NAME = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
"""A name that is too long; in an object store, also one whose parent, or which itself, has objects below it."""
LOOK_AGAIN_S = 1.0
"""Between looks at shards that other processes are at."""


class JudgeFailed(PackshotError):
    """The model fails on every image it is given: not the images' fault."""


@dataclass(frozen=True)
class ScoreReport:
    """What a scoring run did. `decisions` counts rows by decision, `errors` rows that could not be judged; `verdicts`
    is an address where they lie in an object store."""

    rows: int
    batch_id: str
    model: str
    decisions: Mapping[str, int]
    errors: int
    shards: int
    shards_found: int
    verdicts: Path | str
    done_before: bool

    def as_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self) | {"decisions": dict(self.decisions), "verdicts": str(self.verdicts)}


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


def score(
    settings: Settings,
    directory: Path,
    out: Path,
    *,
    model: str = "champion",
    batch_id: str | None = None,
    catalog: Path | None = None,
    scorer: Scorer | None = None,
    known: Path | None = None,
) -> ScoreReport:
    """Judge every file below `directory` into `out/verdicts.parquet` and `out/enhanced/`.

    The same `out` again goes on where a killed run stopped, and does nothing where all is done. A file
    that cannot be judged is a row with `error`. `batch_id` defaults to a hash of the batch's content,
    `catalog` to `directory/catalog.csv` where there is one; `scorer` is loaded from `model` if not given. The
    thresholds are those of `evaluation.thresholds.in_force` and stand in the manifest. `known` is the index of pictures
    in which copies of earlier batches are found; None looks in this batch alone.
    Raises EmptyBatch, BatchFolderMissing, CatalogUnreadable, OtherModel, OutputBusy, OutputNotWritable, JudgeFailed,
    UnknownRule, DuplicatesUnusable.
    """
    check_output_apart(directory, out)
    source = open_batch(directory, out, catalog)
    scorer = scorer if scorer is not None else open_scorer(settings, model)
    bounds = in_force(settings.scoring, scorer.rated)
    settings = bounds.applied(settings)
    with sole_writer(out):
        plan = cut(settings, source, out, scorer)
        waiting, _ = plan.waiting(range(plan.shards))
        found = plan.shards - len(waiting)
        merged = not waiting and is_merged(plan, batch_id)
        if merged:
            say(f"{out} is finished: {plan.files} rows by {scorer.lineage.label()}; nothing to do")
        else:
            if found:
                say(f"{found} of {plan.shards} shards are finished already; going on")
            say(f"decisions: {bounds}")
            _score_shards(Work(settings, plan.root, out, scorer), plan, range(plan.shards))
            merge(plan, settings, scorer, batch_id, bounds, known)
    return report(plan, scorer, found, merged)


def plan_batch(settings: Settings, directory: Path, out: Path, scorer: Scorer, *, catalog: Path | None = None) -> Plan:
    """The first step of `score`: cut the batch into shards. Raises what `score` raises but JudgeFailed."""
    check_output_apart(directory, out)
    source = open_batch(directory, out, catalog)
    settings = in_force(settings.scoring, scorer.rated).applied(settings)
    with sole_writer(out):
        return cut(settings, source, out, scorer)


def score_part(settings: Settings, out: Path, scorer: Scorer, numbers: range) -> int:
    """The second step: score these shards of the plan, beside any others who do. Returns how many files they hold.

    Finished shards stay as they are; one that another process is at is waited for. Raises NotPlanned, OutputBusy,
    OutputNotWritable, JudgeFailed.
    """
    settings = in_force(settings.scoring, scorer.rated).applied(settings)
    with one_of_writers(out):
        plan = open_plan(settings, out, scorer)
        return _score_shards(Work(settings, plan.root, out, scorer), plan, numbers)


def merge_batch(
    settings: Settings, out: Path, scorer: Scorer, *, batch_id: str | None = None, known: Path | None = None
) -> ScoreReport:
    """The last step: make the finished shards one verdict file; `known` as in `score`. Raises NotPlanned,
    ShardsMissing, OutputBusy, OutputNotWritable, DuplicatesUnusable."""
    bounds = in_force(settings.scoring, scorer.rated)
    settings = bounds.applied(settings)
    with sole_writer(out):
        plan = open_plan(settings, out, scorer)
        merged = is_merged(plan, batch_id)
        if not merged:
            merge(plan, settings, scorer, batch_id, bounds, known)
    return report(plan, scorer, plan.shards, merged)


def cut(settings: Settings, source: BatchSource, out: Path, scorer: Scorer) -> Plan:
    """Plan a batch, unless its rules or what `out` holds forbid it. Call it as the sole writer."""
    profile_in_force(settings.scoring)  # one that names unknown rules ends the run before anything is judged
    check_same_model(out, scorer)
    return make_plan(settings, source, out, scorer)


def _score_shards(work: Work, plan: Plan, numbers: range) -> int:
    waiting, files = plan.waiting(numbers)
    if not waiting:
        return 0
    with _engine(work, plan) as score_some, counting("scoring", files) as advance:
        while waiting:
            busy = score_some(waiting, advance)
            if len(busy) == len(waiting):
                time.sleep(LOOK_AGAIN_S)
            waiting = busy
    return files


def _engine(work: Work, plan: Plan) -> AbstractContextManager[Callable[[Sequence[int], Advance], list[int]]]:
    """Scores shards by their numbers, and returns those that another process is at."""
    if work.settings.scoring.engine == "ray":
        from packshot.scoring.ray_engine import on_cluster

        return on_cluster(work)
    _ = work.scorer.judge  # a model that does not load ends the run, not each image
    return nullcontext(partial(_score_here, work, plan))


def _score_here(work: Work, plan: Plan, numbers: Sequence[int], advance: Advance) -> list[int]:
    return [number for number in numbers if not _scored(work, plan.shard(number), advance)]


def _scored(work: Work, shard: Shard, advance: Advance) -> bool:
    """Score a shard; False where another process is at it."""
    try:
        done = score_shard(work, shard, advance)
    except ShardBusy:
        return False
    advance(len(shard.files) - done)
    return True


def score_shard(work: Work, shard: Shard, advance: Advance = lambda count: None) -> int:
    """Judge the files of one shard and write their rows, unless they are there. Returns how many files it judged.

    Enhanced images are written before the rows, so that no row is without its image; `advance` is told of each file.
    Raises ShardBusy where another process is at it, JudgeFailed, OutputNotWritable.
    """
    with claimed(shard):
        if shard.finished:
            return 0
        opened = read_ahead(shard.files, work.root, work.limits)
        rows = _rows(replace(work, names=shard.taken), _told(opened, advance))
        _fail_if_none_was_judged(rows)
        write_shard(shard.target, rows)
        return len(rows)


def _told(opened: Iterable[Opened], advance: Advance) -> Iterator[Opened]:
    for item in opened:
        yield item
        advance(1)


def _fail_if_none_was_judged(rows: Sequence[dict[str, Any]]) -> None:
    tried = [row for row in rows if row.get("image_id") is not None]
    failed = [row["error"] for row in tried if str(row.get("error")).startswith("not_judged")]
    if len(failed) > 1 and len(failed) == len(tried):
        raise JudgeFailed(f"the model fails on all {len(failed)} images of a shard; the first: {failed[0]}")


def _rows(work: Work, opened: Iterable[Opened]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for chunk, judged in _judged_ahead(work.scorer, chunks(opened)):
        rows.extend(_row(work, item, judged.get(id(item))) for item in chunk)
    return rows


Judged = dict[int, "Judgement | Exception"]


def _judged_ahead(scorer: Scorer, parts: Iterable[list[Opened]]) -> Iterator[tuple[list[Opened], Judged]]:
    """Each chunk with what was said of its items, by their id; a thread judges the next one meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="judge") as pool:
        before: tuple[list[Opened], Future[Judged]] | None = None
        for part in parts:
            coming = part, pool.submit(_judge_chunk, scorer, part)
            if before is not None:
                yield before[0], before[1].result()
            before = coming
        if before is not None:
            yield before[0], before[1].result()


def _judge_chunk(scorer: Scorer, chunk: Sequence[Opened]) -> Judged:
    readable = [item for item in chunk if item.pixels is not None]
    return dict(zip(map(id, readable), _judge(scorer, readable), strict=True))


def chunks(opened: Iterable[Opened]) -> Iterator[list[Opened]]:
    """What a call of the judge gets at a time."""
    iterator = iter(opened)
    while chunk := list(islice(iterator, TOGETHER)):
        yield chunk


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
    row: dict[str, Any] = {"path": item.file.path, "scored_at": datetime.now(UTC)}
    row |= {name: item.file.facts.get(name) for name in ("sku", "title", "sender", "category")}
    if item.info is None or item.pixels is None:
        return row | _refused(item.reason or "unreadable", item.detail)
    row |= {"image_id": item.info.image_id, "format": item.info.format}
    row |= {"width": item.info.width, "height": item.info.height}
    picture = Picture(item.pixels, item.info.format, item.info.bytes)
    broken, columns = _ruled(work, picture)
    row |= columns | {"perceptual_hash": perceptual_hash(picture), "thumbnail": thumbnail(picture)}
    statistics = image_statistics(item.pixels)
    row |= {name: statistics[name] for name in STATISTICS}
    row["preview"] = preview(item.pixels, work.settings.scoring.preview_side)
    if judged is None or isinstance(judged, Exception):
        return row | _refused("not_judged", f"{type(judged).__name__}: {judged}")
    scores = _scores(judged)
    if not scores.finite:
        return row | _refused("not_judged", "the judge gave a score that is not a number")
    return row | _judged_columns(judged) | asdict(scores) | _decided(work, item, item.pixels, scores, broken)


def _ruled(work: Work, picture: Picture) -> tuple[tuple[Finding, ...], dict[str, Any]]:
    """The catalogue rules that a picture breaks, and the columns that say so."""
    scoring = work.settings.scoring
    profile = profile_in_force(scoring)
    measures = measure(picture, profile)
    broken = findings(measures, profile)
    columns = {"profile": scoring.profile, "measures": measures, "findings": [asdict(one) for one in broken]}
    return broken, columns


def _refused(reason: str, detail: str) -> dict[str, Any]:
    decision, error = refuse(reason, detail)
    return {"decision": decision.decision, "reasons": list(decision.reasons), "error": error}


def _scores(judged: Judgement) -> Scores:
    return Scores(
        quality=float(judged.quality),
        quality_low=float(judged.quality_low),
        quality_high=float(judged.quality_high),
        sharpness=float(judged.sharpness),
        colour_balance=float(judged.colour_balance),
        detail=float(judged.detail),
    )


def _judged_columns(judged: Judgement) -> dict[str, Any]:
    return {
        "style": judged.style,
        "style_confidence": float(judged.style_confidence),
        "style_vector": np.asarray(judged.style_vector, dtype=np.float32),
        "embedding": np.asarray(judged.embedding, dtype=np.float32),
    }


def _decided(
    work: Work, item: Opened, pixels: NDArray[np.uint8], scores: Scores, broken: Sequence[Finding]
) -> dict[str, Any]:
    first = decide(scores, work.settings.scoring, broken)
    if first.decision != "enhance":
        return {"decision": first.decision, "reasons": list(first.reasons)}
    image, enhanced = _enhance(work, pixels, item.file.text(), scores)
    decision = settle(first, scores, enhanced, work.settings.scoring, broken)
    columns: dict[str, Any] = {"decision": decision.decision, "reasons": list(decision.reasons)}
    if enhanced is not None and np.isfinite(enhanced.scores.quality):
        columns["quality_after"] = enhanced.scores.quality
    if decision.decision == "enhance" and image is not None:
        columns["enhanced_path"] = _keep(work, item, image)
        if columns["enhanced_path"] is None:
            columns |= _without_file(settle(first, scores, None, work.settings.scoring))
    return columns


def _without_file(decision: Decision) -> dict[str, Any]:
    return {"decision": decision.decision, "reasons": list(decision.reasons), "quality_after": None}


def _enhance(
    work: Work, pixels: NDArray[np.uint8], text: str | None, scores: Scores
) -> tuple[NDArray[np.uint8] | None, Enhanced | None]:
    """The enhanced image and what that did; with the colours of the input where its own would move too far."""
    try:
        image = work.scorer.judge.enhance(pixels)
        enhanced = _compared(work, pixels, image, text)
        if changes_colours(scores, enhanced, work.settings.scoring):
            image = with_colours_of(pixels, image)
            enhanced = _compared(work, pixels, image, text)
        return image, enhanced
    except Exception as error:
        say(f"an image could not be enhanced: {type(error).__name__}: {error}")
        return None, None


def _compared(work: Work, pixels: NDArray[np.uint8], image: NDArray[np.uint8], text: str | None) -> Enhanced:
    after = _scores(work.scorer.judge.judge([image], [text])[0])
    broken, _ = _ruled(work, Picture(image))
    return Enhanced(after, luma_similarity(pixels, image), colour_shift(pixels, image), broken)


def _keep(work: Work, item: Opened, image: NDArray[np.uint8]) -> str | None:
    """Write the enhanced image; None where its name or its source forbids it. Raises on a full disk."""
    if item.info is None:
        return None
    name = output_name(item.file.path, item.info.format, work.names)
    target = work.out / "enhanced" / name
    quality = work.settings.scoring.jpeg_quality
    try:
        write_enhanced(image, item.file.location, target, item.info.format, work.limits, quality)
    except BadImage as error:
        say(f"{item.file.path} changed while it was scored: {error}")
        return None
    except OutputNotWritable as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_SUCH_NAME:
            say(f"{item.file.path}: the enhanced image cannot have this name: {error.__cause__.strerror}")
            return None
        raise
    return f"enhanced/{name}"


def report(plan: Plan, scorer: Scorer, found: int, done_before: bool) -> ScoreReport:
    """What stands in the verdicts of a merged plan."""
    path = plan.out / VERDICTS
    counted = tally(path)
    return ScoreReport(
        rows=counted.rows,
        batch_id=counted.batch_id or "",
        model=scorer.lineage.label(),
        decisions=counted.decisions,
        errors=counted.errors,
        shards=plan.shards,
        shards_found=found,
        verdicts=path,
        done_before=done_before,
    )
