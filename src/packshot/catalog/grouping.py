"""Which images belong together, and how that meets what was decided before.

Everything that ties images is a *tie* with its members: a sender, a SKU, identical bytes, a near-duplicate pair.
An image is directly tied to every other member of its ties; a group is what ties connect. A split once given stays:
where a tie would bring images of different splits together, somebody has to stay out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from packshot.catalog.manifest import INBOX
from packshot.catalog.sources.own import NAME as OWN

Rows = NDArray[np.intp]

MOST_HELD_OUT_FIRST = ("test", "validation", "train")
WOULD_JOIN_SPLITS = "would_join_splits"
LEAKS_INTO_HELD_OUT = "leaks_into_held_out"


@dataclass(frozen=True)
class Ties:
    """Memberships as two parallel arrays: row number, tie number. `count` ties over `rows` rows."""

    row: Rows
    tie: Rows
    rows: int
    count: int

    def members(self) -> dict[int, list[int]]:
        """Tie to its rows."""
        members: dict[int, list[int]] = defaultdict(list)
        for row, tie in zip(self.row.tolist(), self.tie.tolist(), strict=True):
            members[tie].append(row)
        return members

    def between_images(self, image: Rows, count: int) -> Ties:
        """The same ties with images for rows: `image` numbers the image of each row, of `count` images."""
        pairs = np.unique(np.stack([image[self.row], self.tie], axis=1), axis=0)
        return Ties(pairs[:, 0], pairs[:, 1], count, self.count)

    def torn(self, label: Sequence[str | None]) -> int:
        """How many ties have members with different labels; rows labelled None do not count."""
        seen: dict[int, set[str]] = defaultdict(set)
        for row, tie in zip(self.row.tolist(), self.tie.tolist(), strict=True):
            one = label[row]
            if one is not None:
                seen[tie].add(one)
        return sum(len(labels) > 1 for labels in seen.values())

    def among(self, kept: NDArray[np.bool_]) -> Ties:
        """The memberships of the rows that `kept` marks; rows and ties keep their numbers."""
        here = kept[self.row]
        return Ties(self.row[here], self.tie[here], self.rows, self.count)

    def components(self) -> NDArray[np.int64]:
        """For every row the number of its connected component; untied rows are components of their own."""
        size = self.rows + self.count
        graph = coo_array((np.ones(len(self.row), np.int8), (self.row, self.tie + self.rows)), shape=(size, size))
        return np.asarray(connected_components(graph, directed=False)[1][: self.rows], np.int64)


@dataclass(frozen=True)
class LeftOut:
    """An image that cannot be used: the reason, and the groups and splits that it would have joined."""

    row: int
    reason: str
    groups: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """A group for every row that is not left out (None for those), and the left-out rows in order."""

    group: list[str | None]
    left_out: list[LeftOut]


def shop_of(frame: pd.DataFrame) -> pd.Series:
    """Within which senders and SKUs are told apart: the set; labelled pictures of the inbox are the own catalogue's."""
    return frame["source"].replace(INBOX, OWN)


def ties_of(frame: pd.DataFrame, near_duplicates: Sequence[NDArray[np.int64]]) -> Ties:
    """Ties of manifest rows: same shop and sender, same shop and SKU, same bytes, near-duplicates.

    `near_duplicates` are sets of row numbers of `frame`.
    """
    row_parts, tie_parts, count = [], [], 0
    shop = shop_of(frame)
    for keys in ([frame["image_id"]], [shop, frame["sender"]], [shop, frame["sku"]]):
        numbers = frame.groupby(keys, sort=False, dropna=True).ngroup()
        codes = numbers.fillna(-1).to_numpy(np.intp)
        present = np.flatnonzero(codes >= 0)
        row_parts.append(present)
        tie_parts.append(codes[present] + count)
        count += int(codes.max(initial=-1)) + 1
    row_parts.extend(near_duplicates)
    tie_parts.append(np.repeat(np.arange(len(near_duplicates)), [len(rows) for rows in near_duplicates]) + count)
    row = np.concatenate(row_parts).astype(np.intp)
    tie = np.concatenate(tie_parts).astype(np.intp)
    return Ties(row, tie, len(frame), count + len(near_duplicates))


def group_rows(ties: Ties, image_ids: list[str], before: Mapping[str, tuple[str, str]]) -> Grouping:
    """Give every row its group; `before` maps image_id to the (group, split) it already has.

    Rows of the same bytes are one image: what ties one of them ties all, and they stay or are left out together.

    - A tie among images that already have different splits (metadata or settings changed since): the held-out images
      stay, the others are left out; nobody changes split.
    - A new image directly tied to images of different splits is left out; so are new images that only together
      would connect different splits.
    - Groups of one split that became connected take the smallest of their names.
    - A new group is named after the smallest image_id in it.
    """
    codes, images = pd.factorize(np.asarray(image_ids, dtype=object))
    between = ties.between_images(codes, len(images))
    old_group = [before[one][0] if one in before else None for one in images]
    old_split = [before[one][1] if one in before else None for one in images]
    search = _Conflicts(between, old_group, old_split)
    out = {one.row: one for one in search.among_old() + search.direct() + search.by_chains()}
    component = between.among(search.kept).components()
    names = _names(component, search.kept, search.names_to_carry(), list(images))
    group = [names[int(component[code])] if search.kept[code] else None for code in codes]
    left_out = [replace(out[int(code)], row=row) for row, code in enumerate(codes) if int(code) in out]
    return Grouping(group, left_out)


def torn_ties(ties: Ties, image_ids: list[str], split: Sequence[str | None]) -> int:
    """How many ties reach over two splits; `split` is that of each row, None for a row left out."""
    codes, images = pd.factorize(np.asarray(image_ids, dtype=object))
    of_image: list[str | None] = [None] * len(images)
    for code, part in zip(codes.tolist(), split, strict=True):
        of_image[code] = part
    return ties.torn(split) + ties.between_images(codes, len(images)).torn(of_image)


class _Conflicts:
    """Finds who has to stay out, from the plainest case to the most involved; `kept` marks who is still in."""

    def __init__(self, ties: Ties, old_group: list[str | None], old_split: list[str | None]) -> None:
        self._ties = ties
        self._group = old_group
        self._split = old_split
        self._members = {tie: rows for tie, rows in ties.members().items() if len(rows) > 1}
        self.kept = np.ones(ties.rows, bool)

    def among_old(self) -> list[LeftOut]:
        left_out: dict[int, LeftOut] = {}
        for rows in self._members.values():
            old = [row for row in rows if self._split[row]]
            splits = self._splits(old)
            if len(splits) < 2:
                continue
            stays = next(split for split in MOST_HELD_OUT_FIRST if split in splits)
            for row in old:
                if self._split[row] != stays:
                    left_out[row] = self._entry(row, LEAKS_INTO_HELD_OUT, old)
        self.kept[list(left_out)] = False
        return list(left_out.values())

    def direct(self) -> list[LeftOut]:
        tied_to: dict[int, list[int]] = defaultdict(list)
        for rows in self._members.values():
            old = [row for row in rows if self._split[row]]
            one_of_each = list({self._group[row]: row for row in old}.values())
            for row in rows:
                if not self._split[row]:
                    tied_to[row].extend(one_of_each)
        left_out = [
            self._entry(row, WOULD_JOIN_SPLITS, old) for row, old in tied_to.items() if len(self._splits(old)) > 1
        ]
        self.kept[[one.row for one in left_out]] = False
        return left_out

    def by_chains(self) -> list[LeftOut]:
        new = np.array([split is None for split in self._split], bool) & self.kept
        chain = self._ties.among(new).components()
        touched: dict[int, set[int]] = defaultdict(set)
        for rows in self._members.values():
            old = [row for row in rows if self._split[row]]
            for part in {int(chain[row]) for row in rows if new[row]}:
                touched[part].update(old)
        torn = {part: sorted(old) for part, old in touched.items() if len(self._splits(old)) > 1}
        left_out = [
            self._entry(int(row), WOULD_JOIN_SPLITS, torn[int(chain[row])])
            for row in np.flatnonzero(new)
            if int(chain[row]) in torn
        ]
        self.kept[[one.row for one in left_out]] = False
        return left_out

    def names_to_carry(self) -> list[str | None]:
        """For each image the group it brings: its own, or that of an old image it is tied to which had to stay out.

        A new image follows the split of a left-out old one, or the next run would find the two in different splits.
        """
        carried = list(self._group)
        for rows in self._members.values():
            away = [group for row in rows if not self.kept[row] and (group := self._group[row]) is not None]
            for row in rows:
                if away and self._split[row] is None:
                    carried[row] = min([*away, carried[row] or away[0]])
        return carried

    def _splits(self, rows: Iterable[int]) -> set[str]:
        return {split for split in (self._split[row] for row in rows) if split is not None}

    def _entry(self, row: int, reason: str, joined: Iterable[int]) -> LeftOut:
        rows = list(joined)
        groups = {group for group in (self._group[one] for one in rows) if group is not None}
        return LeftOut(row, reason, tuple(sorted(groups)), tuple(sorted(self._splits(rows))))


def _names(
    component: NDArray[np.int64], kept: NDArray[np.bool_], carried: list[str | None], image_ids: list[str]
) -> dict[int, str]:
    old: dict[int, str] = {}
    smallest: dict[int, str] = {}
    for row in np.flatnonzero(kept).tolist():
        part = int(component[row])
        smallest[part] = min(smallest.get(part, image_ids[row]), image_ids[row])
        name = carried[row]
        if name is not None:
            old[part] = min(old.get(part, name), name)
    return {part: old.get(part, f"g-{image_id[:16]}") for part, image_id in smallest.items()}
