"""How often held-out rows let a worse challenger through, and how far promotions slide, with and without the guards.

    python benchmarks/gate_decline.py [--worlds 400] [--tries 30] [--promotions 14]

Worlds are made in code: a figure is the mean over `--groups` groups of held-out rows, challenger and champion differ
from group to group by noise of which the margin is about six standard errors. The gate's own code decides: paired
bootstrap, confidence by use, the best champion so far.

- tries: `--tries` challengers, each of which truly loses just what the margin forbids, are tried on the same rows; the
  share of worlds in which at least one passes.
- slide: `--promotions` challengers, each of which loses 60 % of the margin against the one before; the level that the
  last champion is left with, in margins.
- power: the share of equal challengers that pass, by which use of the rows they are, at two noises.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from packshot.config import Gate
from packshot.evaluation.resampling import Interval, mean_of, paired_bootstrap
from packshot.registry.gates import FIRST_USE, Use, _weigh_loss

MARGIN, NOMINAL, RESAMPLES = 0.3, 0.95, 400
GATE = Gate(metric="enhance/psnr_gain", kind="non_inferiority", margin=MARGIN, min_groups=20)
Rows = NDArray[np.float64]


def compared(challenger: Rows, champion: Rows, use: Use) -> tuple[Interval, bool]:
    """The interval of challenger minus champion, and whether the gate passes."""
    sure, groups = use.confidence(NOMINAL), list(range(len(champion)))
    found = paired_bootstrap(groups, mean_of(challenger), mean_of(champion), resamples=RESAMPLES, confidence=sure)
    return found, _weigh_loss(GATE, found, sure)[0] == "pass"


def worlds_let_through(worlds: int, tries: int, groups: int, noise: float, use: Callable[[int], Use]) -> float:
    """The share of worlds in which one of `tries` challengers that lose the margin passes."""
    luck = np.random.default_rng(1)
    passed = 0
    for _ in range(worlds):
        champion = np.zeros(groups)
        drawn = luck.normal(-MARGIN, noise, (tries, groups))
        passed += any(compared(one, champion, use(number))[1] for number, one in enumerate(drawn, 1))
    return passed / worlds


def levels_left(worlds: int, promotions: int, groups: int, noise: float, guarded: bool) -> list[float]:
    """The true level of the last champion of each world, the first being 0."""
    luck = np.random.default_rng(2)
    left = []
    for _ in range(worlds):
        first = champion = luck.normal(0, noise / 10, groups)
        level = behind = 0.0
        for number in range(1, promotions + 1):
            challenger = champion - 0.6 * MARGIN + luck.normal(0, noise / 10, groups)
            use = Use(number) if guarded else FIRST_USE
            found, passed = compared(challenger, champion, use)
            if guarded and passed and behind < 0:
                passed = compared(challenger, first, use)[1]
            if passed:
                champion, level, behind = challenger, level - 0.6 * MARGIN, behind + found.difference
        left.append(level)
    return left


def power(worlds: int, groups: int, noise: float, use: Use) -> float:
    """The share of challengers as good as the champion that pass."""
    drawn = np.random.default_rng(3).normal(0, noise, (worlds, groups))
    return float(np.mean([compared(one, np.zeros(groups), use)[1] for one in drawn]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--tries", type=int, default=30)
    parser.add_argument("--promotions", type=int, default=14)
    parser.add_argument("--groups", type=int, default=60)
    parser.add_argument("--noise", type=float, default=0.4, help="standard deviation of a group's difference")
    asked = parser.parse_args(arguments)
    begun, few = time.monotonic(), max(asked.worlds // 10, 1)
    print(f"{platform.machine()}, Python {platform.python_version()}; margin {MARGIN:g}, {asked.groups} groups\n")
    print("| question | one confidence | spending, best so far |\n|---|---|---|")
    tried = [
        worlds_let_through(asked.worlds, asked.tries, asked.groups, asked.noise, use)
        for use in (lambda _: FIRST_USE, Use)
    ]
    print(f"| worlds in which one of {asked.tries} worse challengers passes | {tried[0]:.3f} | {tried[1]:.3f} |")
    slid = [np.array(levels_left(few, asked.promotions, asked.groups, asked.noise, flag)) for flag in (False, True)]
    shown = [f"{-levels.mean() / MARGIN:.2f} (worst {-levels.min() / MARGIN:.2f})" for levels in slid]
    print(f"| margins lost in {asked.promotions} promotions | {shown[0]} | {shown[1]} |")
    for noise in (asked.noise, 2 * asked.noise):
        errors = MARGIN / noise * asked.groups**0.5
        for number in (1, 2, 3, 5, 10, 30):
            found = [power(asked.worlds, asked.groups, noise, use) for use in (FIRST_USE, Use(number))]
            told = f"equal challengers that pass, margin {errors:.1f} standard errors, use {number}"
            print(f"| {told} | {found[0]:.3f} | {found[1]:.3f} |")
    print(f"\n{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
