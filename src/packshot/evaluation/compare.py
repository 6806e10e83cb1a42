"""The model beside what one would otherwise use, on the same pictures and the same folds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from packshot.bundle import read_record
from packshot.config import Profile, Settings
from packshot.evaluation import metrics as m
from packshot.evaluation.heldout import PAIR_COLUMNS, HeldOutError, profile_of
from packshot.evaluation.layout import BUNDLE, REPORTS
from packshot.evaluation.run import fold_figures
from packshot.model.backbone import build_backbone
from packshot.training.closed_form import kernel_ridge, ridge_classifier, squared_distances
from packshot.training.dataset import Dataset, load_dataset

Floats = NDArray[np.float64]
Records = list[tuple[str, str, str, str, float]]
COLUMNS = ("task", "set", "method", "figure", "value")
MEASURES = {
    "variance of the Laplacian": "sharp_laplacian",
    "contrast (deviation of luma)": "contrast",
    "saturation": "saturation",
}
"""What needs no training: method to column of the feature index. More is taken to be better."""
QUALITY_FIGURES = {
    "quality/srcc_folds": "SRCC, mean of folds",
    "quality/srcc_within_folds": "SRCC within subsets, mean",
}
LANDMARKS = 2048
BLOCK_NORM = 10.0
"""The ridges tried suit vectors of about this length."""


def compare_classic(settings: Settings, workspace: Path) -> pd.DataFrame:
    """One row a figure: task, set, method, figure, value.

    Quality and style are predictions out of fold, by the folds of `packshot evaluate`; what has to be trained is
    trained on the other folds: a kernel ridge regression and a ridge classifier on the means of the backbone's last
    stage ("pooled features"), a ridge classifier on Gram vectors. Enhancement is that of the held-out degraded crops.
    Raises HeldOutError where the workspace was not evaluated, or by a version that measured less.
    """
    profile = profile_of(settings, workspace)
    reports = workspace / REPORTS
    try:
        folds, pairs = (pd.read_parquet(reports / name) for name in ("folds.parquet", "per_pair.parquet"))
    except FileNotFoundError as error:
        raise HeldOutError(f"{error.filename} is missing; run `packshot evaluate` first") from error
    missing = sorted(set(PAIR_COLUMNS) - set(pairs.columns))
    if missing:
        raise HeldOutError(f"{reports / 'per_pair.parquet'} has no {', '.join(missing)}; run `packshot evaluate` again")
    data = load_dataset(workspace, profile)
    pooled = _pooled(data, read_record(workspace / BUNDLE).architecture.backbone)
    records: Records = []
    for name in profile.quality:
        rows = folds[(folds["source"] == name) & folds["quality_mos"].notna()]
        records += _quality(name, rows, data, pooled, profile, settings.training.seed) if len(rows) else []
    for name in profile.style:
        rows = folds[(folds["source"] == name) & folds["style"].notna()]
        records += _style(name, rows, data, pooled) if len(rows) else []
    records += _enhancement(pairs) if len(pairs) else []
    return pd.DataFrame(records, columns=list(COLUMNS))


def _quality(name: str, rows: pd.DataFrame, data: Dataset, pooled: Floats, profile: Profile, seed: int) -> Records:
    index = data.index.drop_duplicates("image_id").set_index("image_id")
    places = _places(rows, data)
    mos, fold = rows["quality_mos"].to_numpy(dtype=float), rows["fold"].to_numpy()
    mine = pooled[places]

    def ridge(learn: NDArray[np.bool_], test: NDArray[np.bool_]) -> Floats:
        z = _standardised(mine, learn)
        fitted = kernel_ridge(z[learn], mos[learn, None], LANDMARKS, seed)
        kernel = np.exp(-fitted.gamma * squared_distances(z[test], fitted.landmarks))
        return np.asarray((kernel @ fitted.weights + fitted.bias)[:, 0])

    def subset(learn: NDArray[np.bool_], test: NDArray[np.bool_]) -> Floats:
        known = rows["subset"].astype(str).to_numpy()
        return m.subset_baseline(list(known[learn]), mos[learn], list(known[test]))

    methods = {
        "Packshot": rows["quality_oof"].to_numpy(dtype=float),
        "pooled features + kernel ridge": _out_of_fold(fold, ridge),
        **{said: index.loc[rows["image_id"], column].to_numpy(dtype=float) for said, column in MEASURES.items()},
    }
    if rows["subset"].nunique() > 1:
        methods["mean of the subset"] = _out_of_fold(fold, subset)
    records: Records = []
    for method, predicted in methods.items():
        found = fold_figures(rows.assign(quality_oof=predicted), profile)
        for figure, said in QUALITY_FIGURES.items():
            if f"{figure}/{name}" in found:
                records.append(("quality", name, method, said, found[f"{figure}/{name}"]))
    return records


def _style(name: str, rows: pd.DataFrame, data: Dataset, pooled: Floats) -> Records:
    places = _places(rows, data)
    labels, fold = rows["style"].astype(str).to_numpy(), rows["fold"].to_numpy()
    names, codes = np.unique(labels, return_inverse=True)
    gram = data.gram.float().numpy()[places]

    def classify(values: Floats) -> Callable[[NDArray[np.bool_], NDArray[np.bool_]], Floats]:
        def predict(learn: NDArray[np.bool_], test: NDArray[np.bool_]) -> Floats:
            z = BLOCK_NORM * _standardised(values, learn)
            weights, bias = ridge_classifier(z[learn], codes[learn].tolist(), len(names))
            return np.asarray((z[test] @ weights.T + bias).argmax(axis=1), dtype=np.float64)

        return predict

    def majority(learn: NDArray[np.bool_], test: NDArray[np.bool_]) -> Floats:
        return np.full(int(test.sum()), float(np.bincount(codes[learn]).argmax()))

    calls = {
        "pooled features + ridge": classify(pooled[places]),
        "Gram vectors + ridge": classify(np.asarray(gram, dtype=np.float64)),
        "most frequent style": majority,
    }
    predicted = {method: names[_out_of_fold(fold, call).astype(int)] for method, call in calls.items()}
    predicted = {"Packshot": rows["style_oof"].astype(str).to_numpy(), **predicted}
    records: Records = []
    for method, found in predicted.items():
        by_fold = [m.accuracy(list(found[fold == each]), list(labels[fold == each])) for each in np.unique(fold)]
        records.append(("style", name, method, "accuracy, mean of folds", float(np.mean(by_fold))))
        records.append(("style", name, method, "macro-F1", m.macro_f1(list(found), list(labels))))
    return records


def _enhancement(pairs: pd.DataFrame) -> Records:
    records: Records = []
    for method, which in (("Packshot", "out"), ("CLAHE + denoise + unsharp, tuned", "classic")):
        for figure, said in (("psnr", "PSNR gain, dB"), ("ssim", "SSIM gain"), ("haarpsi", "HaarPSI gain")):
            gain = (pairs[f"{figure}_{which}"] - pairs[f"{figure}_in"]).mean()
            records.append(("enhancement", "degraded crops", method, said, float(gain)))
    return records


def _out_of_fold(fold: NDArray[np.int64], predict: Callable[[NDArray[np.bool_], NDArray[np.bool_]], Floats]) -> Floats:
    found = np.zeros(len(fold))
    for each in np.unique(fold):
        found[fold == each] = predict(fold != each, fold == each)
    return found


def _places(rows: pd.DataFrame, data: Dataset) -> NDArray[np.int64]:
    first = pd.Series(np.arange(len(data.index)), index=data.index["image_id"].astype(str))
    first = first[~first.index.duplicated()]
    return first.loc[rows["image_id"].astype(str)].to_numpy(dtype=np.int64)


def _pooled(data: Dataset, backbone: str) -> Floats:
    """Means of the last stage of the (first) backbone in the first view: what a frozen classifier would be given."""
    with torch.device("meta"):
        channels = build_backbone(backbone.split("+")[0]).channels
    start = 2 * sum(channels[:-1])
    return np.asarray(data.stats[:, start : start + channels[-1]].numpy(), dtype=np.float64)


def _standardised(values: Floats, learn: NDArray[np.bool_]) -> Floats:
    """Zero mean and unit deviation over `learn`, then scaled so that a typical pair is at distance 1."""
    mean, deviation = values[learn].mean(axis=0), values[learn].std(axis=0)
    z = (values - mean) / np.where(deviation > 0, deviation, 1.0)
    return np.asarray(z / np.sqrt(2 * max(z[learn].var(axis=0).sum(), 1e-12)))
