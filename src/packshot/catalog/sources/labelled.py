"""Pictures that got labels after they were scored, beside the sets of a source."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from packshot.catalog.labels import LabelStore, Opinion
from packshot.catalog.manifest import INBOX
from packshot.catalog.sources.table import COLUMNS, SetFacts, SourceTable, locate, stack
from packshot.progress import say

_FACTS = ("sku", "sender", "title", "category")


def with_labelled(table: SourceTable, store: LabelStore, known: Collection[str], at_least: int) -> SourceTable:
    """`table` with the pictures of the store as the set `inbox`; `known` are those that the catalogue has already.

    New ones wait until there are `at_least` so many, since every new revision of the data is trained on. Raises
    LabelStoreDamaged.
    """
    opinions = store.lessons()
    waiting = opinions.keys() - known
    if 0 < len(waiting) < at_least:
        say(f"collect: {len(waiting)} newly labelled pictures wait; they enter the catalogue when there are {at_least}")
        opinions = {image_id: opinion for image_id, opinion in opinions.items() if image_id in known}
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
