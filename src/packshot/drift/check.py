"""`packshot drift`: a scored batch against the data the champion learned from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from packshot.config import DriftSettings, Settings
from packshot.drift.alarm import Alarm, History, Window, judge_windows, utc_now
from packshot.drift.samples import (
    LABELS,
    PREDICTIONS,
    STATISTICS,
    Batch,
    ReferenceUnusable,
    Sample,
    VerdictsUnusable,
    read_batch,
    read_reference,
    thin,
)
from packshot.drift.summary import SIGNIFICANT, in_short
from packshot.drift.twosample import (
    Effect,
    Sides,
    TwoSample,
    between_groups,
    distances,
    effects,
    joint_test,
    novelty,
    novelty_test,
    permuted_groups,
    reference_windows,
    smallest_of,
)
from packshot.files import write_json
from packshot.home import Home

PER_GROUP = 32
EXAMPLES = 6
RESULT = "drift.json"


@dataclass(frozen=True)
class Reference:
    """Where a champion's reference lies, and which model it belongs to."""

    path: Path
    model_name: str
    model_version: int | None
    run_id: str | None

    @property
    def key(self) -> str:
        """Names the history of this model: its version, else its run, else the content of its reference."""
        if self.model_version is not None:
            return f"v{self.model_version}"
        content = self.path.read_bytes() if self.path.is_file() else b""
        return self.run_id or f"bundle-{hashlib.sha256(content).hexdigest()[:12]}"


@dataclass(frozen=True)
class DriftResult:
    """The outcome of one check; `p_value` None: not tested.

    `drifted`: what differs beyond chance, furthest first, each with its effect in standard deviations, p and example
    paths. Of an alarm it is never empty: where no single figure is beyond chance it names the `kind` 'view', what was
    compared as a whole, whose effect is in deviations of the null.
    """

    alarm: bool
    reason: str
    p_value: float | None
    statistic: float | None
    alpha: float
    n_batch: int
    n_groups: int
    n_reference: int
    n_reference_groups: int
    null: str
    views: Mapping[str, Mapping[str, float]]
    statistics: list[dict[str, Any]]
    drifted: list[dict[str, Any]]
    examples: list[str]
    beyond: int
    looked_at: int
    in_cooldown: bool
    cooldown_until: str | None
    batch_id: str
    model_version: int | None
    checked_at: str
    report_path: Path

    def as_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self) | {
            "report_path": str(self.report_path),
            "views": {k: dict(v) for k, v in self.views.items()},
        }


@dataclass(frozen=True)
class Comparison:
    """The statistics of a check, before any rule."""

    test: TwoSample | None
    effects: list[Effect]
    examples: dict[str, list[str]]
    null: str
    batch: Sample
    reference: Sample
    note: str = ""


def check(
    settings: Settings,
    verdicts: Path,
    *,
    model: str = "champion",
    out: Path | None = None,
    reference: Reference | None = None,
) -> DriftResult:
    """Compare a batch with the reference of the model that scored it; write `out/drift.json` and its page.

    `out` defaults to the folder of `verdicts`, `reference` to that of `model`. A batch of fewer than
    `drift.min_images` usable images is not tested and never alarms. Checking a batch again gives the same
    result and leaves one window in the history. Raises ReferenceUnusable, VerdictsUnusable.
    """
    from packshot.drift.page import write_page

    batch = read_batch(verdicts)
    reference = reference if reference is not None else open_reference(settings, model)
    _same_model(batch, reference, verdicts)
    compared = compare(batch, read_reference(reference.path), settings.drift)
    history = History(Home.from_environment().drift / f"{reference.key}.jsonl")
    target = out if out is not None else verdicts.parent
    with history.update():
        now = utc_now()
        p_value = compared.test.p_value if compared.test is not None else None
        alarm = judge_windows(p_value, history.before(batch.batch_id), settings.drift, now)
        window = history.put(Window(batch.batch_id, p_value, alarm.alarm, now.isoformat(timespec="seconds")))
    result = _result(settings.drift, batch, compared, alarm, window, target / "drift.html")
    write_page(result, compared, history.windows(), result.report_path)
    write_json(target / RESULT, result.as_record())
    return result


def open_reference(settings: Settings, model: str) -> Reference:
    """The reference in the bundle of an alias, a version number or a path."""
    from packshot.registry.models import judging_bundle

    folder, found = judging_bundle(settings, model)
    return Reference(folder / "reference.parquet", found.model_name, found.model_version, found.run_id)


def _same_model(batch: Batch, reference: Reference, verdicts: Path) -> None:
    theirs = (batch.model_version, batch.run_id)
    ours = (reference.model_version, reference.run_id)
    if theirs != ours:
        raise VerdictsUnusable(
            f"{verdicts} was scored by version {theirs[0]} (run {theirs[1]}), the reference is that of version "
            f"{ours[0]} (run {ours[1]}); scores of two models do not compare: score the batch again, or name its model"
        )


def compare(batch: Batch, reference: Sample, rules: DriftSettings) -> Comparison:
    """The two-sample test and what it is made of. Deterministic: the seed comes from the batch's id."""
    if len(batch.sample) < rules.min_images:
        note = f"not enough images: {len(batch.sample)} usable ones, {rules.min_images} are needed"
        return Comparison(None, [], {}, "none", batch.sample, reference, note)
    if batch.sample.vectors["embedding"].shape[1] != reference.vectors["embedding"].shape[1]:
        raise VerdictsUnusable(
            "the embeddings of the batch and of the reference differ in length; score the batch again"
        )
    rng = np.random.default_rng(int(hashlib.sha256(batch.batch_id.encode()).hexdigest()[:12], 16))
    if not _senders_matter(reference):
        return _by_senders(batch, reference, rules, rng)
    if batch.unknown_senders > rules.max_unknown_senders:
        return _by_windows(batch, reference, rules, rng, "senders of the batch unknown")
    if batch.sample.n_groups < 2:
        return _by_windows(batch, reference, rules, rng, "one sender alone")
    return _by_senders(batch, reference, rules, rng)


def _senders_matter(reference: Sample) -> bool:
    return len(reference) > 1.2 * reference.n_groups


def _by_senders(batch: Batch, reference: Sample, rules: DriftSettings, rng: np.random.Generator) -> Comparison:
    ours = thin(batch.sample, rules.max_images, PER_GROUP, rng)
    theirs = thin(reference, rules.max_images, PER_GROUP, rng)
    null = f"{ours.n_groups} senders of the batch and {theirs.n_groups} of the reference, permuted"
    if ours.n_groups < 2 or theirs.n_groups < 2:
        note = "not enough senders: one sender that looks different is no drift yet"
        return Comparison(None, [], {}, null, ours, theirs, note)
    groups = np.concatenate([ours.groups, theirs.groups + ours.n_groups])
    sides = permuted_groups(ours.n_groups, theirs.n_groups, rules.permutations, rng)
    images = {name: distances(values) for name, values in _views(ours, theirs).items()}
    test = joint_test({name: between_groups(matrix, groups) for name, matrix in images.items()}, sides)
    names, values, spreads = _figures(ours, theirs)
    means = pd.DataFrame(values).groupby(groups).mean().to_numpy()
    return Comparison(
        test,
        effects(names, means, spreads, sides),
        _examples(ours, images["embedding"], values, names),
        null,
        ours,
        theirs,
    )


def _by_windows(
    batch: Batch, reference: Sample, rules: DriftSettings, rng: np.random.Generator, why: str
) -> Comparison:
    theirs = thin(reference, rules.max_images, None, rng)
    ours = thin(batch.sample, max(len(theirs) // 2, rules.min_images), None, rng)
    null = f"{why}: against windows and single senders of the {theirs.n_groups} in the reference"
    if theirs.n_groups < 2:
        return Comparison(None, [], {}, null, ours, theirs, "the reference has one sender only")
    sides = reference_windows(len(ours), theirs.groups, rules.permutations, rng)
    views = {name: values for name, values in _views(ours, theirs).items() if name in ("embedding", "statistics")}
    images = {name: distances(values) for name, values in views.items()}
    test = smallest_of({name: _novelty(matrix, len(ours), theirs.groups, sides) for name, matrix in images.items()})
    names, values, spreads = _figures(ours, theirs)
    found = effects(names, values, spreads, sides)
    return Comparison(test, found, _examples(ours, images["embedding"], values, names), null, ours, theirs)


def _novelty(matrix: NDArray[np.float64], n_batch: int, groups: NDArray[np.intp], sides: Sides) -> Any:
    own = matrix[n_batch:, n_batch:].copy()
    own[groups[:, None] == groups[None, :]] = np.inf
    return novelty_test(novelty(matrix[:n_batch, n_batch:]), novelty(own), sides, groups)


def _views(ours: Sample, theirs: Sample) -> dict[str, NDArray[np.float64]]:
    numbers = np.vstack([ours.numbers, theirs.numbers])
    spread = numbers.std(axis=0)
    scaled = (numbers - numbers.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return {
        "embedding": np.vstack([ours.vectors["embedding"], theirs.vectors["embedding"]]),
        "style": np.vstack([ours.vectors["style_vector"], theirs.vectors["style_vector"]]),
        "statistics": scaled[:, : len(STATISTICS)],
        "predictions": scaled[:, len(STATISTICS) :],
    }


def _figures(ours: Sample, theirs: Sample) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Every figure of every image (batch first), and the standard deviation that makes effects of them."""
    names = [*STATISTICS, *PREDICTIONS]
    columns = [np.vstack([ours.numbers, theirs.numbers])]
    for label in LABELS:
        both = pd.concat([ours.labels[label], theirs.labels[label]], ignore_index=True)
        # A label that one side never fills in says nothing about the pictures.
        if ours.labels[label].notna().any() and theirs.labels[label].notna().any():
            for value in sorted(both.dropna().unique()):
                names.append(f"{label}={value}")
                columns.append((both == value).to_numpy(dtype=float)[:, None])
    values = np.hstack(columns)
    spread = np.sqrt((values[: len(ours)].var(axis=0) + values[len(ours) :].var(axis=0)) / 2.0)
    return names, values, spread


def _examples(
    ours: Sample, matrix: NDArray[np.float64], values: NDArray[np.float64], names: list[str]
) -> dict[str, list[str]]:
    """Paths of typical images of the batch: for a figure the furthest in the direction it moved, for
    `overall` those nearer to the batch than to the reference by most (the witness function of the distance)."""
    n = len(ours)
    witness = matrix[:n, n:].mean(axis=1) - matrix[:n, :n].mean(axis=1)
    direction = np.sign(values[:n].mean(axis=0) - values[n:].mean(axis=0))
    found = {"overall": _top(ours, witness)}
    for column, name in enumerate(names):
        found[name] = _top(ours, direction[column] * values[:n, column])
    return found


def _top(ours: Sample, scores: NDArray[np.float64]) -> list[str]:
    order = np.argsort(-scores, kind="stable")[:EXAMPLES]
    return [ours.paths[index] for index in order]


def _result(
    rules: DriftSettings, batch: Batch, compared: Comparison, alarm: Alarm, window: Window, page: Path
) -> DriftResult:
    test = compared.test
    rows = [_effect_row(effect) for effect in compared.effects]
    beyond = test is not None and test.p_value <= rules.alpha
    drifted = _drifted(test, rows, compared.examples, rules.alpha) if test is not None and beyond else []
    return DriftResult(
        alarm=alarm.alarm,
        reason=compared.note or _named(alarm, drifted),
        p_value=test.p_value if test else None,
        statistic=test.statistic if test else None,
        alpha=rules.alpha,
        n_batch=len(batch.sample),
        n_groups=batch.sample.n_groups,
        n_reference=len(compared.reference),
        n_reference_groups=compared.reference.n_groups,
        null=compared.null,
        views={name: asdict(view) for name, view in test.views.items()} if test else {},
        statistics=rows,
        drifted=drifted,
        examples=compared.examples.get("overall", []) if beyond else [],
        beyond=alarm.beyond,
        looked_at=alarm.looked_at,
        in_cooldown=alarm.in_cooldown,
        cooldown_until=alarm.cooldown_until,
        batch_id=batch.batch_id,
        model_version=batch.model_version,
        checked_at=window.checked_at,
        report_path=page,
    )


def _drifted(
    test: TwoSample, rows: Sequence[dict[str, Any]], examples: Mapping[str, list[str]], alpha: float
) -> list[dict[str, Any]]:
    """The figures that differ beyond chance; where none does by itself, the views that do, or the furthest of them."""
    figures = [row | {"kind": "figure", "examples": examples[row["name"]]} for row in rows]
    found = [row for row in figures if row["p_holm"] <= SIGNIFICANT]
    if not found:
        furthest = max(test.views.values(), key=lambda view: view.z)
        found = [
            {"name": name, "kind": "view", "reference": None, "batch": None, "effect": view.z}
            | {"p_value": view.p_value, "p_holm": None, "examples": examples["overall"]}
            for name, view in test.views.items()
            if view.p_value <= alpha or view is furthest
        ]
    return sorted(found, key=lambda row: -abs(row["effect"]))


def _named(alarm: Alarm, drifted: Sequence[Mapping[str, Any]]) -> str:
    """The reason of the rule; an alarm also says what it is for."""
    return f"{alarm.reason}; what drifted: {in_short(drifted)}" if alarm.alarm else alarm.reason


_LOGARITHMS = ("sharp_laplacian", "width", "height")


def _effect_row(effect: Effect) -> dict[str, Any]:
    row = asdict(effect)
    if effect.name in _LOGARITHMS:
        # Compared as logarithms; shown as the geometric mean, in the unit people know.
        row |= {"reference": float(np.expm1(effect.reference)), "batch": float(np.expm1(effect.batch))}
    return row


__all__ = ["DriftResult", "Reference", "ReferenceUnusable", "VerdictsUnusable", "check", "compare", "open_reference"]
