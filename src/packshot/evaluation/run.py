"""The evaluation step: held-out and cross-validated figures of the trained bundle, with plots, into the workspace."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from packshot.bundle import read_record
from packshot.config import Profile, Settings
from packshot.evaluation import metrics as m
from packshot.evaluation import plots
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.heldout import (
    HeldOut,
    HeldOutError,
    profile_of,
    score_heldout_once,
)
from packshot.evaluation.layout import BUNDLE, EVALUATED, METRICS, REPORTS
from packshot.evaluation.slices import SMALLEST_SLICE
from packshot.files import atomic_path, write_json, write_parquet
from packshot.progress import say
from packshot.revision import data_rev
from packshot.training.crossval import cross_validate
from packshot.training.dataset import load_dataset, load_pairs
from packshot.training.few_shot import few_shot_figures
from packshot.training.unseen import unseen_family_figures


def evaluate(settings: Settings, workspace: Path) -> dict[str, float]:
    """Score `models/packshot`, cross-validate its recipe, and write `reports/evaluation/`.

    metrics.json (flat, no NaN), per_image.parquet, per_pair.parquet, per_single.parquet, folds.parquet, evaluated.json
    (which bundle these are figures of), plots/*.png and, for `dvc plots`, plots/*.csv. Returns the figures.
    """
    bundle = workspace / BUNDLE
    if not (bundle / "bundle.json").is_file():
        raise HeldOutError(f"{bundle} holds no bundle.json; run `packshot train` first")
    profile = profile_of(settings, workspace)
    scored = score_heldout_once(bundle, settings, workspace)
    folds = cross_validate(settings, workspace)
    learned = {name: value for name, value in read_record(bundle).metrics.items() if name.startswith("interval/")}
    data = load_dataset(workspace, profile)
    unseen = unseen_family_figures(settings, data, load_pairs(workspace))
    examples = few_shot_figures(settings, data, profile)
    found = {**scored.metrics, **fold_figures(folds, profile), **learned, **unseen, **examples}
    reports = workspace / REPORTS
    # Figures of an earlier bundle must not stand beside new ones, should this be killed half-way.
    (reports / EVALUATED).unlink(missing_ok=True)
    for name in ("per_image", "per_pair", "per_single"):
        write_parquet(reports / f"{name}.parquet", getattr(scored, name))
    write_parquet(reports / "folds.parquet", folds)
    draw(scored, found, profile, settings, reports / "plots")
    write_json(reports / METRICS, found)
    write_json(reports / EVALUATED, {"bundle_sha256": bundle_digest(bundle), "data_rev": data_rev(workspace)})
    say(f"{len(found)} figures and {len(list((reports / 'plots').glob('*.png')))} plots in {reports}")
    return found


def fold_figures(folds: pd.DataFrame, profile: Profile) -> dict[str, float]:
    """Mean and standard deviation (over folds, n - 1) of SRCC, PLCC and style accuracy; mean SRCC within each subset,
    and their mean; ECE over the rows of all folds.

    A figure is absent where it is undefined in any fold: a mean over the other folds would flatter.
    """
    found: dict[str, float] = {}
    for name in profile.quality:
        rows = folds[(folds["source"] == name) & folds["quality_mos"].notna()]
        parts = [part for _, part in rows.groupby("fold")]
        found |= _over("quality/srcc_folds", name, [(m.srcc, p["quality_oof"], p["quality_mos"]) for p in parts])
        found |= _over("quality/plcc_folds", name, [(m.plcc, p["quality_oof"], p["quality_mos"]) for p in parts])
        found |= _subset_figures(name, rows)
    for name in profile.style:
        rows = folds[(folds["source"] == name) & folds["style"].notna()]
        parts = [part for _, part in rows.groupby("fold")]
        if "style_confidence_oof" in rows and len(rows):
            right = (rows["style_oof"] == rows["style"]).to_numpy(dtype=float)
            found[f"style/ece_folds/{name}"] = m.ece(rows["style_confidence_oof"], right)
        found |= _over(
            "style/accuracy_folds", name, [(m.accuracy, list(p["style_oof"]), list(p["style"])) for p in parts]
        )
    return found


def _subset_figures(name: str, rows: pd.DataFrame) -> dict[str, float]:
    found: dict[str, float] = {}
    for subset, part in rows.groupby("subset"):
        folds = [each for _, each in part.groupby("fold")]
        if min(len(each) for each in folds) >= SMALLEST_SLICE:
            calls: list[tuple[object, object, object]]
            calls = [(m.srcc, each["quality_oof"], each["quality_mos"]) for each in folds]
            means = _over("quality/srcc_folds", f"{name}/{subset}", calls)
            found |= {key: value for key, value in means.items() if "_std" not in key}
    return found | ({f"quality/srcc_within_folds/{name}": float(np.mean(list(found.values())))} if found else {})


def draw(scored: HeldOut, found: dict[str, float], profile: Profile, settings: Settings, folder: Path) -> None:
    """All plots and the CSVs behind them, into an emptied `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in profile.quality:
        rows = scored.per_image[(scored.per_image["source"] == name) & scored.per_image["quality_mos"].notna()]
        if f"quality/srcc/{name}" in found:
            _draw_quality(name, rows, found, settings, folder)
    for name in profile.style:
        rows = scored.per_image[(scored.per_image["source"] == name) & scored.per_image["style"].notna()]
        if f"style/accuracy/{name}" in found:
            _draw_style(name, rows, found, folder)
    if not scored.per_pair.empty:
        _draw_enhance(scored.per_pair, found, folder)
    _tables(scored, folder)


def _over(figure: str, name: str, calls: list[tuple[object, object, object]]) -> dict[str, float]:
    values = []
    for call, predicted, actual in calls:
        try:
            values.append(float(call(predicted, actual)))  # type: ignore[operator]
        except m.MetricError as error:
            say(f"{figure}/{name} is left out: undefined in one fold ({error})")
            return {}
    if len(values) < 2:
        return {}
    found = {f"{figure}/{name}": float(np.mean(values))}
    return found if "plcc" in figure else found | {f"{figure}_std/{name}": float(np.std(values, ddof=1))}


def _draw_quality(name: str, rows: pd.DataFrame, found: dict[str, float], settings: Settings, folder: Path) -> None:
    title = f"{name}: quality against human scores\nn = {len(rows)}, SRCC {found[f'quality/srcc/{name}']:.3f}"
    plots.quality_scatter(rows, title, folder / f"quality_{name}.png")
    prefix = f"quality/srcc/{name}/"
    model = {"all": found[f"quality/srcc/{name}"]}
    if f"quality/srcc_folds/{name}" in found:
        model["all, mean of folds"] = found[f"quality/srcc_folds/{name}"]
    model |= {key.removeprefix(prefix): value for key, value in sorted(found.items()) if key.startswith(prefix)}
    baseline = found.get(f"quality/srcc_subset_baseline/{name}")
    whisker = found.get(f"quality/srcc_folds_std/{name}")
    plots.srcc_bars(
        model,
        {"all": baseline} if baseline is not None else {},
        {"all, mean of folds": whisker} if whisker is not None else {},
        f"{name}: rank correlation with human scores, n = {len(rows)}",
        folder / f"srcc_{name}.png",
    )
    _draw_coverage(name, rows, found, settings, folder)


def _draw_coverage(name: str, rows: pd.DataFrame, found: dict[str, float], settings: Settings, folder: Path) -> None:
    prefix = f"quality/coverage/{name}"
    if prefix not in found:
        return
    share = {"all": found[prefix]}
    share |= {k.removeprefix(f"{prefix}/"): v for k, v in sorted(found.items()) if k.startswith(f"{prefix}/")}
    sizes = {"all": len(rows)} | {str(subset): len(part) for subset, part in rows.groupby("subset")}
    title = f"{name}: interval coverage, n = {len(rows)}, {share['all']:.1%}"
    plots.coverage_bars(share, sizes, settings.evaluation.interval_coverage, title, folder / f"coverage_{name}.png")


def _draw_style(name: str, rows: pd.DataFrame, found: dict[str, float], folder: Path) -> None:
    right = found[f"style/accuracy/{name}"]
    title = f"{name}: style, n = {len(rows)}, accuracy {right:.1%}"
    plots.confusion(list(rows["style"]), list(rows["style_pred"]), title, folder / f"style_{name}.png")
    if f"style/ece/{name}" in found:
        correct = (rows["style_pred"] == rows["style"]).to_numpy().astype(np.float64)
        confidence = rows["style_confidence"].to_numpy(dtype=float)
        title = f"{name}: is the style confidence earned?\nn = {len(rows)}, ECE {found[f'style/ece/{name}']:.3f}"
        plots.reliability(confidence, correct, title, folder / f"reliability_{name}.png")


def _draw_enhance(pairs: pd.DataFrame, found: dict[str, float], folder: Path) -> None:
    enhanced = (pairs["psnr_out"] - pairs["psnr_in"]).to_numpy(dtype=float)
    classic = (pairs["psnr_classic"] - pairs["psnr_in"]).to_numpy(dtype=float)
    over = found["enhance/psnr_gain_over_classic"]
    title = f"Enhancer on degraded held-out pictures\nn = {len(pairs)}, {over:+.2f} dB over the classic chain"
    plots.gain_histogram(enhanced, classic, title, folder / "enhance_gain.png")


def _tables(scored: HeldOut, folder: Path) -> None:
    rows = scored.per_image
    quality = rows[rows["quality_mos"].notna()]
    _csv(
        pd.DataFrame({"predicted": quality["quality"], "actual": quality["quality_mos"], "subset": quality["subset"]}),
        folder / "quality.csv",
    )
    style = rows[rows["style"].notna()]
    _csv(pd.DataFrame({"actual": style["style"], "predicted": style["style_pred"]}), folder / "style.csv")
    pairs = scored.per_pair
    gains = {"family": pairs["family"], "psnr_in": pairs["psnr_in"]}
    gains |= {"gain": pairs["psnr_out"] - pairs["psnr_in"], "gain_classic": pairs["psnr_classic"] - pairs["psnr_in"]}
    _csv(pd.DataFrame(gains), folder / "enhance.csv")


def _csv(frame: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        frame.round(5).to_csv(temporary, index=False)
