"""What a rule is, and all that there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from packshot.scoring.rules.picture import Picture

Measure = Callable[[Picture], float | None]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of a picture's width and height."""
M = TypeVar("M", bound=Measure)


@dataclass(frozen=True)
class Rule:
    """One thing a picture can be asked.

    `measure` gives the value, or None where it means nothing for this picture; `bound` says whether the threshold of a
    profile is the least or the most that passes; `sentence` tells the seller what is wrong and what to do, with the
    {threshold} where that helps. The value, which may round to the threshold, stands in the reason and the check.
    `second_look`, where a rule has one, costs more and is right more often: its value counts where the first would
    break the rule. `unit` is that of value and threshold; `unmeasured` says why there may be no value. `where` says
    where in the picture the rule is broken, where that means something.
    """

    name: str
    measure: Measure
    bound: Literal["least", "most"]
    sentence: str
    second_look: Measure | None = None
    unit: str = ""
    unmeasured: str = "it means nothing for this picture"
    where: Callable[[Picture], Box | None] | None = None

    def broken(self, value: float, threshold: float) -> bool:
        """Whether a value does not pass."""
        return value < threshold if self.bound == "least" else value > threshold

    def value(self, picture: Picture, threshold: float) -> float | None:
        """What counts for the picture under this threshold: the first measure's value, or the second look's."""
        value = self.measure(picture)
        if value is None or self.second_look is None or not self.broken(value, threshold):
            return value
        return self.second_look(picture)


RULES: dict[str, Rule] = {}


def least(name: str, sentence: str, unit: str = "", unmeasured: str = Rule.unmeasured) -> Callable[[M], M]:
    """Register the decorated measure as a rule whose value has to be at least the threshold."""
    return _register(name, "least", sentence, None, unit, unmeasured)


def most(
    name: str,
    sentence: str,
    second_look: Measure | None = None,
    unit: str = "",
    unmeasured: str = Rule.unmeasured,
    where: Callable[[Picture], Box | None] | None = None,
) -> Callable[[M], M]:
    """Register the decorated measure as a rule whose value may be at most the threshold."""
    return _register(name, "most", sentence, second_look, unit, unmeasured, where)


def _register(
    name: str,
    bound: Literal["least", "most"],
    sentence: str,
    second_look: Measure | None,
    unit: str,
    unmeasured: str,
    where: Callable[[Picture], Box | None] | None = None,
) -> Callable[[M], M]:
    def add(measure: M) -> M:
        RULES[name] = Rule(name, measure, bound, sentence, second_look, unit, unmeasured, where)
        return measure

    return add
