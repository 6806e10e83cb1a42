"""Ladders of single degradations: one crop, one degradation, level by level."""

from __future__ import annotations

import numpy as np
import pandas as pd

SAME_ATTRIBUTE = 0.001
"""A rise of an attribute by no more than this counts as none."""
LADDER_KEY = ("image_id", "degradation")


def ladders(per_single: pd.DataFrame) -> pd.DataFrame:
    """One row a ladder, from the judged copies of `HeldOut.per_single`.

    Columns: image_id, degradation, group, attribute (that suffers); monotone: that attribute never rises from one level
    to the next; falls: the overall score at the strongest level lies below that of the clean crop; mild_shift: how far
    the weakest level moves the overall score, 0..1.
    """
    clean = per_single[per_single["level"] == 0].drop_duplicates("image_id").set_index("image_id")["quality"]
    copies = per_single[per_single["level"] > 0].sort_values("level", kind="stable")
    records = []
    for (image_id, degradation), ladder in copies.groupby(list(LADDER_KEY)):
        scores, untouched = ladder["quality"].to_numpy(dtype=float), float(clean.get(image_id, np.nan))
        records.append(
            {
                "image_id": image_id,
                "degradation": degradation,
                "group": ladder["group"].iloc[0],
                "attribute": ladder["attribute"].iloc[0],
                "monotone": bool((np.diff(ladder["judged"]) <= SAME_ATTRIBUTE).all()),
                "falls": float(scores[-1] < untouched) if np.isfinite(untouched + scores[-1]) else np.nan,
                "mild_shift": abs(scores[0] - untouched),
            }
        )
    columns = [*LADDER_KEY, "group", "attribute", "monotone", "falls", "mild_shift"]
    return pd.DataFrame(records, columns=columns)
