"""A user's own styles, each shown by a few pictures, for every image of a scored batch; nothing is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from packshot.bundle import REFERENCE
from packshot.catalog.image import ImageLimits
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import write_parquet
from packshot.model.examples import ExampleScope, ExampleSpace, Floats, nearest, prototypes
from packshot.progress import say, track
from packshot.registry.models import STARTER, bundle_path, is_starter
from packshot.scoring.judging import Scorer
from packshot.scoring.listing import BatchFile, list_batch
from packshot.scoring.reading import Opened, read_ahead
from packshot.scoring.rows import chunks
from packshot.scoring.scorer import open_scorer
from packshot.scoring.shards import check_same_model, read_manifest
from packshot.scoring.verdicts import VERDICTS, read_verdicts

BLOCKS = ("style_vector", "embedding")
TABLE = "styles.parquet"
OWN = "own"
"""Name of a set of styles that was given none."""
NOT_LIKE = "style_not_taught: the picture is of another kind than the examples"
"""As `verdicts.style_reason` begins where a model's own styles do not apply."""
LOST = 0.05
"""Share of pictures like the examples that are taken for another kind."""


class NoExamples(PackshotError):
    """The folder of examples does not show two styles or more."""

    exit_code = 65


@dataclass(frozen=True)
class StylesReport:
    """What was assigned: images by style, those of another kind, examples by style, rows without a verdict."""

    table: Path
    style_set: str
    images: Mapping[str, int]
    not_taught: int
    examples: Mapping[str, int]
    left_out: int

    def as_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self) | {"table": str(self.table)}


def styles_by_example(
    settings: Settings, examples: Path, out: Path, model: str | None = None, name: str = OWN
) -> StylesReport:
    """`assign_styles` by the model `model`, which defaults to the one that scored `out`."""
    chosen = model or _scored_by(out)
    folder, _ = bundle_path(settings, chosen)
    reference = pd.read_parquet(folder / REFERENCE)
    return assign_styles(settings, examples, out, open_scorer(settings, chosen), reference, name)


def assign_styles(
    settings: Settings, examples: Path, out: Path, scorer: Scorer, reference: pd.DataFrame, name: str = OWN
) -> StylesReport:
    """Give the judged rows of `out/verdicts.parquet` the style whose examples they are nearest to.

    `examples` holds a folder for each style, named as the style, with about five pictures; `reference` has the columns
    style_vector and embedding of other pictures. Writes `out/styles.parquet`, in which sets of other names stay: path,
    style_set (`name`), style (null where the picture is of another kind than the examples), style_reason, similarity
    (cosine, -1..1), margin over the second nearest, scope (deviations within what the examples speak for; NaN where
    they are fewer than six, so that all pictures are), chosen (whether of the sets that hold the picture this one does
    so best). Raises NoExamples, VerdictsUnreadable, OtherModel.
    """
    check_same_model(out, scorer)
    verdicts = read_verdicts(out / VERDICTS, ["path", "error", *BLOCKS]).to_pandas()
    judged = verdicts[verdicts["error"].isna()]
    if judged.empty:
        raise NoExamples(f"{out}: no image of the batch was judged, so none can be given a style")
    shown = _examples(settings, examples, out, scorer)
    style, columns = _assigned(judged, shown, reference if len(reference) else judged)
    table = pd.DataFrame({"path": judged["path"].to_numpy(), "style_set": name, **columns})
    write_parquet(out / TABLE, _side_by_side(out / TABLE, table, name))
    told = Counter(style[table["style"].notna()])
    return StylesReport(
        table=out / TABLE,
        style_set=name,
        images={label: told[label] for label in sorted(set(shown["label"]))},
        not_taught=int(table["style"].isna().sum()),
        examples=dict(sorted(Counter(shown["label"]).items())),
        left_out=len(verdicts) - len(judged),
    )


def chosen_styles(out: Path, name: str | None = None) -> dict[str, tuple[str, str]]:
    """Path to (set, style) of `out/styles.parquet`: by the set that holds a picture best, or by the set `name` alone.

    Raises NoExamples where there is no such table, or no such set in it.
    """
    if not (out / TABLE).is_file():
        raise NoExamples(f"{out} has no {TABLE}: give its pictures your own styles with `packshot styles` first")
    table = pd.read_parquet(out / TABLE)
    if name is not None and name not in set(table["style_set"]):
        there = ", ".join(sorted(set(table["style_set"])))
        raise NoExamples(f"{out / TABLE} has no set {name}; sets are {there}")
    held = table[table["style"].notna() & (table["chosen"] if name is None else table["style_set"] == name)]
    columns = (held[column].astype(str) for column in ("path", "style_set", "style"))
    return {path: (kept, style) for path, kept, style in zip(*columns, strict=True)}


def _assigned(
    judged: pd.DataFrame, shown: pd.DataFrame, reference: pd.DataFrame
) -> tuple[npt.NDArray[np.object_], dict[str, Any]]:
    """The nearest style of each row, and the columns that say so."""
    space = ExampleSpace.fit(_blocks(reference))
    names, centres = prototypes(space.place(_blocks(shown)), shown["label"].tolist())
    best, similarity, margin = nearest(space.place(_blocks(judged)), centres)
    embedding = BLOCKS.index("embedding")
    scope = ExampleScope.fit(_blocks(shown)[embedding], _blocks(reference)[embedding])
    within = scope.above(_blocks(judged)[embedding], LOST)
    style = np.array(names, dtype=object)[best]
    told: dict[str, Any] = {"style": style.copy(), "style_reason": np.full(len(style), None, dtype=object)}
    told["style"][within < 0] = None
    told["style_reason"][within < 0] = NOT_LIKE
    return style, told | {"similarity": similarity, "margin": margin, "scope": within}


def _side_by_side(path: Path, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with the other sets that are there, and of each picture's sets the one that holds it best."""
    if path.is_file():
        before = pd.read_parquet(path)
        before = before[before["style_set"] != name] if "style_set" in before else before.iloc[:0]
        table = pd.concat([before, table], ignore_index=True) if len(before) else table
    held = table["scope"].fillna(0.0).where(table["style"].notna(), -np.inf)
    table["chosen"] = False
    table.loc[held.groupby(table["path"]).idxmax(), "chosen"] = True
    table["chosen"] &= table["style"].notna()
    return table


def _scored_by(out: Path) -> str:
    versions = [found for found in read_verdicts(out / VERDICTS, ["model_version"])[0].to_pylist() if found]
    if versions:
        return str(versions[0])
    if is_starter(str(read_manifest(out).get("model_digest"))):
        return STARTER
    raise NoExamples(f"{out} was scored by a bundle that is not registered; name it with --model")


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
