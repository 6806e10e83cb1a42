"""A user's own styles, each shown by a few pictures, for every image of a scored batch; nothing is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from packshot.bundle import REFERENCE
from packshot.catalog.image import ImageLimits
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import write_parquet
from packshot.model.examples import ExampleSpace, Floats, nearest, prototypes
from packshot.progress import say, track
from packshot.registry.models import bundle_path
from packshot.scoring.judging import Scorer
from packshot.scoring.listing import BatchFile, list_batch
from packshot.scoring.reading import Opened, read_ahead
from packshot.scoring.rows import chunks
from packshot.scoring.scorer import open_scorer
from packshot.scoring.shards import check_same_model
from packshot.scoring.verdicts import read_verdicts

BLOCKS = ("style_vector", "embedding")


class NoExamples(PackshotError):
    """The folder of examples does not show two styles or more."""

    exit_code = 65


@dataclass(frozen=True)
class StylesReport:
    """What was assigned: images by style, examples by style, rows without a verdict."""

    table: Path
    images: Mapping[str, int]
    examples: Mapping[str, int]
    left_out: int

    def as_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self) | {"table": str(self.table)}


def styles_by_example(settings: Settings, examples: Path, out: Path, model: str | None = None) -> StylesReport:
    """`assign_styles` by the model `model`, which defaults to the version that scored `out`."""
    chosen = model or _scored_by(out)
    folder, _ = bundle_path(settings, chosen)
    return assign_styles(settings, examples, out, open_scorer(settings, chosen), pd.read_parquet(folder / REFERENCE))


def assign_styles(
    settings: Settings, examples: Path, out: Path, scorer: Scorer, reference: pd.DataFrame
) -> StylesReport:
    """Give every judged row of `out/verdicts.parquet` the style whose examples it is nearest to.

    `examples` holds a folder for each style, named as the style, with about five pictures; `reference` has the columns
    style_vector and embedding of other pictures. Writes `out/styles.parquet`: path, style, similarity (cosine, -1..1),
    margin over the second nearest. Raises NoExamples, VerdictsUnreadable, OtherModel.
    """
    check_same_model(out, scorer)
    verdicts = read_verdicts(out / "verdicts.parquet", ["path", "error", *BLOCKS]).to_pandas()
    judged = verdicts[verdicts["error"].isna()]
    if judged.empty:
        raise NoExamples(f"{out}: no image of the batch was judged, so none can be given a style")
    shown = _examples(settings, examples, out, scorer)
    space = ExampleSpace.fit(_blocks(reference if len(reference) else judged))
    names, centres = prototypes(space.place(_blocks(shown)), shown["label"].tolist())
    best, similarity, margin = nearest(space.place(_blocks(judged)), centres)
    style = np.array(names, dtype=object)[best]
    columns = {"path": judged["path"].to_numpy(), "style": style, "similarity": similarity, "margin": margin}
    write_parquet(out / "styles.parquet", pd.DataFrame(columns))
    return StylesReport(
        table=out / "styles.parquet",
        images={name: int((style == name).sum()) for name in names},
        examples=dict(sorted(Counter(shown["label"]).items())),
        left_out=len(verdicts) - len(judged),
    )


def _scored_by(out: Path) -> str:
    versions = [found for found in read_verdicts(out / "verdicts.parquet", ["model_version"])[0].to_pylist() if found]
    if not versions:
        raise NoExamples(f"{out} was scored by a bundle that is not registered; name it with --model")
    return str(versions[0])


def _examples(settings: Settings, examples: Path, out: Path, scorer: Scorer) -> pd.DataFrame:
    files = list_batch(examples, out, None, settings.catalog)
    shown = [file for file in files if "/" in file.path]
    if len({_style(file) for file in shown}) < 2:
        raise NoExamples(
            f"{examples} must hold a folder for each of two styles or more, with some pictures in it; "
            f"found {', '.join(sorted({_style(file) for file in shown})) or 'no folder with pictures'}"
        )
    limits = ImageLimits.from_settings(settings.validation)
    opened = track(read_ahead(shown, examples.resolve(), limits), "examples", total=len(shown))
    rows: list[dict[str, Any]] = []
    for chunk in chunks(opened):
        rows += _described([item for item in chunk if _usable(item)], scorer)
    missing = {_style(file) for file in shown} - {row["label"] for row in rows}
    if missing:
        raise NoExamples(f"{examples}: no picture of {', '.join(sorted(missing))} can be read; see the lines above")
    return pd.DataFrame(rows)


def _style(file: BatchFile) -> str:
    return file.path.split("/", 1)[0]


def _usable(item: Opened) -> bool:
    if item.pixels is None:
        say(f"{item.file.path} is left out: {item.reason}: {item.detail}")
    return item.pixels is not None


def _described(items: Sequence[Opened], scorer: Scorer) -> list[dict[str, Any]]:
    images = [item.pixels for item in items if item.pixels is not None]
    if not images:
        return []
    answers = scorer.judge.judge(images)
    return [
        {"label": _style(item.file), **{name: getattr(answer, name) for name in BLOCKS}}
        for item, answer in zip(items, answers, strict=True)
    ]


def _blocks(frame: pd.DataFrame) -> list[Floats]:
    return [np.stack(frame[name].to_list()).astype(np.float64) for name in BLOCKS]
