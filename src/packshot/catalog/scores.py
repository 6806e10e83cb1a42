"""Scores as people write them."""

from __future__ import annotations

import math
import re

_DECIMAL_COMMA = re.compile(r"^(\s*[+-]?\d*),(\d+\s*)$")


def as_score(text: str) -> float:
    """A score as a number: NaN for an empty text (nobody rated), infinity for what is no finite number.

    A comma may stand for the point, as in `0,75`: scores have no thousands.
    Infinity lies outside every range, so validation quarantines the row instead of taking it for unrated.
    """
    if not text.strip():
        return math.nan
    try:
        value = float(_DECIMAL_COMMA.sub(r"\1.\2", text))
    except ValueError:
        return math.inf
    return value if math.isfinite(value) else math.inf
