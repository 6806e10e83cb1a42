"""`packshot look`: verdicts on a few pictures, found as those of a batch are. Nothing is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from packshot.catalog.decoding.pool import decoders
from packshot.config import Settings
from packshot.scoring.checks import COPIES
from packshot.scoring.contract import Verdict
from packshot.scoring.judging import Scorer
from packshot.scoring.listing import open_batch
from packshot.scoring.named import WrongPictures, named
from packshot.scoring.reading import read_ahead
from packshot.scoring.rows import Work, rows_of
from packshot.scoring.rules import profile_in_force
from packshot.scoring.scorer import open_scorer
from packshot.scoring.shards import FOLDER, OutputHolds
from packshot.scoring.verdicts import VERDICTS
from packshot.scoring.writing import check_output_apart

ALONE = "`packshot look` compares a picture with no other; `packshot score` does"


def look(
    settings: Settings,
    names: Sequence[str],
    *,
    model: str = "champion",
    out: Path | None = None,
    scorer: Scorer | None = None,
) -> list[Verdict]:
    """The verdict on each picture file named, by path, which is relative to the folder that holds them all.

    The enhanced picture is kept in `out/enhanced` where `out` is given, else made to be judged and dropped. What a
    catalogue says of a picture is not asked. Raises WrongPictures, OutputHolds, OutputIsInput, and what
    `scoring.batch.score` raises of models and rules.
    """
    what = named(names)
    if not what.pictures:
        raise WrongPictures(f"{names[0]} is no picture file; `packshot score {names[0]}` judges a folder")
    root = Path(what.directory)
    if out is not None:
        _check_free(root, out)
    profile_in_force(settings.scoring)  # one that names unknown rules ends this before anything is judged
    decoders().begin()  # while this process loads the model
    scorer = scorer if scorer is not None else open_scorer(settings, model)
    settings = scorer.bounds(settings.scoring).applied(settings)
    _ = scorer.judge  # a model that does not load is no fault of the pictures
    with _place(out) as place:
        work = Work(settings, root, place, scorer)
        files = open_batch(root, place, None, what.pictures).files()
        rows = rows_of(work, read_ahead(files, root, work.limits))
    return [alone(row | asdict(scorer.lineage), kept=out is not None) for row in rows]


def _check_free(root: Path, out: Path) -> None:
    check_output_apart(root, out)
    if (out / VERDICTS).exists() or (out / FOLDER).exists():
        raise OutputHolds(f"{out} holds a batch that `packshot score` judged; keep enhanced pictures in another folder")


@contextmanager
def _place(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield out
        return
    with TemporaryDirectory(prefix="packshot-look-") as scratch:
        yield Path(scratch)


def alone(row: Mapping[str, Any], *, kept: bool) -> Verdict:
    """The verdict in a row of a picture that was compared with no other; `kept`: its enhanced picture is."""
    checks = [check | _alone(check) for check in row["checks"]]
    return Verdict.from_row({**row, "checks": checks} | ({} if kept else {"enhanced_path": None}))


def _alone(check: Mapping[str, Any]) -> dict[str, Any]:
    asked = check["status"] == "passed" and check["kind"] == "rule" and check["rule"] in COPIES
    return {"status": "not_checked", "why": ALONE, "measured": None} if asked else {}
