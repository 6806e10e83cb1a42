"""What an export is made from: the verdicts named, else all that the champion scored, and what a catalogue adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from packshot.config import Settings
from packshot.exports.source import VerdictFile, open_verdicts
from packshot.exports.styles import month_of
from packshot.ops.pipeline import champion_version, inbox_batches, verdict_folder
from packshot.scoring.listing import CatalogUnreadable, read_catalog_columns


def chosen_verdicts(settings: Settings, folders: Sequence[Path] | None) -> list[VerdictFile]:
    """The verdict files in `folders`; by default of every batch of the inbox that the champion scored, by name.

    Raises what `open_verdicts` raises, and NoSuchModel where there is no champion.
    """
    if folders:
        return open_verdicts(folders)
    version = champion_version(settings)
    scored = [verdict_folder(batch, version) for batch in inbox_batches()]
    return open_verdicts([folder for folder in scored if (folder / "verdicts.parquet").is_file()])


def catalog_column(settings: Settings, catalog: Path | None, column: str | None) -> dict[str, str | None] | None:
    """Path to its value in one column of a catalogue file; None where neither is named. Raises CatalogUnreadable."""
    if catalog is None and column is None:
        return None
    if catalog is None or column is None:
        missing = "--catalog FILE" if catalog is None else "the column to read from --catalog"
        raise CatalogUnreadable(f"name {missing} too: the verdicts hold no such column")
    return {path: row[column] for path, row in read_catalog_columns(catalog, settings.catalog, [column]).items()}


def catalog_months(settings: Settings, catalog: Path | None, column: str | None) -> dict[str, str] | None:
    """Path to its month (`YYYY-MM`) by a date column of a catalogue file; None where neither is named."""
    dates = catalog_column(settings, catalog, column)
    return None if dates is None else {path: month_of(date) for path, date in dates.items()}
