"""Does the judge treat slices of a batch alike? A difference in score that damage explains is no finding.

The score is regressed on what the judge measures as damage (sharpness, colour balance, detail) and on the size of the
picture; the gap of a slice is the coefficient of belonging to it beside these (Frisch & Waugh 1933). Its error is
bootstrapped over senders, since pictures of one sender are alike, and its interval widened for the number of slices
looked at (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
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
from packshot.scoring.decisions import ATTRIBUTES
from packshot.scoring.verdicts import read_verdicts
from packshot.spreadsheet import write_csv

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
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
DRAWN_AT_ONCE = 4_000_000
"""Groups times resamples that are held at once."""
MOST_DRAWN = 40
"""Slices that the plot shows at most, those with the largest gaps."""
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
class Compared:
    """Of each slice: the gap that damage leaves, its standard error, whether it can be told from the damage, and how
    many groups it has."""

    gap: Floats
    error: Floats
    certain: NDArray[np.bool_]
    groups: NDArray[np.integer[Any]]


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
    write_csv(table, [column.name for column in fields(Slice)], [asdict(one) for one in slices])
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
    Time and memory grow with rows plus slices, not with their product.
    """
    chosen = {name: _members(frame[name], rules) for name in by}
    count = sum(len(values) for values, _ in chosen.values())
    if not count:
        return [], 0.0
    explaining = _orthonormal(frame)
    score = frame["quality"].to_numpy(dtype=float)
    left = score - explaining @ (explaining.T @ score)
    explained = float(1 - np.square(left).sum() / max(np.square(score - score.mean()).sum(), 1e-12))
    bound = NormalDist().inv_cdf(1 - (1 - rules.confidence) / count / 2)
    slices: list[Slice] = []
    for name, (values, members) in chosen.items():
        if values:
            compared = _compared(explaining, left, members, len(values), _groups(frame, name))
            slices.extend(_slices(frame, name, values, members, compared, bound, rules))
    return sorted(slices, key=lambda one: -abs(one.gap)), explained


def _members(column: pd.Series, rules: AuditSettings) -> tuple[list[str], Codes]:
    """The values that are frequent enough, sorted, and of each row which of them it has; -1: another."""
    counts = column.value_counts()
    large = counts[(counts >= rules.min_images) & (counts <= len(column) - rules.min_images)]
    values = sorted(large.index)
    codes = pd.Categorical(column, categories=values).codes.astype(np.int64)
    return [str(value) for value in values], codes


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


def _slices(
    frame: pd.DataFrame,
    by: str,
    values: Sequence[str],
    members: Codes,
    compared: Compared,
    bound: float,
    rules: AuditSettings,
) -> Iterator[Slice]:
    quality = frame["quality"].to_numpy(dtype=float)
    images = _sums(members, len(values), np.ones(len(frame)))
    total, accepted, rejected = (
        _sums(members, len(values), one)
        for one in (quality, frame["decision"].isin(["accept", "enhance"]), frame["decision"] == "reject")
    )
    elsewhere = (quality.sum() - total) / (len(frame) - images)
    for i, value in enumerate(values):
        certain = bool(compared.certain[i])
        gap, error = (float(compared.gap[i]), float(compared.error[i])) if certain else (0.0, 0.0)
        low, high = gap - bound * error, gap + bound * error
        finding: Finding = "gap" if abs(gap) > rules.max_gap and not low <= 0 <= high else "none"
        if compared.groups[i] < rules.min_groups:
            finding = "too few groups"
        if not certain:
            finding = "cannot be told apart"
        yield Slice(
            by=by,
            value=value,
            images=int(images[i]),
            groups=int(compared.groups[i]),
            quality=float(total[i] / images[i]),
            accepted=float(accepted[i] / images[i]),
            rejected=float(rejected[i] / images[i]),
            raw_gap=float(total[i] / images[i] - elsewhere[i]),
            gap=gap,
            low=low,
            high=high,
            finding=finding,
        )


def _sums(members: Codes, count: int, of: Any) -> Floats:
    """The sum of a value of each row over the rows of each slice."""
    inside = members >= 0
    return np.bincount(members[inside], np.asarray(of, dtype=float)[inside], minlength=count).astype(np.float64)


def _groups(frame: pd.DataFrame, by: str) -> pd.Series:
    """What is drawn together: pictures of one sender; where senders are compared, of one SKU; else each alone."""
    names = ["sku"] if by == "sender" else ["sender", "sku"]
    found = frame["path"].map("path:{}".format)
    for name in reversed(names):
        found = found.where(frame[name].isna(), name + ":" + frame[name].astype(str))
    return found


def _compared(explaining: Floats, left: Floats, members: Codes, count: int, groups: pd.Series) -> Compared:
    """The gap of each slice and its error, all at once.

    The residual of a slice is own = belongs - E c, with E the orthonormal basis and c = E' belongs. Its coefficient,
    sum(own * left) / sum(own^2), is a ratio of sums over groups in which all but E c concerns the members alone: those
    are kept sparse, and what concerns every row is summed once for all slices.
    """
    from scipy import sparse

    codes, names = pd.factorize(groups, sort=True)
    inside = members >= 0
    rows, slices, drawn_as = np.flatnonzero(inside), members[inside], codes[inside]
    shares = np.stack([_sums(members, count, column) for column in explaining.T])
    shape = (len(names), count)
    product = sparse.csr_matrix((left[rows], (drawn_as, slices)), shape=shape)
    own = 1 - 2 * np.einsum("ik,ki->i", explaining[rows], shares[:, slices])
    square = sparse.csr_matrix((own, (drawn_as, slices)), shape=shape)
    with_left = _by_group(codes, len(names), explaining * left[:, None])
    size = explaining.shape[1]
    pairs = _by_group(codes, len(names), np.einsum("ik,il->ikl", explaining, explaining).reshape(-1, size * size))
    both = np.einsum("ks,ls->kls", shares, shares).reshape(size * size, count)

    def sums(weights: Floats) -> tuple[Floats, Floats]:
        above = (product.T @ weights.T).T - (weights @ with_left) @ shares
        below = (square.T @ weights.T).T + (weights @ pairs) @ both
        return above, below

    whole, certainty = (part[0] for part in sums(np.ones((1, len(names)))))
    images = _sums(members, count, np.ones(len(members)))
    certain = certainty > LEAST_LEFT * images * (1 - images / len(members))
    drawn = np.concatenate([_ratio(*sums(weights)) for weights in _draws(len(names))])
    groups_of = np.diff(product.tocsc().indptr)
    return Compared(_ratio(whole, certainty), _spread(drawn, certain), certain, groups_of)


def _ratio(above: Floats, below: Floats) -> Floats:
    ratio: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 1e-12)
    return ratio


def _spread(drawn: Floats, certain: NDArray[np.bool_]) -> Floats:
    """The standard deviation over the resamples in which the slice occurs; 0 for slices that say nothing."""
    spread = np.zeros(drawn.shape[1])
    spread[certain] = np.nanstd(drawn[:, certain], axis=0, ddof=1)
    return spread


def _by_group(codes: Codes, count: int, columns: Floats) -> Floats:
    """Column sums over the rows of each group; groups x columns."""
    return np.stack([np.bincount(codes, column, minlength=count) for column in columns.T], axis=1)


def _draws(groups: int) -> Iterator[Floats]:
    """How often each group is drawn in each of RESAMPLES resamples, some of them at a time."""
    luck = np.random.default_rng(0)
    at_once = max(1, min(RESAMPLES, DRAWN_AT_ONCE // groups))
    for start in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - start)
        yield np.stack([np.bincount(luck.integers(0, groups, groups), minlength=groups) for _ in range(count)]).astype(
            np.float64
        )


def _draw(slices: Sequence[Slice], explained: float, rows: int, rules: AuditSettings, path: Path) -> None:
    foremost = sorted(slices, key=lambda one: (one.finding != "gap", -abs(one.gap)))[:MOST_DRAWN]
    shown = sorted(foremost, key=lambda one: (one.by, one.gap))
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
    title += f"the {len(shown)} largest are shown; " if len(shown) < len(slices) else ""
    title += f"n = {rows}; damage and size explain {explained:.0%} of the score's variance"
    fig.suptitle(title, fontsize=11, color=plots.INK)
    axes.set_xlabel("dot: gap that damage does not explain, with interval; tick: raw difference", fontsize=9)
    axes.grid(axis="y", visible=False)
    plots.save(fig, path)
