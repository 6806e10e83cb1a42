"""The rehearsal with planted damage as the report shows it: what became of each kind, and pictures before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packshot.progress import say
from packshot.serving.thumbnails import Thumbnails

RECORD = "rescue.json"
EACH = 2
"""Pictures shown of each damage."""


@dataclass(frozen=True)
class Example:
    """A picture before damage, with it, and as it is delivered (None where it is not), with its verdict; `gain` in dB
    of PSNR to the undamaged one."""

    damage: str
    clean: str | None
    before: str | None
    after: str | None
    decision: str
    gain: float | None
    reasons: list[str]


@dataclass(frozen=True)
class DamageView:
    """`figures`: of each damage the shares that `packshot.ops.rescue.shares` names; `examples` in the same order."""

    pictures: int
    figures: Sequence[Mapping[str, Any]]
    examples: list[Example]


def view_damage(folder: Path | None, thumbnails: Thumbnails) -> DamageView | None:
    """What `packshot drill damage` left in `folder`; None where it left nothing that can be read."""
    if folder is None or not (folder / RECORD).is_file():
        return None
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        rows, figures = record["rows"], record["figures"]
        examples = [_example(row, folder, thumbnails) for row in _chosen(rows)]
        return DamageView(len({row["clean"] for row in rows}), figures, examples)
    except (OSError, ValueError, KeyError, TypeError) as error:
        say(f"the report leaves out the planted damage in {folder}: {error}")
        return None


def _chosen(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Some rows of each damage, other pictures for each, so that the page shows many."""
    plans = [name for name in dict.fromkeys(row["plan"] for row in rows) if name != "clean"]
    cleans = sorted({row["clean"] for row in rows})
    found = []
    for place, plan in enumerate(plans):
        of_plan = {row["clean"]: row for row in rows if row["plan"] == plan}
        wanted = [cleans[(place * EACH + turn) % len(cleans)] for turn in range(EACH)]
        found += [of_plan[clean] for clean in dict.fromkeys(wanted) if clean in of_plan]
    return found


def _example(row: Mapping[str, Any], folder: Path, thumbnails: Thumbnails) -> Example:
    clean = Path(row["clean"])
    return Example(
        damage=str(row["plan"]),
        clean=thumbnails.of(clean.parent, clean.name),
        before=thumbnails.of(folder / "batch", row["path"]),
        after=thumbnails.of(folder / "verdicts", row["enhanced_path"]),
        decision=str(row["decision"]),
        gain=row["gain"],
        reasons=[str(reason) for reason in row["reasons"]],
    )
