"""What the ledger says about a slow decline: which champion was the best so far, and how often held-out rows decided.

Every promotion may lose up to the margin of a gate, so many of them may lose many margins, each with its gates green;
and a challenger is let through by luck the sooner, the more of them are tried on the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from packshot.registry.events import Committed, Event, Intent
from packshot.registry.ledger import Ledger
from packshot.registry.state import State


def question_number(ledger: Ledger, data_rev: str, question: tuple[str, int, int | None]) -> int:
    """Which question `question` (model, challenger, champion) is to the held-out rows of a data revision, from 1.

    The same question asked again keeps its number: it has the same answer, and gives luck no further chance. Without a
    champion nothing is compared, so nothing is spent.
    """
    asked: list[tuple[str, int, int | None]] = []
    for row in ledger.history(kind="heldout_use"):
        one = (row["model_name"], row["to_version"], row["from_version"])
        if row["data_rev"] == data_rev and row["from_version"] is not None and one not in asked:
            asked.append(one)
    return asked.index(question) + 1 if question in asked else len(asked) + 1


def best_so_far(events: Iterable[Event], state: State, metric: str) -> tuple[int, float] | None:
    """The champion that was best by a figure, and how far the champion of now is behind it (below 0); None: it is the
    best itself.

    By the differences that the gates of every promotion measured, from the champion of now back along those that it
    stands on. One that moved without such a gate (adopted by hand, or older than the gate) begins anew.
    """
    promotions = _promotions(events)
    standing, level = state.standing, 0.0
    best: tuple[int, float] | None = None
    for version, before in pairwise(reversed(standing)):
        step = _difference(promotions.get(version), before, metric)
        if step is None:
            break
        level += step
        if level < (best[1] if best is not None else 0.0):
            best = (before, level)
    return best


def _promotions(events: Iterable[Event]) -> dict[int, Intent]:
    """By version, with what gates it became champion."""
    found: dict[int, Intent] = {}
    begun: Intent | None = None
    for event in events:
        if isinstance(event, Intent):
            begun = event
        elif isinstance(event, Committed):
            if begun is not None and not begun.rollback and begun.to_version is not None:
                found[begun.to_version] = begun
            begun = None
    return found


def _difference(promotion: Intent | None, before: int, metric: str) -> float | None:
    if promotion is None or promotion.from_version != before:
        return None
    gates: Sequence[dict[str, object]] = promotion.payload.gates
    values = [one.get("difference") for one in gates if one["kind"] == "non_inferiority" and one["metric"] == metric]
    return float(values[0]) if values and isinstance(values[0], int | float) else None
