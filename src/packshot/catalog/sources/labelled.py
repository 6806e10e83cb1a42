"""Pictures that got labels after they were scored, beside the sets of a source."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from packshot.catalog.labels import INBOX, LabelStore, Opinion
from packshot.catalog.sources.table import COLUMNS, SetFacts, SourceTable, locate, stack

_FACTS = ("sku", "sender", "title", "category")


def with_labelled(table: SourceTable, store: LabelStore) -> SourceTable:
    """`table` with the pictures of the store as the set `inbox`. Raises LabelStoreDamaged."""
    opinions = store.opinions()
    if not opinions:
        return table
    rows = [_row(store.folder, opinion) for _, opinion in sorted(opinions.items())]
    styles = sorted({str(row["style"]) for row in rows if row["style"]})
    facts = SetFacts(address=store.folder.as_posix(), licence="the user's own", styles=tuple(styles))
    images = stack([table.images, pd.DataFrame(rows, columns=list(COLUMNS))])
    return SourceTable(images, {**table.facts, INBOX: facts})


def _row(folder: Path, opinion: Opinion) -> dict[str, Any]:
    label = asdict(opinion.label)
    _, origin = locate(folder, INBOX, opinion.label.file)
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {name: label[name] for name in _FACTS}
    return row | {
        "source": INBOX,
        "path": f"{INBOX}/{Path(opinion.label.file).name}",
        "origin": None if origin is None else str(origin),
        "sku": label["sku"] or label["image_id"],
        "quality_mos": opinion.quality_mos,
        "style": opinion.style,
    }
