"""Does the judge treat slices of a batch alike? A difference in score that damage explains is no finding.

The score is regressed on what the judge measures as damage (sharpness, colour balance, detail) and on the size of the
picture; the gap of a slice is the coefficient of belonging to it beside these (Frisch & Waugh 1933). Its error is
bootstrapped over senders, since pictures of one sender are alike, and its interval widened for the number of slices
looked at (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from packshot.catalog.shop.matching import KnownFiles, read_facts
from packshot.catalog.statistics import WHITE_FROM
from packshot.config import AuditSettings, Settings
from packshot.errors import PackshotError
from packshot.evaluation import plots
from packshot.evaluation.resampling import group_weights
from packshot.files import atomic_path
from packshot.scoring.decisions import ATTRIBUTES
from packshot.scoring.verdicts import read_verdicts

Floats = NDArray[np.float64]
Finding = Literal["gap", "none", "too few groups", "cannot be told apart"]
LIGHTNESS = "product lightness"
OF_THE_VERDICTS = ("category", "sender", "style")
OF_THE_CATALOG = ("category", "sender", "sku")
"""Columns of the verdicts that are filled in from a catalogue where scoring knew none."""
BY_DEFAULT = ("category", "sender", LIGHTNESS)
_COLUMNS = (
    *("path", "sku", "quality", "decision", "error", "width", "height", "brightness", "white_share"),
    *OF_THE_VERDICTS,
    *ATTRIBUTES,
)
WHITE = WHITE_FROM / 255
RESAMPLES = 1000
LEAST_LEFT = 0.01
"""A slice of which damage explains all but this share cannot be told apart from the damage."""


class NothingToAudit(PackshotError):
    """No slice of the batch is large enough, or nothing of it was judged."""

    exit_code = 65


@dataclass(frozen=True)
class Slice:
    """One slice. Scores and gaps in 0..1; `low` and `high` bound `gap`; shares of its own images."""

    by: str
    value: str
    images: int
    groups: int
    quality: float
    accepted: float
    rejected: float
    raw_gap: float
    """Mean score here minus elsewhere."""
    gap: float
    """The part of it that damage and size do not explain."""
    low: float
    high: float
    finding: Finding


@dataclass(frozen=True)
class AuditReport:
    """All slices of one batch, the largest gap first."""

    slices: tuple[Slice, ...]
    not_compared: tuple[str, ...]
    """What was asked for, but has no slice that is large enough."""
    explained: float
    """Share of the variance of the score that damage and size explain, 0..1."""
    rows: int
    table: Path
    plot: Path

    @property
    def gaps(self) -> tuple[Slice, ...]:
        """The slices with a finding."""
        return tuple(one for one in self.slices if one.finding == "gap")

    def as_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "rows": self.rows,
            "slices": len(self.slices),
            "not_compared": list(self.not_compared),
            "explained": self.explained,
            "gaps": [asdict(one) for one in self.gaps],
            "table": str(self.table),
            "plot": str(self.plot),
        }


def audit(settings: Settings, folder: Path, by: Sequence[str] = BY_DEFAULT, catalog: Path | None = None) -> AuditReport:
    """Audit `folder/verdicts.parquet`; write `audit.csv` and `audit.png` beside it.

    `by` names columns of the verdicts (category, sender, style), `product lightness`, or columns of `catalog`. Where
    the verdicts have no category, sender or SKU of a picture, those of `catalog` count: senders also tell which
    pictures are evidence of one kind.
    Raises NothingToAudit, VerdictsUnreadable, CatalogUnreadable.
    """
    frame = read_verdicts(folder / "verdicts.parquet", _COLUMNS).to_pandas()
    frame = frame[frame["error"].isna() & frame["quality"].notna()].reset_index(drop=True)
    frame[LIGHTNESS] = product_lightness(frame)
    foreign = [name for name in by if name not in (*OF_THE_VERDICTS, LIGHTNESS)]
    if foreign and catalog is None:
        known = ", ".join((*OF_THE_VERDICTS, LIGHTNESS))
        raise NothingToAudit(
            f"the verdicts have no column {foreign[0]!r} to audit by; they have {known}. "
            "Name the catalogue that has it with --catalog"
        )
    if catalog is not None:
        facts = read_facts(catalog, settings.catalog, KnownFiles(frame["path"]), OF_THE_CATALOG, foreign)
        for name in (*OF_THE_CATALOG, *foreign):
            there = pd.Series([facts.get(path, {}).get(name) for path in frame["path"]], frame.index, dtype=object)
            frame[name] = frame[name].where(frame[name].notna(), there) if name in OF_THE_CATALOG else there
    slices, explained = audit_slices(frame, by, settings.audit)
    if not slices:
        raise NothingToAudit(
            f"{folder}: no value of {', '.join(by)} has {settings.audit.min_images} judged images beside "
            f"as many others, of {len(frame)} in all; audit a larger batch, or lower audit.min_images"
        )
    table, plot = folder / "audit.csv", folder / "audit.png"
    with atomic_path(table) as temporary:
        pd.DataFrame([asdict(one) for one in slices]).round(5).to_csv(temporary, index=False)
    _draw(slices, explained, len(frame), settings.audit, plot)
    compared = {one.by for one in slices}
    not_compared = tuple(name for name in by if name not in compared)
    return AuditReport(tuple(slices), not_compared, explained, len(frame), table, plot)


def product_lightness(frame: pd.DataFrame) -> pd.Series:
    """dark, medium or light, by thirds of the batch: the mean luma of what is not white ground."""
    white = frame["white_share"].clip(upper=0.99)
    product = (frame["brightness"] - WHITE * white).clip(lower=0) / (1 - white)
    if len(frame) < 3 or product.nunique() < 3:
        return pd.Series("medium", index=frame.index)
    return pd.qcut(product.rank(method="first"), 3, labels=["dark", "medium", "light"]).astype(str)


def audit_slices(frame: pd.DataFrame, by: Sequence[str], rules: AuditSettings) -> tuple[list[Slice], float]:
    """Every slice that is large enough, the largest gap first, and the share of variance that damage explains.

    `frame` has the columns `quality`, `decision`, the damage, `width`, `height`, `sender`, `sku`, `path` and `by`.
    """
    chosen = [
        (name, str(value), (frame[name] == value).to_numpy())
        for name in by
        for value, count in frame[name].value_counts().sort_index().items()
        if rules.min_images <= count <= len(frame) - rules.min_images
    ]
    if not chosen:
        return [], 0.0
    explaining = _orthonormal(frame)
    score = frame["quality"].to_numpy(dtype=float)
    left = score - explaining @ (explaining.T @ score)
    explained = float(1 - np.square(left).sum() / max(np.square(score - score.mean()).sum(), 1e-12))
    bound = NormalDist().inv_cdf(1 - (1 - rules.confidence) / len(chosen) / 2)
    slices = [_slice(frame, name, value, member, explaining, left, bound, rules) for name, value, member in chosen]
    return sorted(slices, key=lambda one: -abs(one.gap)), explained


def _orthonormal(frame: pd.DataFrame) -> Floats:
    """An orthonormal basis of 1, the damage and the logarithm of the size; rows x at most 5."""
    size = np.log(frame["width"].astype(float) * frame["height"].astype(float))
    columns = [np.ones(len(frame)), *(frame[name].astype(float) for name in ATTRIBUTES), size]
    matrix = np.stack([np.asarray(column, dtype=float) for column in columns], axis=1)
    matrix[:, 1:] -= matrix[:, 1:].mean(axis=0)
    spread = matrix.std(axis=0)
    matrix[:, 1:] /= np.where(spread[1:] > 1e-9, spread[1:], 1)
    left, strength, _ = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray(left[:, strength > 1e-6 * strength[0]])


def _slice(
    frame: pd.DataFrame,
    by: str,
    value: str,
    member: NDArray[np.bool_],
    explaining: Floats,
    left: Floats,
    bound: float,
    rules: AuditSettings,
) -> Slice:
    groups = _groups(frame, by)
    belongs = member.astype(float)
    own = belongs - explaining @ (explaining.T @ belongs)
    certain = float(np.square(own).sum()) > LEAST_LEFT * float(np.square(belongs - belongs.mean()).sum())
    gap, error = _coefficient(own, left, groups) if certain else (0.0, 0.0)
    low, high = gap - bound * error, gap + bound * error
    here = frame[member]
    count = int(groups[member].nunique())
    finding: Finding = "gap" if abs(gap) > rules.max_gap and not low <= 0 <= high else "none"
    if count < rules.min_groups:
        finding = "too few groups"
    if not certain:
        finding = "cannot be told apart"
    return Slice(
        by=by,
        value=value,
        images=len(here),
        groups=count,
        quality=float(here["quality"].mean()),
        accepted=float(here["decision"].isin(["accept", "enhance"]).mean()),
        rejected=float((here["decision"] == "reject").mean()),
        raw_gap=float(here["quality"].mean() - frame.loc[~member, "quality"].mean()),
        gap=gap,
        low=low,
        high=high,
        finding=finding,
    )


def _groups(frame: pd.DataFrame, by: str) -> pd.Series:
    """What is drawn together: pictures of one sender; where senders are compared, of one SKU; else each alone."""
    names = ["sku"] if by == "sender" else ["sender", "sku"]
    found = frame["path"].map("path:{}".format)
    for name in reversed(names):
        found = found.where(frame[name].isna(), name + ":" + frame[name].astype(str))
    return found


def _coefficient(own: Floats, left: Floats, groups: pd.Series) -> tuple[float, float]:
    """Least-squares coefficient of the residual slice on the residual score, and its standard error over groups."""
    sums = pd.DataFrame({"product": own * left, "square": own * own}).groupby(groups.to_numpy()).sum()
    weights = group_weights(list(sums.index), RESAMPLES, seed=0)
    above, below = weights @ sums["product"].to_numpy(), weights @ sums["square"].to_numpy()
    gap = float(sums["product"].sum() / sums["square"].sum())
    drawn = above[below > 0] / below[below > 0]
    return gap, float(drawn.std(ddof=1))


def _draw(slices: Sequence[Slice], explained: float, rows: int, rules: AuditSettings, path: Path) -> None:
    shown = sorted(slices, key=lambda one: (one.by, one.gap))
    fig, axes = plots.figure(7.6, 1.9 + 0.3 * len(shown))
    axes.axvspan(-rules.max_gap, rules.max_gap, color=plots.GRID, alpha=0.7, linewidth=0)
    axes.axvline(0, color=plots.INK, linewidth=1)
    colours = {"gap": plots.BAD, "none": plots.PALETTE[0]}
    for place, one in enumerate(shown):
        colour = colours.get(one.finding, plots.MUTED)
        axes.errorbar(one.gap, place, xerr=one.high - one.gap, fmt="o", color=colour, capsize=3, markersize=5)
        axes.plot(one.raw_gap, place, "|", color=plots.INK, markersize=9)
    labels = [f"{one.by}: {one.value}  (n = {one.images})" for one in shown]
    axes.set_yticks(range(len(shown)), labels)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    count = sum(one.finding == "gap" for one in slices)
    title = f"Score here against elsewhere: {count} of {len(slices)} slices with an unexplained gap\n"
    title += f"n = {rows}; damage and size explain {explained:.0%} of the score's variance"
    fig.suptitle(title, fontsize=11, color=plots.INK)
    axes.set_xlabel("dot: gap that damage does not explain, with interval; tick: raw difference", fontsize=9)
    axes.grid(axis="y", visible=False)
    plots.save(fig, path)
