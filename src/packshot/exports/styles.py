"""Which styles a catalogue holds, by category and month: an inventory, and its trend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from packshot.config import ExportSettings
from packshot.exports.copies import copies_in
from packshot.exports.output import folder_export
from packshot.exports.source import NothingToExport, VerdictFile
from packshot.progress import say
from packshot.spreadsheet import write_csv

KIND = "styles"
TABLE = "styles.csv"
COLUMNS = ("category", "month", "style", "images", "share", "weighted_share", "images_in_cell")
UNKNOWN = "unknown"
"""The style of pictures that the model is not sure enough of, and the category of pictures that name none."""
UNKNOWN_MONTH = "unknown"
OTHER = "other styles"
MOST_CATEGORIES, LONGEST_LABEL = 12, 40
_READ = ("path", "category", "style", "style_confidence", "scored_at", "duplicate_of", "error")
Cell = tuple[str, str]
"""Category and month."""


@dataclass
class Tally:
    """Pictures of one style in one cell, and the sum of their confidences."""

    images: int = 0
    confidence: float = 0.0


Cells = dict[Cell, dict[str, Tally]]


Own = Mapping[str, Mapping[str, tuple[str, str]]]
"""Of each batch, path to (set, style) of the user's own styles."""


def write_styles(
    rules: ExportSettings,
    files: Sequence[VerdictFile],
    out: Path,
    months: Mapping[str, str] | None = None,
    own: Own | None = None,
) -> dict[str, Any]:
    """Write styles.csv and two plots into the folder `out`.

    Counted is every judged picture that is no duplicate. `months`: path to `YYYY-MM`; by default a picture belongs to
    the month in which it was scored. `share` counts pictures, those below `exports.min_style_confidence` as unknown;
    `weighted_share` gives a style the sum of its confidences, and unknown the rest. Both sum to 1 over a cell. With
    `own` a picture has the style that it names, as `set/style` where there are several sets, and counts whole.
    Raises NothingToExport, OutputNotOurs.
    """
    cells = count_styles(rules, files, months, own)
    rows = list(style_rows(cells))
    if not rows:
        raise NothingToExport("no picture was judged, so there is no style to count")
    undated = sum(
        tally.images for (_, month), part in cells.items() if month == UNKNOWN_MONTH for tally in part.values()
    )
    if undated:
        say(f"{undated} picture(s) have no date that can be read; their month is `{UNKNOWN_MONTH}`")
    with folder_export(out, KIND, files) as building:
        write_csv(building / TABLE, COLUMNS, rows)
        images = sum(row["images"] for row in rows)
        _draw(_merged(cells, 1), f"Styles by month, n = {images}", building / "styles_by_month.png")
        categories = _merged(cells, 0)
        shown = _largest(categories)
        title = (
            f"Styles by category, {len(shown)} of {len(categories)}, n = {sum(sum(c.values()) for c in shown.values())}"
        )
        _draw(shown, title, building / "styles_by_category.png")
    return {"styles": str(out / TABLE), "images": images, "cells": len(cells), "without_date": undated}


def month_of(text: str | None) -> str:
    """`YYYY-MM` of an ISO date or time; `unknown` for anything else."""
    try:
        return datetime.fromisoformat((text or "").strip()).strftime("%Y-%m")
    except ValueError:
        return UNKNOWN_MONTH


def count_styles(
    rules: ExportSettings,
    files: Sequence[VerdictFile],
    months: Mapping[str, str] | None = None,
    own: Own | None = None,
) -> Cells:
    """Pictures and confidences of each style in each cell."""
    cells: Cells = {}
    copies = copies_in(files)
    several = len({held for styles in (own or {}).values() for held, _ in styles.values()}) > 1
    for batch, row in ((file.batch_id, row) for file in files for row in copies.each(file, _READ)):
        if row["error"] is not None or row["duplicate_of"] is not None:
            continue
        month = row["scored_at"].strftime("%Y-%m") if months is None else months.get(row["path"], UNKNOWN_MONTH)
        cell = cells.setdefault((row["category"] or UNKNOWN, month), {})
        confidence, named = float(row["style_confidence"] or 0.0), row["style"] or UNKNOWN
        if own is not None:
            held, style = own[batch].get(row["path"], ("", UNKNOWN))
            confidence, named = 1.0, f"{held}/{style}" if several and held else style
        sure = named != UNKNOWN and confidence >= rules.min_style_confidence
        cell.setdefault(named if sure else UNKNOWN, Tally()).images += 1
        cell.setdefault(named, Tally()).confidence += confidence if named != UNKNOWN else 0.0
    return cells


def style_rows(cells: Cells) -> Iterator[dict[str, Any]]:
    """The rows of the table, by category, month and style."""
    for (category, month), styles in sorted(cells.items()):
        images = sum(tally.images for tally in styles.values())
        left = images - sum(tally.confidence for tally in styles.values())
        for style in sorted({*styles, UNKNOWN}):
            tally = styles.get(style, Tally())
            weight = max(left, 0.0) if style == UNKNOWN else tally.confidence
            shares = {"share": tally.images / images, "weighted_share": weight / images}
            cell = {"category": category, "month": month, "images_in_cell": images}
            yield cell | {"style": style, "images": tally.images, **shares}


def _merged(cells: Cells, part: int) -> dict[str, dict[str, int]]:
    """Pictures by style for each category (part 0) or month (part 1)."""
    merged: dict[str, dict[str, int]] = {}
    for cell, styles in sorted(cells.items()):
        row = merged.setdefault(cell[part], {})
        for style, tally in styles.items():
            row[style] = row.get(style, 0) + tally.images
    return merged


def _largest(rows: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    by_size = sorted(rows, key=lambda name: (-sum(rows[name].values()), name))
    return {name: rows[name] for name in by_size[:MOST_CATEGORIES]}


def _draw(rows: Mapping[str, Mapping[str, int]], title: str, path: Path) -> None:
    """A bar for each row, its length shared out among the commonest styles; the first row on top."""
    from packshot.evaluation import plots

    names = _commonest(rows, len(plots.PALETTE) - 1)
    colours = dict(zip(names, plots.PALETTE, strict=False)) | {OTHER: plots.INK, UNKNOWN: plots.MUTED}
    fig, axes = plots.figure(8.2, 1.9 + 0.36 * len(rows))
    for place, styles in enumerate(rows.values()):
        images, left = max(sum(styles.values()), 1), 0.0
        for name in colours:
            share = _of(styles, name, names) / images
            axes.barh(place, share, 0.66, left=left, color=colours[name])
            left += share
    for name, colour in colours.items():
        if any(_of(styles, name, names) for styles in rows.values()):
            axes.plot([], [], "s", color=colour, label=_label(name.replace("_", " ")))
    labels = [f"{_label(name)}  (n = {sum(styles.values())})" for name, styles in rows.items()]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of pictures")
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.grid(axis="y", visible=False)
    fig.suptitle(title, fontsize=11, color=plots.INK)
    fig.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    plots.save(fig, path)


def _label(name: str) -> str:
    """A stranger's name as plain text: a dollar sign would start a formula."""
    return name[:LONGEST_LABEL].replace("$", r"\$")


def _commonest(rows: Mapping[str, Mapping[str, int]], most: int) -> list[str]:
    totals: dict[str, int] = {}
    for styles in rows.values():
        for name, count in styles.items():
            totals[name] = totals.get(name, 0) + count
    totals.pop(UNKNOWN, None)
    return sorted((name for name in totals if totals[name]), key=lambda n: (-totals[n], n))[:most]


def _of(styles: Mapping[str, int], name: str, named: Sequence[str]) -> int:
    if name == OTHER:
        return sum(count for style, count in styles.items() if style not in named and style != UNKNOWN)
    return styles.get(name, 0)
