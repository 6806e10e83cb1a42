"""A bundle on pictures it never saw: judged, styled and enhanced, row by row, with the figures over the rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from packshot.bundle import Judge, Judgement
from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import ImageLimits, resolve_inside
from packshot.catalog.manifest import read_manifest
from packshot.catalog.source_record import read_source
from packshot.catalog.texts import row_text
from packshot.config import Profile, Settings
from packshot.degrade import DEGRADATIONS
from packshot.degrade.full_reference import haarpsi
from packshot.degrade.full_reference import scores as full_reference_scores
from packshot.errors import PackshotError
from packshot.evaluation import metrics as m
from packshot.evaluation.classic import ClassicChain, tune
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.ladders import ladders
from packshot.evaluation.layout import METRICS
from packshot.evaluation.pairs import IMAGES, Pair, mixed_pairs, pristine_rows, single_count, single_pairs
from packshot.evaluation.slices import SMALLEST_SLICE
from packshot.files import atomic_folder, write_json, write_parquet
from packshot.home import Home
from packshot.progress import say, track
from packshot.revision import SPLIT_MANIFEST, code_rev, data_rev

Item = TypeVar("Item")
BATCH = 16
TUNING_PAIRS = 12
SINGLE_CROPS = 24
HARM_DB = 0.1
UNTOUCHED_DB = 40.0
LOWER = 0.01
"""A pristine crop that is judged lower than before by more than this was harmed."""
ATTRIBUTES = ("sharpness", "colour_balance", "detail")


class HeldOutError(PackshotError):
    """There is nothing held out to score on, or the judge gave something that is no score."""

    exit_code = 65


@dataclass(frozen=True)
class HeldOut:
    """Scores of one bundle on held-out rows.

    per_image: image_id, source, path, subset, category, group, quality_mos, quality, quality_low, quality_high, style,
    style_pred, style_confidence. per_pair: image_id, group, degradations, family, psnr_in, psnr_out, psnr_classic
    (dB), likewise ssim and haarpsi; of the undamaged crop put through the enhancer psnr_pristine, and
    quality_pristine_in and _out, what the judge says of it before and after. per_single:
    image_id, group, degradation, level (0: the clean crop), attribute (that suffers), judged (that attribute),
    reference (full-reference score, 0..1), quality, and all three attributes. metrics: name to figure, never NaN; what
    is undefined is absent.
    """

    per_image: pd.DataFrame
    per_pair: pd.DataFrame
    per_single: pd.DataFrame
    metrics: dict[str, float]


def score_heldout(judge_or_bundle: Judge | Path, settings: Settings, workspace: Path, split: str = "test") -> HeldOut:
    """Judge the labelled rows of a split, and enhance degraded crops of its pristine sets.

    Deterministic for given settings, data and weights. Raises HeldOutError where the split has no labelled row or a
    score is not finite.
    """
    judge = _loaded(judge_or_bundle, settings)
    profile = profile_of(settings, workspace)
    manifest = read_manifest(workspace / SPLIT_MANIFEST)
    per_image = _judged(judge, labelled_rows(profile, workspace, split), settings, workspace)
    per_pair = _enhanced(judge, manifest, profile, settings, workspace, split)
    per_single = _singles(judge, manifest, profile, settings, workspace, split)
    train = manifest[manifest["split"] == "train"]
    return HeldOut(per_image, per_pair, per_single, figures(per_image, per_pair, per_single, train, profile))


def score_heldout_once(bundle: Path, settings: Settings, workspace: Path, split: str = "test") -> HeldOut:
    """`score_heldout`, kept under PACKSHOT_HOME for the same bundle, data, code and settings."""
    identity = (bundle_digest(bundle), data_rev(workspace), code_rev("evaluate"), settings.params_hash(), split)
    kept = Home.from_environment().root / "heldout" / hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]
    if (kept / METRICS).is_file():
        say(f"held-out scores of this bundle on this data are kept in {kept.name}")
        return _read(kept)
    scored = score_heldout(bundle, settings, workspace, split)
    with atomic_folder(kept) as building:
        _write(scored, building)
    return _read(kept)


def profile_of(settings: Settings, workspace: Path) -> Profile:
    """The profile of the source that the workspace's data came from."""
    name = read_source(workspace).profile
    profiles = {str(key): profile for key, profile in settings.profiles.items()}
    if name not in profiles:
        raise HeldOutError(f"the data came from source {name!r}; params.yaml has profiles for {sorted(profiles)}")
    return profiles[name]


def labelled_rows(profile: Profile, workspace: Path, split: str) -> pd.DataFrame:
    """The manifest rows of a split that carry a human score or a style which the profile counts."""
    manifest = read_manifest(workspace / SPLIT_MANIFEST)
    scored = manifest["source"].isin(profile.quality) & manifest["quality_mos"].notna()
    styled = manifest["source"].isin(profile.style) & manifest["style"].notna()
    rows = manifest[(manifest["split"] == split) & (scored | styled)].copy()
    if rows.empty:
        raise HeldOutError(
            f"no row of split {split!r} has a score in {list(profile.quality)} or a style in {list(profile.style)}; "
            "a model cannot be evaluated without; collect labelled pictures or name the sets in profiles"
        )
    rows["quality_mos"] = rows["quality_mos"].where(scored.loc[rows.index])
    rows["style"] = rows["style"].where(styled.loc[rows.index], None)
    return rows.reset_index(drop=True)


def figures(
    per_image: pd.DataFrame, per_pair: pd.DataFrame, per_single: pd.DataFrame, train: pd.DataFrame, profile: Profile
) -> dict[str, float]:
    """All held-out figures by name. A figure that is undefined on its rows is absent, and said so."""
    found: dict[str, float] = {}
    for name in profile.quality:
        rows = per_image[(per_image["source"] == name) & per_image["quality_mos"].notna()]
        known = train[(train["source"] == name) & train["quality_mos"].notna()]
        found |= _defined(quality_figures(name, rows, known))
    for name in profile.style:
        rows = per_image[(per_image["source"] == name) & per_image["style"].notna()]
        known = train[(train["source"] == name) & train["style"].notna()]
        found |= _defined(style_figures(name, rows, known))
    found |= enhance_figures(per_pair)
    return found | _defined(ladder_figures(per_single))


Figures = dict[str, Callable[[], float]]


def quality_figures(name: str, rows: pd.DataFrame, train: pd.DataFrame) -> Figures:
    """Figures of quality on one set, as calls that may raise MetricError."""
    mos, predicted = rows["quality_mos"], rows["quality"]
    found: Figures = {
        f"quality/srcc/{name}": lambda: m.srcc(predicted, mos),
        f"quality/plcc/{name}": lambda: m.plcc(predicted, mos),
        f"quality/coverage/{name}": lambda: m.coverage(rows["quality_low"], rows["quality_high"], mos),
        f"quality/interval_width/{name}": lambda: _mean(rows["quality_high"] - rows["quality_low"]),
    }
    if train["subset"].nunique() > 1:
        found[f"quality/srcc_subset_baseline/{name}"] = lambda: m.srcc(
            m.subset_baseline(list(train["subset"]), train["quality_mos"], list(rows["subset"])), mos
        )
    for category, part in _large(rows, "category"):
        found[f"quality/srcc/{name}/category/{category}"] = partial(m.srcc, part["quality"], part["quality_mos"])
    parts = dict(_large(rows, "subset"))
    for subset, part in parts.items():
        found[f"quality/srcc/{name}/{subset}"] = partial(m.srcc, part["quality"], part["quality_mos"])
        found[f"quality/coverage/{name}/{subset}"] = partial(
            m.coverage, part["quality_low"], part["quality_high"], part["quality_mos"]
        )
    ranked = [part for part in parts.values() if part["quality_mos"].nunique() > 1]
    if ranked:
        found[f"quality/srcc_within/{name}"] = lambda: float(
            np.mean([m.srcc(part["quality"], part["quality_mos"]) for part in ranked])
        )
    return found


def style_figures(name: str, rows: pd.DataFrame, train: pd.DataFrame) -> Figures:
    """Figures of style on one set, as calls that may raise MetricError."""
    predicted, actual = list(rows["style_pred"]), list(rows["style"])
    found: Figures = {
        f"style/accuracy/{name}/category/{category}": partial(m.accuracy, list(part["style_pred"]), list(part["style"]))
        for category, part in _large(rows, "category")
    }
    return found | {
        f"style/accuracy/{name}": lambda: m.accuracy(predicted, actual),
        f"style/macro_f1/{name}": lambda: m.macro_f1(predicted, actual),
        f"style/worst_class/{name}": lambda: m.lowest_recall(predicted, actual),
        f"style/accuracy_majority/{name}": lambda: m.majority_accuracy(list(train["style"]), actual),
        f"style/ece/{name}": lambda: m.ece(rows["style_confidence"], (rows["style_pred"] == rows["style"])),
    }


def _large(rows: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The parts of the rows by the values of a column, those large enough for a figure."""
    for value, part in rows.groupby(column):
        if len(part) >= SMALLEST_SLICE:
            yield str(value), part


def ladder_figures(per_single: pd.DataFrame) -> Figures:
    """Figures on ladders of single degradations, as calls that may raise MetricError.

    Of the overall score: the share of ladders whose strongest level is judged below the clean crop, and how far the
    weakest level moves it in the mean. For each attribute: rank correlation with the full-reference score; share of its
    own ladders on which it never rises from one level to the next; and how far it falls below the clean crop on its own
    ladders, over how far it moves on those of the other attribute that moves it most.
    """
    steps = ladders(per_single)
    found: Figures = {
        "robustness/falls": lambda: _mean(steps["falls"]),
        "robustness/mild_shift": lambda: _mean(steps["mild_shift"]),
    }
    for attribute in ATTRIBUTES:
        part = per_single[per_single["attribute"] == attribute]
        own = steps[steps["attribute"] == attribute]
        found[f"attributes/srcc/{attribute}"] = partial(m.srcc, part["judged"], part["reference"])
        found[f"attributes/monotone/{attribute}"] = partial(_mean, own["monotone"])
        found[f"attributes/own_to_other/{attribute}"] = partial(_own_to_other, per_single, attribute)
    return found


def _own_to_other(per_single: pd.DataFrame, attribute: str) -> float:
    clean = per_single[per_single["level"] == 0].drop_duplicates("image_id").set_index("image_id")[attribute]
    fallen = clean.reindex(per_single["image_id"]).to_numpy() - per_single[attribute].to_numpy()
    own = fallen[per_single["attribute"] == attribute]
    others = [np.abs(fallen[per_single["attribute"] == name]) for name in ATTRIBUTES if name != attribute]
    other = max((float(np.mean(each)) for each in others if len(each)), default=0.0)
    if not len(own) or not other > 0:
        raise m.MetricError("there are no ladders, or nothing moved")
    return float(np.mean(own)) / other


def enhance_figures(per_pair: pd.DataFrame) -> dict[str, float]:
    """Mean PSNR (dB), SSIM and HaarPSI gains, enhanced and classic; the gain by family of degradation; and, of pristine
    crops put through the enhancer, how near they stay, the share that does not stay within UNTOUCHED_DB, and the share
    that is judged lower than before."""
    if per_pair.empty:
        return {}
    means = per_pair.drop(columns=["image_id", "group", "degradations", "family"]).mean()
    gain = per_pair["psnr_out"] - per_pair["psnr_in"]
    found = {
        "enhance/psnr_in": means["psnr_in"],
        "enhance/psnr_out": means["psnr_out"],
        "enhance/psnr_gain": gain.mean(),
        "enhance/psnr_gain_classic": means["psnr_classic"] - means["psnr_in"],
        "enhance/psnr_gain_over_classic": means["psnr_out"] - means["psnr_classic"],
        "enhance/ssim_gain": means["ssim_out"] - means["ssim_in"],
        "enhance/ssim_gain_classic": means["ssim_classic"] - means["ssim_in"],
        "enhance/haarpsi_gain": means["haarpsi_out"] - means["haarpsi_in"],
        "enhance/haarpsi_gain_classic": means["haarpsi_classic"] - means["haarpsi_in"],
        "enhance/share_harmed": (gain < -HARM_DB).mean(),
        "enhance/psnr_pristine": means["psnr_pristine"],
        "enhance/share_pristine_changed": (per_pair["psnr_pristine"] < UNTOUCHED_DB).mean(),
        "enhance/share_pristine_lower": _judged_lower(per_pair).mean(),
    }
    families = per_pair["family"].str.split("+")
    for family in sorted({one for several in families for one in several}):
        found[f"enhance/psnr_gain/{family}"] = gain[[family in several for several in families]].mean()
    return {name: float(value) for name, value in found.items()}


def _judged_lower(per_pair: pd.DataFrame) -> pd.Series:
    return per_pair["quality_pristine_out"] < per_pair["quality_pristine_in"] - LOWER


def _defined(calls: Figures) -> dict[str, float]:
    found = {}
    for name, call in calls.items():
        try:
            found[name] = float(call())
        except m.MetricError as error:
            say(f"{name} is left out: {error}")
    return found


def _loaded(judge_or_bundle: Judge | Path, settings: Settings) -> Judge:
    if isinstance(judge_or_bundle, Path):
        return Judge.load(judge_or_bundle, device=settings.training.device)
    return judge_or_bundle


def _judged(judge: Judge, rows: pd.DataFrame, settings: Settings, workspace: Path) -> pd.DataFrame:
    limits = ImageLimits.from_settings(settings.validation)
    answers: list[Judgement] = []
    records = track(rows.to_dict("records"), "judging held-out pictures")
    for batch in _batches(records):
        images = [decode(resolve_inside(workspace / IMAGES, str(row["path"])), limits) for row in batch]
        blind = judge.blind_heads([str(row["image_id"]) for row in batch], [str(row["group"]) for row in batch])
        answers.extend(judge.judge(images, [row_text(row) for row in batch], blind))
    frame = rows[["image_id", "source", "path", "subset", "category", "group", "quality_mos", "style"]].copy()
    for name in ("quality", "quality_low", "quality_high", "style_confidence"):
        frame[name] = np.array([getattr(answer, name) for answer in answers], dtype=np.float64)
        if not np.isfinite(frame[name]).all():
            raise HeldOutError(f"the judge gave {name} = NaN for {int(frame[name].isna().sum())} of {len(frame)} rows")
    frame["style_pred"] = [answer.style for answer in answers]
    return frame


def _enhanced(
    judge: Judge, manifest: pd.DataFrame, profile: Profile, settings: Settings, workspace: Path, split: str
) -> pd.DataFrame:
    seed = settings.training.seed
    rows = pristine_rows(manifest, profile, split, settings.evaluation.pairs, seed)
    tuning = pristine_rows(manifest, profile, "validation", TUNING_PAIRS, seed)
    classic = _tuned(mixed_pairs(tuning, settings, workspace))
    records = []
    for pair in track(mixed_pairs(rows, settings, workspace), "enhancing held-out pictures", total=len(rows)):
        record = _compared(pair, judge.enhance(pair.degraded), classic(pair.degraded))
        records.append(record | _unharmed(judge, pair.clean))
    return pd.DataFrame(records, columns=list(PAIR_COLUMNS))


PAIR_COLUMNS = (
    *("image_id", "group", "degradations", "family"),
    *(f"{figure}_{which}" for figure in ("psnr", "ssim", "haarpsi") for which in ("in", "out", "classic")),
    *("psnr_pristine", "quality_pristine_in", "quality_pristine_out"),
)


def _unharmed(judge: Judge, clean: Any) -> dict[str, float]:
    """How a pristine crop fares in the enhancer."""
    enhanced = judge.enhance(clean)
    before, after = judge.judge([clean, enhanced])
    return {
        "psnr_pristine": m.psnr(clean, enhanced),
        "quality_pristine_in": before.quality,
        "quality_pristine_out": after.quality,
    }


def _tuned(pairs: Iterable[Pair]) -> ClassicChain:
    found = [(pair.clean, pair.degraded) for pair in pairs]
    if not found:
        say("no validation picture to tune the classic chain on: it does nothing")
        return ClassicChain(0.0, 0.0, 0.0)
    chain = tune(found)
    say(f"classic chain tuned on {len(found)} validation pairs: {chain}")
    return chain


def _compared(pair: Pair, enhanced: Any, classic: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "image_id": pair.image_id,
        "group": pair.group,
        "degradations": pair.degradations,
        "family": pair.family,
    }
    for which, image in (("in", pair.degraded), ("out", enhanced), ("classic", classic)):
        record[f"psnr_{which}"] = m.psnr(pair.clean, image)
        record[f"ssim_{which}"] = m.ssim(pair.clean, image)
        record[f"haarpsi_{which}"] = haarpsi(pair.clean, image)
    return record


def _singles(
    judge: Judge, manifest: pd.DataFrame, profile: Profile, settings: Settings, workspace: Path, split: str
) -> pd.DataFrame:
    rows = pristine_rows(manifest, profile, split, SINGLE_CROPS, settings.training.seed)
    records = []
    pairs = track(
        single_pairs(rows, settings, workspace),
        "judging single degradations",
        total=single_count(len(rows), settings),
    )
    for batch in _batches(pairs):
        judgements = judge.judge([pair.degraded for pair in batch])
        for pair, judged, near in zip(batch, judgements, _nearness(batch), strict=True):
            step = pair.steps[0] if pair.steps else None
            attribute = DEGRADATIONS[step.name].attribute if step else None
            seen = {name: float(getattr(judged, name)) for name in ATTRIBUTES}
            records.append(
                {
                    "image_id": pair.image_id,
                    "group": pair.group,
                    "degradation": step.name if step else None,
                    "level": step.level if step else 0,
                    "attribute": attribute,
                    "judged": seen[attribute] if attribute else np.nan,
                    "reference": near,
                    "quality": judged.quality,
                    **seen,
                }
            )
    columns = ["image_id", "group", "degradation", "level", "attribute", "judged", "reference", "quality", *ATTRIBUTES]
    return pd.DataFrame(records, columns=columns)


def _nearness(pairs: Sequence[Pair]) -> list[float]:
    """Full-reference score of each pair, 0..1, computed together where the crops have one shape."""
    near = [0.0] * len(pairs)
    for shape in {pair.clean.shape for pair in pairs}:
        places = [i for i, pair in enumerate(pairs) if pair.clean.shape == shape]
        found = full_reference_scores([pairs[i].clean for i in places], [pairs[i].degraded for i in places])
        for i, value in zip(places, found, strict=True):
            near[i] = float(value)
    return near


def _batches(items: Iterator[Item]) -> Iterator[list[Item]]:
    while batch := list(islice(items, BATCH)):
        yield batch


def _mean(values: pd.Series) -> float:
    if values.empty:
        raise m.MetricError("there are no rows")
    return float(values.mean())


def _write(scored: HeldOut, folder: Path) -> None:
    for name in ("per_image", "per_pair", "per_single"):
        write_parquet(folder / f"{name}.parquet", getattr(scored, name))
    write_json(folder / METRICS, scored.metrics)


def _read(folder: Path) -> HeldOut:
    per_image, per_pair, per_single = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("per_image", "per_pair", "per_single")
    )
    return HeldOut(per_image, per_pair, per_single, json.loads((folder / METRICS).read_text(encoding="utf-8")))
