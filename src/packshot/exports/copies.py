"""Which copies an export leaves out: those in whose place it shows another picture of the same SKU, and no others.

A verdict names the picture that was to be shown in its place when it was made. By now that one may be of a folder that
is not exported, be judged otherwise, or have given way to a better one of a later batch. So it is asked of the verdicts
that are exported, and whoever has nobody in its place is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from packshot.exports.source import VerdictFile
from packshot.progress import say
from packshot.scoring.decisions import SHOWN

Place = tuple[str, str]
"""Of a picture: `batch_id` and `path`."""
_PLACE = ("batch_id", "path")
_READ = (*_PLACE, "sku", "decision", "duplicate_of", "displaces")


@dataclass(frozen=True)
class Copies:
    """Pictures that are left out, each with the name of the one in its place; read the rows through it."""

    instead: Mapping[Place, str]

    def batches(self, file: VerdictFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """As of the file, with `duplicate_of` set where another picture is exported in the place of this one."""
        needed = tuple(dict.fromkeys((*columns, *_PLACE, "duplicate_of")))
        for batch in file.batches(needed):
            places = zip(*(batch.column(name).to_pylist() for name in _PLACE), strict=True)
            found = pa.array([self.instead.get(place) for place in places], pa.string())
            yield batch.set_column(batch.schema.get_field_index("duplicate_of"), "duplicate_of", found).select(
                list(columns)
            )

    def each(self, file: VerdictFile, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The same, one row at a time."""
        for batch in self.batches(file, columns):
            yield from batch.to_pylist()


def copies_in(files: Sequence[VerdictFile]) -> Copies:
    """The copies among the rows of `files`; told is how many are left out, and how many stay for want of another."""
    claims = dict(_claims(files))
    wanted = {place for options in claims.values() for place in options} | claims.keys()
    shown: dict[Place, str | None] = {}
    for row in (row for file in files for row in file.each(_READ)):
        place = (row["batch_id"], row["path"])
        if place in wanted and row["decision"] in SHOWN:
            shown[place] = row["sku"]
    instead: dict[Place, str] = {}
    for place in claims:
        found = _in_place_of(place, claims, shown)
        if found is not None:
            instead[place] = found[1] if found[0] == place[0] else f"{found[0]}:{found[1]}"
    left_out = sum(place in shown for place in instead)
    stay = sum(place in shown and place not in instead for place in claims)
    if left_out:
        say(f"{left_out} copy(ies) left out: another picture of the same SKU is shown in the place of each")
    if stay:
        say(f"{stay} copy(ies) stay: the picture in the place of each is not shown by these verdicts")
    return Copies(instead)


def _claims(files: Sequence[VerdictFile]) -> Iterator[tuple[Place, tuple[Place, ...]]]:
    """Of each picture that is to give way: where the one in its place may stand, by either side's word."""
    for row in (row for file in files for row in file.each(_READ)):
        place = (row["batch_id"], row["path"])
        if row["duplicate_of"] is not None:
            yield place, ((place[0], row["duplicate_of"]), _elsewhere(row["duplicate_of"]))
        if row["decision"] in SHOWN:
            yield from ((_elsewhere(name), (place,)) for name in row["displaces"] or ())


def _elsewhere(name: str) -> Place:
    batch, _, path = name.partition(":")
    return (batch, path)


def _in_place_of(
    place: Place, claims: Mapping[Place, tuple[Place, ...]], shown: Mapping[Place, str | None]
) -> Place | None:
    """The picture of the same SKU that is shown for this one, which gives way to nobody itself; None without one."""
    sku, met, at = None, {place}, place
    while at in claims:
        following = next((each for each in claims[at] if each in shown and each not in met), None)
        if following is None:
            return None
        sku = shown[following] if sku is None else sku
        if shown[following] is None or shown[following] != sku:
            return None
        met.add(following)
        at = following
    return at if shown.get(place, sku) == sku else None
