"""What other systems and people take from verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from packshot.cli.groups import export
from packshot.cli.shared import (
    Delimiter,
    Encoding,
    Images,
    JsonLines,
    OutFolder,
    Verdicts,
    emit,
)
from packshot.config import load_settings


@export.command("feed")
def export_feed(
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    verdicts: Verdicts = None,
) -> None:
    """Recommender feed: quality weight 0..1, style vector and demotion flags of every picture, in one Parquet file."""
    from packshot.exports.feed import write_feed
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_feed(settings.exports, chosen_verdicts(settings, verdicts), out))


@export.command("best")
def export_best(
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    verdicts: Verdicts = None,
) -> None:
    """Best picture of every SKU, the next best, and why; never a rejected one, a duplicate only for want of others."""
    from packshot.exports.best import write_best
    from packshot.ops.exporting import chosen_verdicts

    emit(write_best(chosen_verdicts(load_settings(), verdicts), out))


@export.command("google")
def export_google(
    out: JsonLines,
    verdicts: Verdicts = None,
    profile: Annotated[str, typer.Option(help="Of scoring.profiles: what is asked.")] = "google-merchant",
    destination: Annotated[str, typer.Option(help="Reporting context of the Merchant API.")] = "SHOPPING_ADS",
) -> None:
    """What Google Merchant Center would hold against each picture, as issues of its Merchant API; a line a picture.

    Pictures scored with another profile are asked by what was measured then; what was not is listed as not checked.
    """
    from packshot.exports.google import google_shape
    from packshot.exports.issues import write_issues
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    files = chosen_verdicts(settings, verdicts)
    emit(write_issues(settings.scoring, files, out, profile, google_shape(destination)))


@export.command("amazon")
def export_amazon(
    out: JsonLines,
    verdicts: Verdicts = None,
    profile: Annotated[str, typer.Option(help="Of scoring.profiles: what is asked.")] = "amazon-main",
) -> None:
    """What Amazon would hold against each main picture, as issues of its Listings Items API; a line a picture.

    Pictures scored with another profile are asked by what was measured then; what was not is listed as not checked.
    """
    from packshot.exports.amazon import amazon_shape
    from packshot.exports.issues import write_issues
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_issues(settings.scoring, chosen_verdicts(settings, verdicts), out, profile, amazon_shape))


@export.command("styles")
def export_styles(
    out: OutFolder,
    verdicts: Verdicts = None,
    catalog: Annotated[Path | None, typer.Option(help="CSV or Parquet with `path` and the date column.")] = None,
    date_column: Annotated[
        str | None, typer.Option(help="Column of --catalog with an ISO date; default: when a picture was scored.")
    ] = None,
    by_example: Annotated[
        bool, typer.Option("--by-example", help="Count your own styles (`packshot styles`), not those of the model.")
    ] = False,
    style_set: Annotated[
        str | None,
        typer.Option("--set", help="Of your own styles this set alone; default: what fits a picture best."),
    ] = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
) -> None:
    """Share of every style by category and month: styles.csv, styles_by_month.png, styles_by_category.png."""
    from packshot.exports.styles import write_styles
    from packshot.ops.exporting import catalog_months, chosen_verdicts
    from packshot.scoring.styles import chosen_styles

    settings = load_settings().catalog_read_as(delimiter, encoding)
    files = chosen_verdicts(settings, verdicts)
    months = catalog_months(settings, files, catalog, date_column)
    own = None
    if by_example or style_set is not None:
        own = {file.batch_id: chosen_styles(file.folder, style_set) for file in files}
    emit(write_styles(settings.exports, files, out, months, own))


@export.command("sellers")
def export_sellers(out: OutFolder, verdicts: Verdicts = None) -> None:
    """What each seller has to fix: sellers.csv, pictures.csv, and a page to send to each (index.html lists them)."""
    from packshot.exports.sellers import write_sellers
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_sellers(settings.exports, chosen_verdicts(settings, verdicts), out))


@export.command("renditions")
def export_renditions(
    out: Annotated[Path, typer.Option(help="Folder; the same one goes on, and makes only what is new or changed.")],
    verdicts: Verdicts = None,
    images: Images = None,
) -> None:
    """Accepted and enhanced pictures in the display sizes of exports.renditions; renditions.csv lists them."""
    from packshot.exports.renditions import write_renditions
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_renditions(settings, chosen_verdicts(settings, verdicts), out, images))


@export.command("tree")
def export_tree(
    out: OutFolder,
    verdicts: Verdicts = None,
    layout: Annotated[
        str, typer.Option(help="Folders, from decision, category, style, sku, sender and batch.")
    ] = "{decision}/{category}/{style}",
    placing: Annotated[
        Literal["link", "copy"], typer.Option(help="Hard links (a copy where the disk has none), or copies.")
    ] = "link",
    images: Images = None,
) -> None:
    """Accepted and enhanced pictures in a folder tree; never a rejected one, nor one changed since it was judged."""
    from packshot.exports.tree import write_tree
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_tree(settings.exports, chosen_verdicts(settings, verdicts), out, layout, placing, images))


@export.command("segments")
def export_segments(
    out: OutFolder,
    verdicts: Verdicts = None,
    catalog: Annotated[Path | None, typer.Option(help="CSV or Parquet with `path` and the brand column.")] = None,
    brand_column: Annotated[
        str | None, typer.Option(help="Column of --catalog with the brand; brands.csv is written then.")
    ] = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
) -> None:
    """Ad segments (style, category, band of quality) of the pictures to show, and how brands stand by style."""
    from packshot.exports.segments import write_segments
    from packshot.ops.exporting import catalog_column, chosen_verdicts

    settings = load_settings().catalog_read_as(delimiter, encoding)
    files = chosen_verdicts(settings, verdicts)
    brands = catalog_column(settings, files, catalog, brand_column)
    emit(write_segments(settings, files, out, brands))


@export.command("profile")
def export_profile(
    events: Annotated[
        Path, typer.Argument(metavar="EVENTS", help="CSV: user, event (view, click), path or sku, optionally time.")
    ],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    verdicts: Verdicts = None,
) -> None:
    """Each user's style vector and top styles from what they viewed and clicked; settings: exports.profile."""
    from packshot.exports.profile import write_profiles
    from packshot.ops.exporting import chosen_verdicts

    settings = load_settings()
    emit(write_profiles(settings.exports.profile, chosen_verdicts(settings, verdicts), events, out))
