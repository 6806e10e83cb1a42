"""The queue of pictures to label: a table to fill in, and a page to look at."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from packshot.catalog.image import ImageLimits
from packshot.catalog.sources.table import read_label_csv
from packshot.config import Settings
from packshot.files import write_text
from packshot.serving.thumbnails import Thumbnails
from packshot.spreadsheet import unguarded, write_csv

TABLE = "queue.csv"
PAGE = "queue.html"
COLUMNS = ("image_id", "batch", "path", "why", "quality_mos", "style", "decision", "who", "when")
"""The last five are filled in by whoever labels; then the file goes to `packshot labels add`."""
THUMBNAIL_BYTES = 6_000_000


def read_queue(folder: Path) -> pd.DataFrame:
    """The rows that wait, as texts, with what was filled in. Raises SourceError for a file that is no CSV."""
    path = folder / TABLE
    rows = read_label_csv(path) if path.exists() else pd.DataFrame()
    return rows.reindex(columns=list(COLUMNS), fill_value="").fillna("").astype(object).map(unguarded)


def write_queue(folder: Path, rows: pd.DataFrame, inbox: Path, settings: Settings) -> None:
    """Write the table and its page, each atomically; pictures are below `inbox`, in the folder of their batch."""
    write_csv(folder / TABLE, COLUMNS, rows.to_dict("records"))
    thumbnails = Thumbnails(ImageLimits.from_settings(settings.validation), THUMBNAIL_BYTES)
    environment = Environment(
        loader=PackageLoader("packshot.serving"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    shown = [(row, thumbnails.of(inbox / str(row["batch"]), str(row["path"]))) for row in rows.to_dict("records")]
    write_text(folder / PAGE, environment.get_template("queue.html").render(rows=shown, table=TABLE))
