"""What a rule is, and all that there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from packshot.scoring.rules.picture import Picture

Measure = Callable[[Picture], float | None]
M = TypeVar("M", bound=Measure)


@dataclass(frozen=True)
class Rule:
    """One thing a picture can be asked.

    `measure` gives the value, or None where it means nothing for this picture; `bound` says whether the threshold of a
    profile is the least or the most that passes; `sentence` tells the seller, with {value} and {threshold}.
    """

    name: str
    measure: Measure
    bound: Literal["least", "most"]
    sentence: str

    def broken(self, value: float, threshold: float) -> bool:
        """Whether a value does not pass."""
        return value < threshold if self.bound == "least" else value > threshold


RULES: dict[str, Rule] = {}


def least(name: str, sentence: str) -> Callable[[M], M]:
    """Register the decorated measure as a rule whose value has to be at least the threshold."""
    return _register(name, "least", sentence)


def most(name: str, sentence: str) -> Callable[[M], M]:
    """Register the decorated measure as a rule whose value may be at most the threshold."""
    return _register(name, "most", sentence)


def _register(name: str, bound: Literal["least", "most"], sentence: str) -> Callable[[M], M]:
    def add(measure: M) -> M:
        RULES[name] = Rule(name, measure, bound, sentence)
        return measure

    return add
