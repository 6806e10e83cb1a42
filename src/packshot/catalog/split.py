"""Split: groups that cannot be parted, each in train, validation or test for ever.

Near-duplicates, images of one sender or SKU and identical bytes form one group; a group lies in one split. What was
assigned once is read from `data/splits/assignment.parquet` and stays; new groups are shared out by stratum. An
image that would connect groups of different splits is left out of all of them and listed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from packshot.catalog.expectations import ROW, Rule, data_docs
from packshot.catalog.grouping import Grouping, group_rows, shop_of, ties_of, torn_ties
from packshot.catalog.manifest import COLUMNS, SPLITS, ManifestError, read_manifest, write_manifest
from packshot.catalog.near_duplicates import near_duplicate_sets, unpack
from packshot.catalog.source_record import read_source
from packshot.catalog.stratify import share_out, strata
from packshot.catalog.validate import SIGNATURE_COLUMNS, VALID
from packshot.config import Settings, SplitSettings
from packshot.errors import PackshotError
from packshot.files import write_json, write_parquet
from packshot.progress import say

MANIFEST = Path("data/splits/manifest.parquet")
LEFT_OUT = Path("data/splits/left_out.parquet")
ASSIGNMENT = Path("data/splits/assignment.parquet")
SUMMARY = Path("data/splits/splits.json")
DOCS = Path("reports/splits")

ASSIGNMENT_COLUMNS = ("image_id", "group", "split")
LEFT_OUT_COLUMNS = ("image_id", "path", "source", "reason", "groups", "splits")


class SplitLeak(PackshotError):
    """Images that belong together lie in different splits; nothing may be trained or measured on them."""

    exit_code = 65


@dataclass(frozen=True)
class SplitReport:
    """What splitting did. `images` and `groups` count by split, `by_source` images by source and split."""

    rows_in: int
    rows: int
    left_out: int
    new_images: int
    near_duplicate_sets: int
    largest_group: int
    images: dict[str, int]
    groups: dict[str, int]
    by_source: dict[str, dict[str, int]]
    leaks: int
    """Ties (sender, SKU, bytes, near-duplicates) that reach over two splits; anything above 0 raised SplitLeak."""

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))

    def as_metrics(self) -> dict[str, Any]:
        """The record without what only this run did: the same data give the same file."""
        return {name: value for name, value in vars(self).items() if name != "new_images"}


def split(settings: Settings, workspace: Path) -> SplitReport:
    """Group and split `data/valid` of `workspace` into `data/splits`, keeping every assignment made before.

    Raises ManifestError (missing, empty or wrong manifest, damaged assignment), SignatureError (validated with
    another hash size), SplitImpossible (fewer groups than splits), SplitLeak (a defect, caught before writing).
    """
    source = read_source(workspace)
    valid = read_manifest(workspace / VALID)
    before = read_assignment(workspace / ASSIGNMENT)
    near_duplicates = _near_duplicates(valid, settings.splits)
    ties = ties_of(valid, near_duplicates)
    image_ids = valid["image_id"].tolist()
    grouping = group_rows(ties, image_ids, before)
    used = _assigned(valid, grouping, before, settings.splits)
    with data_docs(workspace / DOCS, source.collected_at) as docs:
        held = docs.check("groups", _splits_per_group(used), [_one_split_per_group()])
    if not all(outcome.passed for outcome in held):
        raise SplitLeak(f"{len(held[0].broken)} group(s) lie in two splits; see {DOCS / 'index.html'} and report this")
    check_no_leak(used)
    torn = torn_ties(ties, image_ids, used["split"].reindex(valid.index).where(pd.notna, None).tolist())
    if torn:
        raise SplitLeak(
            f"{torn} tie(s) between images (sender, SKU, bytes, near-duplicates) reach over splits; report this"
        )
    report = _report(valid, used, grouping, before, len(near_duplicates), torn)
    write_parquet(workspace / LEFT_OUT, _left_out(valid, grouping))
    write_json(workspace / SUMMARY, report.as_metrics())
    write_parquet(workspace / ASSIGNMENT, _assignment(used, before))
    write_manifest(workspace / MANIFEST, used)
    _tell(report)
    return report


def check_no_leak(frame: pd.DataFrame) -> None:
    """Raise SplitLeak where images that belong together lie in different splits.

    `frame` has the manifest's columns, `group` and `split` filled in. Belonging together is: one group, one image_id,
    one sender of a shop, one SKU of a shop. A row without group or known split is a leak as well.
    """
    unknown = frame[frame["group"].isna() | ~frame["split"].isin(SPLITS)]
    if not unknown.empty:
        row = unknown.iloc[0]
        raise SplitLeak(f"{len(unknown)} row(s) have no group or no known split, first {row['source']}/{row['path']}")
    frame = frame.assign(shop=shop_of(frame))
    for keys in (["group"], ["image_id"], ["shop", "sender"], ["shop", "sku"]):
        splits = frame.dropna(subset=keys).groupby(keys)["split"].nunique()
        torn = splits[splits > 1]
        if not torn.empty:
            raise SplitLeak(f"{len(torn)} {' and '.join(keys)} lie in two splits, first {torn.index[0]!r}")


def read_assignment(path: Path) -> dict[str, tuple[str, str]]:
    """image_id to (group, split) as assigned so far; empty where nothing was.

    Raises ManifestError for a file that is damaged or puts a group into two splits.
    """
    if not path.exists():
        return {}
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read as Parquet: {error}. {_restore()}") from error
    missing = [name for name in ASSIGNMENT_COLUMNS if name not in frame.columns]
    if missing:
        raise ManifestError(f"{path} lacks the column(s) {', '.join(missing)}. {_restore()}")
    if frame[list(ASSIGNMENT_COLUMNS)].isna().any(axis=None) or not frame["split"].isin(SPLITS).all():
        raise ManifestError(f"{path} has rows without image, group or known split. {_restore()}")
    if frame["image_id"].duplicated().any() or (frame.groupby("group")["split"].nunique() > 1).any():
        raise ManifestError(f"{path} puts an image or a group into two splits. {_restore()}")
    values = zip(frame["image_id"], frame["group"], frame["split"], strict=True)
    return {str(image_id): (str(group), str(part)) for image_id, group, part in values}


def _restore() -> str:
    return "Restore it from its last version (`dvc checkout`); deleting it would deal all images out anew."


def _near_duplicates(valid: pd.DataFrame, settings: SplitSettings) -> list[NDArray[np.int64]]:
    lacking = [name for name in SIGNATURE_COLUMNS if name not in valid.columns]
    if lacking:
        raise ManifestError(f"{VALID} lacks {', '.join(lacking)}; run `packshot validate` first")
    bits, thumbnails = unpack(valid["phash"].tolist(), valid["thumbnail"].tolist(), settings.hash_size)
    return near_duplicate_sets(bits, thumbnails, settings.max_distance)


def _assigned(
    valid: pd.DataFrame, grouping: Grouping, before: dict[str, tuple[str, str]], settings: SplitSettings
) -> pd.DataFrame:
    """The rows that are not left out, with `group` and `split`, by their row number in `valid`."""
    frame = valid.assign(group=pd.Series(grouping.group, index=valid.index, dtype=object))
    frame = frame[frame["group"].notna()].copy()
    given = dict(before.values())
    groups: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for group, row in zip(frame["group"], strata(frame), strict=True):
        groups[group].append(row)
    shares = {part: float(getattr(settings, part)) for part in SPLITS}
    chosen = share_out(groups, given, shares, settings.seed)
    frame["split"] = frame["group"].map(chosen).astype(object)
    return frame[list(COLUMNS)]


def _splits_per_group(used: pd.DataFrame) -> pd.DataFrame:
    table = used.groupby("group").agg(images=("image_id", "size"), splits=("split", "nunique")).reset_index()
    table.insert(0, ROW, range(len(table)))
    return table


def _one_split_per_group() -> Rule:
    return Rule(
        "group_in_one_split",
        "ExpectColumnValuesToBeBetween",
        {"column": "splits", "min_value": 1, "max_value": 1},
        "split_leak",
        "A group of images that belong together lies in exactly one split.",
    )


def _assignment(used: pd.DataFrame, before: dict[str, tuple[str, str]]) -> pd.DataFrame:
    """What was assigned before, absent and left-out images too, and what is new; merged groups by their new name."""
    now = used.drop_duplicates("image_id")[list(ASSIGNMENT_COLUMNS)]
    known = set(now["image_id"])
    rest = [(image_id, *value) for image_id, value in before.items() if image_id not in known]
    frame = pd.concat([now, pd.DataFrame(rest, columns=list(ASSIGNMENT_COLUMNS), dtype=object)])
    return frame.astype(object).sort_values("image_id").reset_index(drop=True)


def _left_out(valid: pd.DataFrame, grouping: Grouping) -> pd.DataFrame:
    records = [
        {
            **valid.loc[one.row, ["image_id", "path", "source"]].to_dict(),
            "reason": one.reason,
            "groups": "|".join(one.groups),
            "splits": "|".join(one.splits),
        }
        for one in grouping.left_out
    ]
    return pd.DataFrame(records, columns=list(LEFT_OUT_COLUMNS), dtype=object)


def _report(
    valid: pd.DataFrame,
    used: pd.DataFrame,
    grouping: Grouping,
    before: dict[str, tuple[str, str]],
    near_duplicate_sets: int,
    leaks: int,
) -> SplitReport:
    if len(valid) != len(used) + len(grouping.left_out):
        raise SplitLeak(f"{len(valid)} rows in, {len(used)} used and {len(grouping.left_out)} left out; report this")
    counts = pd.crosstab(used["source"], used["split"]).reindex(columns=list(SPLITS), fill_value=0)
    groups = used.groupby("split")["group"].nunique().reindex(list(SPLITS), fill_value=0)
    return SplitReport(
        rows_in=len(valid),
        rows=len(used),
        left_out=len(grouping.left_out),
        new_images=int((~used["image_id"].isin(list(before))).sum()),
        near_duplicate_sets=near_duplicate_sets,
        largest_group=int(used["group"].value_counts().max()),
        images={part: int(counts[part].sum()) for part in SPLITS},
        groups={part: int(groups[part]) for part in SPLITS},
        by_source={str(source): {part: int(row[part]) for part in SPLITS} for source, row in counts.iterrows()},
        leaks=leaks,
    )


def _tell(report: SplitReport) -> None:
    parts = ", ".join(f"{part} {report.images[part]} images in {report.groups[part]} groups" for part in SPLITS)
    say(f"split: {parts}; {report.new_images} new, {report.near_duplicate_sets} sets of near-duplicates")
    if report.left_out:
        say(f"  {report.left_out} image(s) left out, since they would connect splits; see {LEFT_OUT}")
