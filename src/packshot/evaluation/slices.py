"""Every figure by its name: whether something writes it, and how it is computed from held-out rows.

The names are the keys of `reports/evaluation/metrics.json`. A gate may ask for any of them; one that compares two
models row by row may ask for those in PAIRED.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from packshot.evaluation.ladders import LADDER_KEY, ladders
from packshot.evaluation.metrics import (
    Floats,
    MetricError,
    weighted_accuracy,
    weighted_lowest_recall,
    weighted_macro_f1,
    weighted_plcc,
    weighted_srcc,
)
from packshot.evaluation.resampling import Statistic, mean_of

IMAGE_KEY = ("source", "path")
PAIR_KEY = ("image_id", "degradations")
SMALLEST_SLICE = 20
"""Rows below which a subset or a category gets no figure of its own."""

_SET = r"(?P<set>[^/]+)"
_WRITTEN = tuple(
    re.compile(pattern)
    for pattern in (
        rf"quality/(srcc|plcc|srcc_within|srcc_subset_baseline|srcc_within_folds|srcc_folds|srcc_folds_std|plcc_folds)/"
        rf"{_SET}",
        rf"quality/(srcc|srcc_folds|coverage)/{_SET}/(?P<subset>[^/]+)",
        rf"(quality/srcc|style/accuracy)/{_SET}/category/[^/]+",
        rf"quality/(coverage|interval_width)/{_SET}",
        rf"style/(accuracy|macro_f1|worst_class|accuracy_folds|accuracy_folds_std|accuracy_majority|ece|ece_folds)/{_SET}",
        rf"style/(few_shot|few_shot_std)/{_SET}",
        r"enhance/(psnr_in|psnr_out|psnr_gain|psnr_gain_classic|psnr_gain_over_classic|psnr_pristine)",
        r"enhance/(share_harmed|share_pristine_changed|share_pristine_lower)",
        r"enhance/(ssim|haarpsi)_gain(_classic)?",
        r"enhance/psnr_gain/(?P<family>[^/]+)",
        r"interval/coverage_folds/(?P<kind>[^/]+)",
        r"attributes/(srcc|monotone|own_to_other)/(?P<attribute>sharpness|colour_balance|detail)",
        r"degradations/srcc_(seen|unseen)(_mean|_worst|/(?P<family>[^/]+))",
        r"robustness/(falls|mild_shift)",
        r"serving/(latency_ms|peak_rss_mb|signature_kept)",
        r"lineage/known",
        r"shadow/(batches|same_decision|srcc|errors)",
    )
)
_CATEGORY = r"/category/(?P<category>[^/]+)"
_QUALITY = re.compile(rf"quality/(?P<figure>srcc|plcc|coverage)/{_SET}(?:{_CATEGORY}|/(?P<subset>[^/]+))?")
_WITHIN = re.compile(rf"quality/srcc_within/{_SET}")
_STYLE = re.compile(rf"style/(?P<figure>accuracy|macro_f1|worst_class)/{_SET}(?:{_CATEGORY})?")
_ENHANCE = re.compile(r"enhance/(?P<figure>psnr_out|psnr_gain|psnr_gain_over_classic|ssim_gain)(?:/(?P<family>[^/]+))?")
_LADDERS = re.compile(r"robustness/(?P<figure>falls)|attributes/(?P<monotone>monotone)/(?P<attribute>[^/]+)")
LOWER_IS_BETTER = re.compile(
    r"serving/(latency_ms|peak_rss_mb)|robustness/mild_shift|style/ece(_folds)?/.*|.*_std/.*|enhance/share_.*|"
    r"quality/interval_width/.*|shadow/errors"
)


def is_written(metric: str, sets: frozenset[str]) -> bool:
    """Whether evaluation or promotion ever writes `metric` for a profile whose labelled sets are `sets`."""
    for pattern in _WRITTEN:
        found = pattern.fullmatch(metric)
        if found:
            named = found.groupdict().get("set")
            return named is None or named in sets
    return False


def is_paired(metric: str) -> bool:
    """Whether `metric` can be recomputed from held-out rows, as a comparison of two models needs."""
    found = _ENHANCE.fullmatch(metric)
    if found and found["family"] is not None:
        return found["figure"] == "psnr_gain"
    return bool(found) or any(pattern.fullmatch(metric) for pattern in (_QUALITY, _WITHIN, _STYLE, _LADDERS))


@dataclass(frozen=True)
class Slice:
    """The held-out rows behind one figure, and the figure as a function of row multiplicities.

    `keys` name the rows and their human labels: two models are comparable only where these are equal.
    """

    keys: tuple[tuple[str, ...], ...]
    groups: tuple[str, ...]
    statistic: Statistic

    @property
    def value(self) -> float:
        """The figure on the rows themselves. Raises MetricError where it is undefined."""
        if not self.keys:
            raise MetricError("the slice has no rows")
        value = float(self.statistic(np.ones((1, len(self.keys))))[0])
        if not np.isfinite(value):
            raise MetricError(f"undefined on its {len(self.keys)} rows (all predictions or all labels are equal)")
        return value


def slice_of(metric: str, per_image: pd.DataFrame, per_pair: pd.DataFrame, per_single: pd.DataFrame) -> Slice:
    """The rows and the statistic of a paired metric, rows in the order of their key.

    Raises MetricError for a metric that is not paired, an empty slice, or a NaN among its values.
    """
    for pattern, build in ((_QUALITY, _quality), (_WITHIN, _within), (_STYLE, _style)):
        found = pattern.fullmatch(metric)
        if found:
            return build(metric, found.groupdict(), per_image)
    found = _ENHANCE.fullmatch(metric)
    if found and is_paired(metric):
        return _enhance(metric, found.groupdict(), per_pair)
    found = _LADDERS.fullmatch(metric)
    if found:
        return _ladders(metric, found.groupdict(), per_single)
    raise MetricError(f"{metric} cannot be computed from held-out rows")


def _quality(metric: str, named: dict[str, str], per_image: pd.DataFrame) -> Slice:
    rows, predicted, mos = _rated(metric, _narrowed(per_image, named), named["set"])
    keys = _keys(rows, IMAGE_KEY, mos)
    if named["figure"] == "coverage":
        inside = (_numbers(rows, "quality_low", metric) <= mos) & (mos <= _numbers(rows, "quality_high", metric))
        return Slice(keys, _groups(rows), mean_of(inside.astype(float)))
    correlate: Callable[[Floats, Floats, Floats], Floats] = (
        weighted_srcc if named["figure"] == "srcc" else weighted_plcc
    )
    return Slice(keys, _groups(rows), lambda weights: correlate(predicted, mos, weights))


def _within(metric: str, named: dict[str, str], per_image: pd.DataFrame) -> Slice:
    rows, predicted, mos = _rated(metric, per_image, named["set"])
    subset = rows["subset"].fillna("").to_numpy(dtype=str)
    parts = [subset == name for name in np.unique(subset[subset != ""])]
    parts = [part for part in parts if part.sum() >= SMALLEST_SLICE and np.ptp(mos[part]) > 0]
    if not parts:
        raise MetricError(f"{metric}: no subset has {SMALLEST_SLICE} rows and different scores")

    def mean_within(weights: Floats) -> Floats:
        return np.asarray(
            np.mean([weighted_srcc(predicted[part], mos[part], weights[:, part]) for part in parts], axis=0)
        )

    return Slice(_keys(rows, IMAGE_KEY, mos), _groups(rows), mean_within)


def _rated(metric: str, per_image: pd.DataFrame, name: str) -> tuple[pd.DataFrame, Floats, Floats]:
    """The rows of a set that people have scored, what the model says of them, and the human scores."""
    rows = _ordered(per_image[(per_image["source"] == name) & per_image["quality_mos"].notna()], IMAGE_KEY, metric)
    return rows, _numbers(rows, "quality", metric), _numbers(rows, "quality_mos", metric)


def _narrowed(per_image: pd.DataFrame, named: dict[str, str]) -> pd.DataFrame:
    for column in ("subset", "category"):
        if named.get(column) is not None:
            per_image = per_image[per_image[column] == named[column]]
    return per_image


def _style(metric: str, named: dict[str, str], per_image: pd.DataFrame) -> Slice:
    rows = _narrowed(per_image, named)
    rows = _ordered(rows[(rows["source"] == named["set"]) & rows["style"].notna()], IMAGE_KEY, metric)
    missing = int(rows["style_pred"].isna().sum())
    if missing:
        raise MetricError(f"{metric}: {missing} of {len(rows)} rows have no predicted style")
    predicted, actual = rows["style_pred"].to_numpy(dtype=str), rows["style"].to_numpy(dtype=str)
    figures = {"accuracy": weighted_accuracy, "macro_f1": weighted_macro_f1, "worst_class": weighted_lowest_recall}
    figure = figures[named["figure"]]
    keys = tuple((*key, label) for key, label in zip(_keys(rows, IMAGE_KEY), actual, strict=True))
    return Slice(keys, _groups(rows), lambda weights: figure(predicted, actual, weights))


def _ladders(metric: str, named: dict[str, str], per_single: pd.DataFrame) -> Slice:
    rows = ladders(per_single)
    if named["attribute"] is not None:
        rows = rows[rows["attribute"] == named["attribute"]]
    rows = _ordered(rows, LADDER_KEY, metric)
    values = _numbers(rows, named["figure"] or named["monotone"], metric)
    return Slice(_keys(rows, LADDER_KEY), _groups(rows), mean_of(values))


def _enhance(metric: str, named: dict[str, str], per_pair: pd.DataFrame) -> Slice:
    rows = per_pair
    if named["family"] is not None:
        rows = rows[[named["family"] in str(families).split("+") for families in rows["family"]]]
    rows = _ordered(rows, PAIR_KEY, metric)
    first, second = {
        "psnr_out": ("psnr_out", None),
        "psnr_gain": ("psnr_out", "psnr_in"),
        "psnr_gain_over_classic": ("psnr_out", "psnr_classic"),
        "ssim_gain": ("ssim_out", "ssim_in"),
    }[named["figure"]]
    values = _numbers(rows, first, metric)
    if second is not None:
        values = values - _numbers(rows, second, metric)
    return Slice(_keys(rows, PAIR_KEY, _numbers(rows, "psnr_in", metric)), _groups(rows), mean_of(values))


def _ordered(rows: pd.DataFrame, key: tuple[str, ...], metric: str) -> pd.DataFrame:
    if rows.empty:
        raise MetricError(f"{metric}: the held-out slice is empty")
    if rows.duplicated(list(key)).any():
        raise MetricError(f"{metric}: {int(rows.duplicated(list(key)).sum())} held-out rows occur twice")
    if rows["group"].isna().any():
        raise MetricError(f"{metric}: {int(rows['group'].isna().sum())} held-out rows have no group")
    return rows.sort_values(list(key), kind="stable")


def _numbers(rows: pd.DataFrame, column: str, metric: str) -> Floats:
    values = rows[column].to_numpy(dtype=np.float64)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise MetricError(f"{metric}: {column} is NaN or infinite in {bad} of {len(values)} held-out rows")
    return values


def _keys(rows: pd.DataFrame, key: tuple[str, ...], label: Floats | None = None) -> tuple[tuple[str, ...], ...]:
    columns = [rows[name].astype(str).tolist() for name in key]
    if label is not None:
        columns.append([f"{value:.9g}" for value in label])
    return tuple(zip(*columns, strict=True))


def _groups(rows: pd.DataFrame) -> tuple[str, ...]:
    return tuple(rows["group"].astype(str))
