"""`packshot score`: every file below a folder becomes exactly one row of `OUT/verdicts.parquet`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packshot.catalog.decoding.attempts import Attempts
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.progress import Advance, counting, say
from packshot.scoring.duplicates import NOT_KNOWN, Known
from packshot.scoring.judging import Scorer
from packshot.scoring.listing import BatchSource, open_batch
from packshot.scoring.merging import check_same_batch, is_merged, merge
from packshot.scoring.plan import Plan, make_plan, open_plan
from packshot.scoring.reading import Opened, read_ahead
from packshot.scoring.rows import Work, rows_of
from packshot.scoring.rules import profile_in_force
from packshot.scoring.scorer import open_scorer
from packshot.scoring.shards import Shard, ShardBusy, check_same_model, claimed, one_of_writers, sole_writer
from packshot.scoring.verdicts import VERDICTS, tally, write_shard
from packshot.scoring.writing import check_output_apart

if TYPE_CHECKING:
    pass

UNREADABLE = "missing_file"
FEW_UNREADABLE = 7
"""Files of a shard that may go away, whatever their share, unless they are all."""
LOOK_AGAIN_S = 1.0
"""Between looks at shards that other processes are at."""


class JudgeFailed(PackshotError):
    """The model fails on every image it is given: not the images' fault."""


class FilesUnreadable(PackshotError):
    """Many files of a batch cannot be read: a disk or share that fails, and no fault of the pictures."""

    exit_code = 74


@dataclass(frozen=True)
class ScoreReport:
    """What a scoring run did. `judged` counts the files that it judged itself, and not found judged already;
    `decisions` rows by decision, `errors` rows that could not be judged; `verdicts` is an address where they lie in an
    object store."""

    rows: int
    judged: int
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


def score(
    settings: Settings,
    directory: Path,
    out: Path,
    *,
    model: str = "champion",
    batch_id: str | None = None,
    catalog: Path | None = None,
    scorer: Scorer | None = None,
    known: Known = NOT_KNOWN,
    drop_gone: bool = False,
    pictures: tuple[Path, ...] = (),
) -> ScoreReport:
    """Judge every file below `directory`, or of these only `pictures`, into `out/verdicts.parquet`, `out/enhanced/`.

    The same `out` again goes on where a killed run stopped, and does nothing where all is done; with more files it
    judges those alone, and a file whose content has changed anew. What would lose verdicts is refused; `drop_gone`
    lets go of those of files that are no longer there. A file that cannot be judged is a row with `error`. `batch_id`
    defaults to a hash of the content at the first time, which stays the name of the batch; `catalog` to
    `directory/catalog.csv` where there is one; `scorer` is loaded from `model` if not given. The
    thresholds are those of `Scorer.bounds` and stand in the manifest. `known` is the index of pictures
    in which copies of other batches are found, by default none.
    Raises EmptyBatch, BatchFolderMissing, CatalogUnreadable, OtherModel, OutputHolds, OutputBusy, OutputNotWritable,
    JudgeFailed, UnknownRule, DuplicatesUnusable.
    """
    check_output_apart(directory, out)
    source = open_batch(directory, out, catalog, pictures)
    scorer = scorer if scorer is not None else open_scorer(settings, model)
    bounds = scorer.bounds(settings.scoring)
    settings = bounds.applied(settings)
    with sole_writer(out):
        check_same_batch(out, batch_id, str(out))
        plan = cut(settings, source, out, scorer, str(out), drop_gone=drop_gone)
        waiting, files = plan.waiting(range(plan.shards))
        found = plan.shards - len(waiting)
        merged = not waiting and is_merged(plan, known)
        if merged:
            say(f"{out} is finished: {plan.files} rows by {scorer.lineage.label()}; nothing to do")
        else:
            if plan.files > files:
                say(f"{plan.files - files} of {plan.files} files are judged already; going on")
            say(f"decisions: {bounds}")
            _score_shards(Work(settings, plan.root, out, scorer), plan, range(plan.shards))
            merge(plan, settings, scorer, batch_id, bounds, known)
    return report(plan, scorer, found, files, merged)


def plan_batch(settings: Settings, directory: Path, out: Path, scorer: Scorer, *, catalog: Path | None = None) -> Plan:
    """The first step of `score`: cut the batch into shards. Raises what `score` raises but JudgeFailed."""
    check_output_apart(directory, out)
    source = open_batch(directory, out, catalog)
    settings = scorer.bounds(settings.scoring).applied(settings)
    with sole_writer(out):
        return cut(settings, source, out, scorer, str(out))


def score_part(settings: Settings, out: Path, scorer: Scorer, numbers: range) -> int:
    """The second step: score these shards of the plan, beside any others who do. Returns how many files of them were
    still to be judged.

    Finished shards stay as they are; one that another process is at is waited for. Raises NotPlanned, OutputBusy,
    OutputNotWritable, JudgeFailed.
    """
    settings = scorer.bounds(settings.scoring).applied(settings)
    with one_of_writers(out):
        plan = open_plan(settings, out, scorer)
        return _score_shards(Work(settings, plan.root, out, scorer), plan, numbers)


def merge_batch(
    settings: Settings, out: Path, scorer: Scorer, *, batch_id: str | None = None, known: Known = NOT_KNOWN
) -> ScoreReport:
    """The last step: make the finished shards one verdict file; `known` as in `score`. Raises NotPlanned,
    ShardsMissing, OutputHolds, OutputBusy, OutputNotWritable, DuplicatesUnusable."""
    bounds = scorer.bounds(settings.scoring)
    settings = bounds.applied(settings)
    with sole_writer(out):
        check_same_batch(out, batch_id, str(out))
        plan = open_plan(settings, out, scorer)
        merged = is_merged(plan, known)
        if not merged:
            merge(plan, settings, scorer, batch_id, bounds, known)
    return report(plan, scorer, plan.shards, 0, merged)


def cut(
    settings: Settings, source: BatchSource, out: Path, scorer: Scorer, named: str, *, drop_gone: bool = False
) -> Plan:
    """Plan a batch, unless its rules or what `out`, which the user calls `named`, holds forbid it. Call it as the sole
    writer."""
    profile_in_force(settings.scoring)  # one that names unknown rules ends the run before anything is judged
    check_same_model(out, scorer, named)
    return make_plan(settings, source, out, scorer, named=named, drop_gone=drop_gone)


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
    advance(len(shard.waiting) - done)
    return True


def score_shard(work: Work, shard: Shard, advance: Advance = lambda count: None) -> int:
    """Judge the files of one shard that have no row yet and write all its rows. Returns how many files it judged.

    Enhanced images are written before the rows, so that no row is without its image; `advance` is told of each file.
    Raises ShardBusy where another process is at it, JudgeFailed, OutputNotWritable.
    """
    with claimed(shard):
        if shard.finished:
            return 0
        attempts = Attempts(shard.attempts)
        try:
            opened = read_ahead(shard.waiting, work.root, work.limits, attempts)
            rows = rows_of(replace(work, names=shard.taken), _told(opened, advance))
            _fail_if_many_were_unreadable(rows, work)
            _fail_if_none_was_judged(rows)
            kept = {place: (row.shard, row.row) for place, row in shard.kept.items()}
            write_shard(shard.target, rows, kept)
        finally:
            attempts.close()
        attempts.forget()
        return len(rows)


def _told(opened: Iterable[Opened], advance: Advance) -> Iterator[Opened]:
    for item in opened:
        yield item
        advance(1)
        del item  # the next picture waits for its room


def _fail_if_none_was_judged(rows: Sequence[dict[str, Any]]) -> None:
    tried = [row for row in rows if row.get("image_id") is not None]
    failed = [row["error"] for row in tried if str(row.get("error")).startswith("not_judged")]
    if len(failed) > 1 and len(failed) == len(tried):
        raise JudgeFailed(f"the model fails on all {len(failed)} images of a shard; the first: {failed[0]}")


def _fail_if_many_were_unreadable(rows: Sequence[dict[str, Any]], work: Work) -> None:
    gone = [row for row in rows if str(row.get("error")).startswith(UNREADABLE)]
    few = min(FEW_UNREADABLE, max(len(rows) - 1, 1))
    if len(gone) > few and len(gone) > work.settings.validation.max_unreadable_share * len(rows):
        raise FilesUnreadable(
            f"{len(gone)} of {len(rows)} files of a shard were listed below {work.root} and cannot be read; the first: "
            f"{gone[0]['path']}: {gone[0]['error']}. Is the disk or share there, and may this user read it? Nothing "
            "was written about them: the same command goes on once they can be read; to make each of them a row that "
            "is rejected, raise validation.max_unreadable_share"
        )


def report(plan: Plan, scorer: Scorer, found: int, judged: int, done_before: bool) -> ScoreReport:
    """What stands in the verdicts of a merged plan, of which `found` shards were there and `judged` files are new."""
    path = plan.out / VERDICTS
    counted = tally(path)
    return ScoreReport(
        rows=counted.rows,
        judged=judged,
        batch_id=counted.batch_id or "",
        model=scorer.lineage.label(),
        decisions=counted.decisions,
        errors=counted.errors,
        shards=plan.shards,
        shards_found=found,
        verdicts=path,
        done_before=done_before,
    )
