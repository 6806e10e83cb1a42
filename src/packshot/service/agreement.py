"""How far people agree who looked at the same pictures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from packshot.catalog.labels import Label
from packshot.service.review import Decided


@dataclass
class Pair:
    """Two people: pictures on which both decided, on how many alike; pictures that both scored, and how far apart.

    `blind`: of those decided, how many did the second of them decide without knowing of the first.
    """

    one: str
    other: str
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    blind: int = 0
    distances: list[float] = field(default_factory=list)

    @property
    def both(self) -> int:
        """Pictures on which both decided."""
        return self.counts.total()

    @property
    def same(self) -> int:
        """Those on which they decided alike."""
        return sum(count for (one, other), count in self.counts.items() if one == other)

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa: 1 always alike, 0 as by chance (J. Cohen, Educ. Psychol. Meas. 20, 1960). None where both
        always said the same one thing, or nothing."""
        ones: Counter[str] = Counter()
        others: Counter[str] = Counter()
        for (one, other), count in self.counts.items():
            ones[one] += count
            others[other] += count
        chance = sum(ones[name] * others[name] for name in ones) / max(1, self.both**2)
        return None if not self.both or chance == 1 else (self.same / self.both - chance) / (1 - chance)

    @property
    def apart(self) -> float | None:
        """Mean distance of their scores, 0 to 1."""
        return sum(self.distances) / len(self.distances) if self.distances else None


def pairs_at_desk(said: Iterable[Sequence[Decided]]) -> list[Pair]:
    """By the decisions on each picture, oldest first; what was taken back does not count."""
    found = _Pairs()
    for decided in said:
        stands: dict[str, Decided] = {}
        for each in decided:
            stands.pop(each.who, None)
            if each.outcome != "undo":
                stands[each.who] = each
        for one, other in combinations(sorted(stands), 2):
            pair = found.of(one, other)
            pair.counts[stands[one].outcome, stands[other].outcome] += 1
            pair.blind += max(stands[one], stands[other], key=lambda each: each.entry).beside
    return found.ordered()


def pairs_in_labels(labels: Iterable[Label]) -> list[Pair]:
    """By the labels of each picture; of one person the last counts."""
    decisions: defaultdict[str, dict[str, str]] = defaultdict(dict)
    scores: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for label in labels:
        if label.decision is not None:
            decisions[label.image_id][label.who] = label.decision
        if label.quality_mos is not None:
            scores[label.image_id][label.who] = label.quality_mos
    found = _Pairs()
    for said in decisions.values():
        for one, other in combinations(sorted(said), 2):
            found.of(one, other).counts[said[one], said[other]] += 1
    for scored in scores.values():
        for one, other in combinations(sorted(scored), 2):
            found.of(one, other).distances.append(abs(scored[one] - scored[other]))
    return found.ordered()


class _Pairs:
    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Pair] = {}

    def of(self, one: str, other: str) -> Pair:
        """That of two people, `one` before `other`."""
        return self._found.setdefault((one, other), Pair(one, other))

    def ordered(self) -> list[Pair]:
        """Those with most in common first."""
        return sorted(self._found.values(), key=lambda pair: (-pair.both - len(pair.distances), pair.one, pair.other))
