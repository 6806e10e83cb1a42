"""Sharing groups out over the splits so that each split looks like the whole."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from packshot.errors import PackshotError

TERCILES = ("low", "middle", "high")


class SplitImpossible(PackshotError):
    """There are fewer groups than splits that need one."""

    exit_code = 65


def strata(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """For each row the strata it counts in, from coarse to fine: source; with subset; with label.

    The label is the tercile of the score within the source and the style, as far as there are any.
    """
    columns = zip(frame["source"], frame["subset"].fillna(""), _terciles(frame), frame["style"].fillna(""), strict=True)
    return [
        (source, f"{source}|{subset}", f"{source}|{subset}|{tercile}|{style}")
        for source, subset, tercile, style in columns
    ]


def share_out(
    groups: Mapping[str, Sequence[tuple[str, ...]]],
    given: Mapping[str, str],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """A split for every group; those in `given` keep theirs.

    `groups` maps a group to the strata of each of its rows, `shares` a split to its part of the rows (sum 1).
    Larger groups choose first, equals in an order drawn by `seed` and name; each goes where it brings the counts
    of its strata closest to their targets (least growth of the sum of squared deviations over target), so a group
    too large for a held-out split goes to the largest one. The same groups and seed give the same answer.
    Raises SplitImpossible where a split with a share would stay empty.
    """
    sizes = {name: Counter(stratum for row in rows for stratum in row) for name, rows in groups.items()}
    splits = [split for split, share in shares.items() if share > 0]
    share = np.array([shares[split] for split in splits])
    totals: Counter[str] = Counter()
    for size in sizes.values():
        totals.update(size)
    filled: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(splits)))
    chosen: dict[str, str] = {}

    def put(name: str, split: str) -> None:
        chosen[name] = split
        if split in splits:
            for stratum, count in sizes[name].items():
                filled[stratum][splits.index(split)] += count

    for name in sorted(set(groups) & set(given)):
        put(name, given[name])
    for name in sorted(set(groups) - set(given), key=lambda one: (-len(groups[one]), _draw(seed, one))):
        cost = np.zeros(len(splits))
        for stratum, count in sizes[name].items():
            target = share * totals[stratum]
            missing = target - filled[stratum]
            cost += (count * count - 2 * count * missing) / target
        put(name, splits[int(np.argmin(cost))])
    _fill_empty(chosen, groups, given, splits)
    return chosen


def _fill_empty(
    chosen: dict[str, str],
    groups: Mapping[str, Sequence[tuple[str, ...]]],
    given: Mapping[str, str],
    splits: Sequence[str],
) -> None:
    """Every split gets at least one group: the smallest new one of the split that has most."""
    for split in splits:
        if split in chosen.values():
            continue
        held = Counter(chosen.values())
        movable = [name for name in chosen if name not in given and held[chosen[name]] > 1]
        if not movable:
            images = sum(len(rows) for rows in groups.values())
            raise SplitImpossible(
                f"no group is left for {split}: {images} image(s) form {len(groups)} group(s), and each of "
                f"{', '.join(splits)} needs one. Images of one sender or SKU and near-duplicates are one group: "
                "add images of other products or senders, or set that split's share to 0 in params.yaml."
            )
        smallest = min(movable, key=lambda name: (-held[chosen[name]], len(groups[name]), name))
        chosen[smallest] = split


def _terciles(frame: pd.DataFrame) -> list[str]:
    scores = frame.groupby("source")["quality_mos"]
    third = np.ceil(scores.rank(method="first") * len(TERCILES) / scores.transform("count").clip(lower=1)) - 1
    return ["" if pd.isna(one) else TERCILES[int(one)] for one in third]


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\n{name}".encode()).hexdigest()
