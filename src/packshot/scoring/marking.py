"""What copies change in the verdicts of a shard: `duplicate_of`, the finding, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from packshot.scoring.decisions import FORCED, reasons_of
from packshot.scoring.duplicates import Candidate, Copy, KnownPictures
from packshot.scoring.rules import findings
from packshot.scoring.rules.copies import EXACT, NEAR
from packshot.scoring.rules.findings import Profile

LOOKED_AT = ("path", "image_id", "perceptual_hash", "thumbnail", "error")
CHANGED = ("findings", "measures", "duplicate_of", "decision", "reasons", "enhanced_path")


def mark_copies(table: pa.Table, known: KnownPictures, profile: Profile) -> pa.Table:
    """The rows with what makes them copies, after entering them, in order, among the known pictures.

    Rows that could not be judged are left as they are; without both rules in the profile nothing is looked for.
    """
    if EXACT not in profile and NEAR not in profile:
        return table
    farthest = _farthest(profile)
    rows = table.select([*LOOKED_AT, *CHANGED]).to_pylist()
    marked = [_marked(row, known, farthest, profile) for row in rows]
    for name in CHANGED:
        place = table.schema.get_field_index(name)
        column = pa.array([row[name] for row in marked], type=table.schema.field(name).type)
        table = table.set_column(place, table.schema.field(name), column)
    return table


def _farthest(profile: Profile) -> int:
    """Largest distance, in bits, that breaks the rule; -1 where there is none."""
    return math.ceil(profile[NEAR].threshold) - 1 if NEAR in profile else -1


def _marked(row: dict[str, Any], known: KnownPictures, farthest: int, profile: Profile) -> dict[str, Any]:
    if row["error"] is not None or row["perceptual_hash"] is None:
        return row
    found = Candidate(row["path"], row["image_id"], row["perceptual_hash"], row["thumbnail"])
    copy = known.enter(found, farthest)
    return row if copy is None else row | _columns(row, copy, profile)


def _columns(row: Mapping[str, Any], copy: Copy, profile: Profile) -> dict[str, Any]:
    rule, value = (EXACT, 1.0) if copy.distance is None else (NEAR, float(copy.distance))
    if rule not in profile:
        return {"duplicate_of": copy.original}
    measures = dict(row["measures"]) | {rule: value}
    broken = findings(measures, profile)
    leading = reasons_of(broken)
    columns: dict[str, Any] = {
        "measures": list(measures.items()),
        "findings": [asdict(one) for one in broken],
        "duplicate_of": copy.original,
        "reasons": [*leading, *(reason for reason in row["reasons"] if reason not in leading)],
    }
    effect = profile[rule].effect
    if effect in FORCED and row["decision"] not in FORCED[: FORCED.index(effect) + 1]:
        columns |= {"decision": effect, "enhanced_path": None}
    return columns
