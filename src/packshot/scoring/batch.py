"""`packshot score`: every file below a folder becomes exactly one row of `OUT/verdicts.parquet`."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from packshot.catalog.image import BadImage, ImageLimits
from packshot.catalog.statistics import image_statistics
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import OutputNotWritable
from packshot.progress import say, track
from packshot.scoring.decisions import Decision, Enhanced, Scores, changes_colours, decide, refuse, settle
from packshot.scoring.fidelity import colour_shift, luma_similarity, with_colours_of
from packshot.scoring.listing import list_batch
from packshot.scoring.reading import Opened, read_ahead
from packshot.scoring.scorer import Scorer, open_scorer
from packshot.scoring.shards import (
    FOLDER,
    Shard,
    check_same_model,
    plan_shards,
    read_manifest,
    sole_writer,
    write_manifest,
)
from packshot.scoring.verdicts import STATISTICS, listing_id, merge_shards, read_verdicts, write_shard
from packshot.scoring.writing import check_output_apart, output_name, write_enhanced

if TYPE_CHECKING:
    from packshot.bundle import Judgement

TOGETHER = 8
"""Images a call of the judge gets at most."""


class JudgeFailed(PackshotError):
    """The model fails on every image it is given: not the images' fault."""


@dataclass(frozen=True)
class ScoreReport:
    """What a scoring run did. `decisions` counts rows by decision, `errors` rows that could not be judged."""

    rows: int
    batch_id: str
    model: str
    decisions: Mapping[str, int]
    errors: int
    shards: int
    shards_found: int
    verdicts: Path
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
) -> ScoreReport:
    """Judge every file below `directory` into `out/verdicts.parquet` and `out/enhanced/`.

    The same `out` again goes on where a killed run stopped, and does nothing where all is done. A file
    that cannot be judged is a row with `error`. `batch_id` defaults to a hash of the batch's content,
    `catalog` to `directory/catalog.csv` where there is one; `scorer` is loaded from `model` if not given.
    Raises EmptyBatch, BatchFolderMissing, OtherModel, OutputBusy, OutputNotWritable, JudgeFailed.
    """
    check_output_apart(directory, out)
    files = list_batch(directory, out, catalog, settings.catalog)
    scorer = scorer if scorer is not None else open_scorer(settings, model)
    with sole_writer(out):
        check_same_model(out, scorer)
        shards = plan_shards(files, out, settings, scorer)
        found = sum(shard.finished for shard in shards)
        if found == len(shards) and _is_complete(out, shards, batch_id):
            say(f"{out} is finished: {len(files)} rows by {scorer.lineage.label()}; nothing to do")
            return _report(out, scorer, shards, found)
        if found:
            say(f"{found} of {len(shards)} shards are finished already; going on")
        if not read_manifest(out):
            write_manifest(out, scorer, images=str(directory.resolve()))
        _score_shards(_Work(settings, directory.resolve(), out, scorer, frozenset(f.path for f in files)), shards)
        _merge(directory, out, scorer, shards, batch_id)
    return _report(out, scorer, shards, found)


def _is_complete(out: Path, shards: Sequence[Shard], batch_id: str | None) -> bool:
    manifest = read_manifest(out)
    return (
        (out / "verdicts.parquet").is_file()
        and manifest.get("shards") == [shard.target.stem for shard in shards]
        and batch_id in (None, manifest.get("batch_id"))
    )


@dataclass(frozen=True)
class _Work:
    """What every row needs."""

    settings: Settings
    root: Path
    out: Path
    scorer: Scorer
    names: frozenset[str]

    @property
    def limits(self) -> ImageLimits:
        return ImageLimits.from_settings(self.settings.validation)


def _score_shards(work: _Work, shards: Sequence[Shard]) -> None:
    waiting = [shard for shard in shards if not shard.finished]
    if not waiting:
        return
    _ = work.scorer.judge  # a model that does not load ends the run, not each image
    files = [file for shard in waiting for file in shard.files]
    opened = iter(track(read_ahead(files, work.root, work.limits), "scoring", total=len(files)))
    for shard in waiting:
        rows = _rows(work, islice(opened, len(shard.files)))
        _fail_if_none_was_judged(rows)
        write_shard(shard.target, rows)
    next(opened, None)  # lets the progress say its last line


def _fail_if_none_was_judged(rows: Sequence[dict[str, Any]]) -> None:
    tried = [row for row in rows if row.get("image_id") is not None]
    failed = [row["error"] for row in tried if str(row.get("error")).startswith("not_judged")]
    if len(failed) > 1 and len(failed) == len(tried):
        raise JudgeFailed(f"the model fails on all {len(failed)} images of a shard; the first: {failed[0]}")


def _rows(work: _Work, opened: Iterable[Opened]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for chunk in chunks(opened):
        readable = [item for item in chunk if item.pixels is not None]
        judged = dict(zip(map(id, readable), _judge(work.scorer, readable), strict=True))
        rows.extend(_row(work, item, judged.get(id(item))) for item in chunk)
    return rows


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


def _row(work: _Work, item: Opened, judged: Judgement | Exception | None) -> dict[str, Any]:
    row: dict[str, Any] = {"path": item.file.path, "scored_at": datetime.now(UTC)}
    row |= {name: item.file.facts.get(name) for name in ("sku", "title", "sender", "category")}
    if item.info is None or item.pixels is None:
        return row | _refused(item.reason or "unreadable", item.detail)
    row |= {"image_id": item.info.image_id, "format": item.info.format}
    row |= {"width": item.info.width, "height": item.info.height}
    statistics = image_statistics(item.pixels)
    row |= {name: statistics[name] for name in STATISTICS}
    if judged is None or isinstance(judged, Exception):
        return row | _refused("not_judged", f"{type(judged).__name__}: {judged}")
    scores = _scores(judged)
    if not scores.finite:
        return row | _refused("not_judged", "the judge gave a score that is not a number")
    return row | _judged_columns(judged) | asdict(scores) | _decided(work, item, item.pixels, scores)


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


def _decided(work: _Work, item: Opened, pixels: NDArray[np.uint8], scores: Scores) -> dict[str, Any]:
    first = decide(scores, work.settings.scoring)
    if first.decision != "enhance":
        return {"decision": first.decision, "reasons": list(first.reasons)}
    image, enhanced = _enhance(work, pixels, item.file.text(), scores)
    decision = settle(first, scores, enhanced, work.settings.scoring)
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
    work: _Work, pixels: NDArray[np.uint8], text: str | None, scores: Scores
) -> tuple[NDArray[np.uint8] | None, Enhanced | None]:
    """The enhanced image and what that did; with the colours of the input where its own would move too far."""
    try:
        image = work.scorer.judge.enhance(pixels)
        enhanced = _compared(work.scorer, pixels, image, text)
        if changes_colours(scores, enhanced, work.settings.scoring):
            image = with_colours_of(pixels, image)
            enhanced = _compared(work.scorer, pixels, image, text)
        return image, enhanced
    except Exception as error:
        say(f"an image could not be enhanced: {type(error).__name__}: {error}")
        return None, None


def _compared(scorer: Scorer, pixels: NDArray[np.uint8], image: NDArray[np.uint8], text: str | None) -> Enhanced:
    after = _scores(scorer.judge.judge([image], [text])[0])
    return Enhanced(after, luma_similarity(pixels, image), colour_shift(pixels, image))


def _keep(work: _Work, item: Opened, image: NDArray[np.uint8]) -> str | None:
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
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENAMETOOLONG:
            say(f"{item.file.path}: the name is too long to write the enhanced image under")
            return None
        raise
    return f"enhanced/{name}"


def _merge(directory: Path, out: Path, scorer: Scorer, shards: Sequence[Shard], batch_id: str | None) -> None:
    targets = [shard.target for shard in shards]
    batch = batch_id if batch_id is not None else listing_id(targets)
    rows = merge_shards(out / "verdicts.parquet", targets, asdict(scorer.lineage) | {"batch_id": batch})
    names = [target.stem for target in targets]
    write_manifest(out, scorer, images=str(directory.resolve()), batch_id=batch, rows=rows, shards=names)
    _drop_left_overs(out, {target.name for target in targets})


def _drop_left_overs(out: Path, current: set[str]) -> None:
    """Remove shards and enhanced images that no row of the finished batch names any more."""
    for shard in (out / FOLDER).glob("*.parquet"):
        if shard.name not in current:
            shard.unlink(missing_ok=True)
    named = set(read_verdicts(out / "verdicts.parquet", ["enhanced_path"])["enhanced_path"].to_pylist())
    for image in (out / "enhanced").rglob("*"):
        if image.is_file() and image.relative_to(out).as_posix() not in named:
            image.unlink(missing_ok=True)


def _report(out: Path, scorer: Scorer, shards: Sequence[Shard], found: int) -> ScoreReport:
    path = out / "verdicts.parquet"
    table = read_verdicts(path, ["decision", "error", "batch_id"])
    errors = table.num_rows - table["error"].null_count
    return ScoreReport(
        rows=table.num_rows,
        batch_id=table["batch_id"][0].as_py(),
        model=scorer.lineage.label(),
        decisions=dict(sorted(Counter(table["decision"].to_pylist()).items())),
        errors=errors,
        shards=len(shards),
        shards_found=found,
        verdicts=path,
        done_before=found == len(shards),
    )
