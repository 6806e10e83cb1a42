"""From measures and a profile to what is to be told the seller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from packshot.config import Effect, RuleBound, ScoringSettings
from packshot.errors import PackshotError
from packshot.scoring.rules.picture import Picture
from packshot.scoring.rules.registry import RULES, Box

SEVERITY: tuple[Effect, ...] = ("reject", "review", "enhance", "note")

Profile = Mapping[str, RuleBound]


class UnknownRule(PackshotError):
    """A profile names a rule that there is not."""

    exit_code = 2


@dataclass(frozen=True)
class Finding:
    """A rule that a picture breaks; the fields of `verdicts.FINDING`, and where in the picture, where that is known."""

    rule: str
    value: float
    threshold: float
    effect: Effect
    sentence: str
    where: Box | None = None

    @property
    def reason(self) -> str:
        """As a reason of a decision: the rule as code, figure and bound."""
        side = "below" if RULES[self.rule].bound == "least" else "above"
        return f"{self.rule}: {_figure(self.value)} is {side} {_figure(self.threshold)}"


def profile_in_force(settings: ScoringSettings) -> Profile:
    """The bounds of `scoring.profile`. Raises UnknownRule."""
    profile = settings.profiles[settings.profile]
    unknown = sorted(profile.keys() - RULES.keys())
    if unknown:
        raise UnknownRule(
            f"scoring.profiles.{settings.profile} names {', '.join(unknown)}; rules are {', '.join(sorted(RULES))}"
        )
    return profile


def measure(picture: Picture, profile: Profile) -> dict[str, float]:
    """The value of every rule of the profile that can be measured on the picture."""
    values = {name: RULES[name].value(picture, bound.threshold) for name, bound in profile.items()}
    return {name: float(value) for name, value in values.items() if value is not None}


def findings(measures: Mapping[str, float], profile: Profile, picture: Picture | None = None) -> tuple[Finding, ...]:
    """The broken rules, the heaviest first: by effect, then weight times the share the bound is missed by.

    Where `picture` is at hand they say where in it.
    """
    broken = [name for name, value in measures.items() if RULES[name].broken(value, profile[name].threshold)]
    broken.sort(key=lambda name: (SEVERITY.index(profile[name].effect), -_weight(measures[name], profile[name]), name))
    return tuple(_finding(name, measures[name], profile[name], picture) for name in broken)


def _finding(name: str, value: float, bound: RuleBound, picture: Picture | None) -> Finding:
    rule = RULES[name]
    sentence = rule.sentence.format(value=value, threshold=bound.threshold)
    where = None if picture is None or rule.where is None else rule.where(picture)
    return Finding(name, value, bound.threshold, bound.effect, sentence, where)


def _weight(value: float, bound: RuleBound) -> float:
    missed = abs(value - bound.threshold) / max(abs(value), abs(bound.threshold), 1e-9)
    return bound.weight * missed


def _figure(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
