"""Which groups of each set a model has never learned from: a file of the bundle, so that a comparison can ask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from packshot.errors import PackshotError
from packshot.files import write_json

FILE = "held_out.json"


class HeldOutUnreadable(PackshotError):
    """The file of a bundle that says what it never learned from is damaged."""

    exit_code = 66


class HeldOutSet(BaseModel):
    """The test split of one set, as it was when a model was trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    groups: int
    images: int
    sha256: str
    """`groups_digest` of its groups."""


HeldOutSets = dict[str, HeldOutSet]
_SETS = TypeAdapter(HeldOutSets)


def groups_digest(groups: Iterable[str]) -> str:
    """sha256 (64 hex digits) over the names of groups, each counted once, in sorted order, a line each."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(set(groups))).encode()).hexdigest()


def held_out_of(manifest: pd.DataFrame) -> HeldOutSets:
    """For each set of a split manifest (columns source, group, split) what its test split holds; a set without test
    rows too, with none."""
    found = {}
    for name, rows in manifest.groupby("source", sort=True):
        groups = rows.loc[rows["split"] == "test", "group"].astype(str)
        found[str(name)] = HeldOutSet(groups=groups.nunique(), images=len(groups), sha256=groups_digest(groups))
    return found


def write_held_out(folder: Path, sets: HeldOutSets) -> None:
    """Write FILE below a bundle folder; the same sets give the same bytes."""
    write_json(folder / FILE, {name: one.model_dump() for name, one in sorted(sets.items())})


def read_held_out(folder: Path) -> HeldOutSets | None:
    """What a bundle never learned from, by set; a set that is not named took no part at all. None where the bundle was
    made before that was kept. Raises HeldOutUnreadable."""
    path = folder / FILE
    try:
        return _SETS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise HeldOutUnreadable(f"{path} does not say which groups were held out: {error}; train again") from error


def unseen(sets: HeldOutSets, name: str, groups: Iterable[str]) -> bool:
    """Whether a model with these held-out sets has learned from nothing of the rows of the set `name` whose groups
    these are: all the groups of its test split, or of a set that it never met."""
    return name not in sets or sets[name].sha256 == groups_digest(groups)
