"""Splits: groups never part, nothing moves when data is added, and what would leak stays out."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from catalogue_on_disk import Catalogue, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from packshot.catalog.grouping import LEAKS_INTO_HELD_OUT, WOULD_JOIN_SPLITS, group_rows, ties_of, torn_ties
from packshot.catalog.manifest import COLUMNS, ManifestError, read_manifest
from packshot.catalog.split import ASSIGNMENT, LEFT_OUT, MANIFEST, SUMMARY, SplitLeak, check_no_leak, split
from packshot.catalog.stratify import SplitImpossible, share_out, strata
from packshot.catalog.validate import validate
from packshot.config import load_settings
from packshot.home import project_root

SETTINGS = load_settings(project_root() / "params.yaml")
SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}

Assignment = dict[str, tuple[str, str]]


def table(rows: list[dict[str, object]]) -> pd.DataFrame:
    frame = pd.DataFrame([{**dict.fromkeys(COLUMNS), "source": "own", **row} for row in rows], columns=list(COLUMNS))
    return frame.astype({"quality_mos": "float64"}).astype({"sender": object, "sku": object})


def deal(frame: pd.DataFrame, near: list[list[int]], before: Assignment) -> tuple[Assignment, list, Assignment]:
    """One round of grouping and sharing out, as `split` does it: what is assigned now, left out, and remembered."""
    ties = ties_of(frame, [np.array(rows) for rows in near])
    grouping = group_rows(ties, frame["image_id"].tolist(), before)
    groups: dict[str, list] = {}
    for group, row in zip(grouping.group, strata(frame), strict=True):
        if group is not None:
            groups.setdefault(group, []).append(row)
    given_splits = {group: part for group, part in before.values() if group in groups}
    try:
        chosen = share_out(groups, given_splits, SHARES, 7)
    except SplitImpossible:
        chosen = {**dict.fromkeys(groups, "train"), **given_splits}
    now = {
        frame["image_id"][row]: (group, chosen[group]) for row, group in enumerate(grouping.group) if group is not None
    }
    splits = [chosen[group] if group else None for group in grouping.group]
    assert torn_ties(ties, frame["image_id"].tolist(), splits) == 0
    assert len(frame) == sum(group is not None for group in grouping.group) + len(grouping.left_out)
    return now, grouping.left_out, {**before, **now}


images = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60), st.integers(0, 60)), min_size=12, max_size=30)


@given(images, st.integers(4, 20), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=15))
@settings(max_examples=80, deadline=None)
def test_adding_data_never_moves_an_image_and_never_parts_a_tie(attributes, first, links):
    """Senders, SKUs, bytes and near-duplicates at random; a first batch, then all, then all again."""
    rows = [
        {
            "image_id": hashlib.sha256(bytes([name])).hexdigest(),
            "path": str(number),
            "sender": f"s{sender}" if sender < 25 else None,
            "sku": f"k{sku}" if sku < 15 else None,
        }
        for number, (sender, sku, name) in enumerate(attributes)
    ]
    near = [[a, b] for a, b in links if a != b and max(a, b) < len(rows)]
    first = max(1, min(first, len(rows)))
    start = table(rows[:first])
    before, _, remembered = deal(start, [pair for pair in near if max(pair) < first], {})
    after, left_out, remembered = deal(table(rows), near, remembered)
    for image_id, (_, part) in before.items():
        assert remembered[image_id][1] == part
        assert image_id not in after or after[image_id][1] == part
    for one in left_out:
        image_id = rows[one.row]["image_id"]
        assert one.reason == (LEAKS_INTO_HELD_OUT if image_id in before else WOULD_JOIN_SPLITS) and len(one.splits) > 1
        assert image_id not in before or before[image_id][1] != "test"
    again, left_out_again, _ = deal(table(rows), near, remembered)
    assert again == after and [one.row for one in left_out_again] == [one.row for one in left_out]


def ids(*names: str) -> list[dict[str, object]]:
    return [{"image_id": name, "path": name} for name in names]


def test_an_image_between_train_and_test_is_left_out_and_the_others_stay():
    before = {"a": ("g-a", "train"), "b": ("g-b", "test")}
    _, left_out, remembered = deal(table(ids("a", "b", "x", "y")), [[0, 2], [1, 2], [2, 3]], before)
    (one,) = left_out
    assert (one.row, one.groups, one.splits) == (2, ("g-a", "g-b"), ("test", "train"))
    assert remembered["a"] == ("g-a", "train") and remembered["b"] == ("g-b", "test") and "y" in remembered


def test_one_bridge_does_not_cost_the_rest_of_its_sender():
    rows = [{"image_id": f"{n:02}", "path": str(n), "sender": "s"} for n in range(20)]
    before = {"00": ("g-00", "train"), "other": ("g-other", "test")}
    now, left_out, _ = deal(table([*rows, *ids("other")]), [[5, 20]], before)
    assert [one.row for one in left_out] == [5]
    assert now["06"] == ("g-00", "train")


def test_new_images_that_connect_splits_only_together_are_all_left_out():
    before = {"a": ("g-a", "train"), "b": ("g-b", "validation")}
    _, left_out, _ = deal(table(ids("a", "b", "x", "y")), [[0, 2], [2, 3], [3, 1]], before)
    assert [one.row for one in left_out] == [2, 3]


def test_groups_of_one_split_that_become_connected_merge():
    before = {"a": ("g-a", "test"), "b": ("g-b", "test")}
    now, left_out, _ = deal(table(ids("a", "b", "x")), [[0, 2], [1, 2]], before)
    assert not left_out and set(now.values()) == {("g-a", "test")}


def test_old_images_found_to_belong_together_leave_the_held_out_one_in():
    before = {"a": ("g-a", "train"), "b": ("g-b", "test")}
    now, left_out, remembered = deal(table(ids("a", "b")), [[0, 1]], before)
    assert [(one.row, one.reason) for one in left_out] == [(0, LEAKS_INTO_HELD_OUT)]
    assert now == {"b": ("g-b", "test")} and remembered["a"] == ("g-a", "train")


def test_a_new_image_follows_the_split_of_an_old_one_that_had_to_leave():
    before = {"a": ("g-a", "validation"), "b": ("g-b", "test")}
    now, left_out, _ = deal(table(ids("a", "b", "x")), [[0, 1], [0, 2]], before)
    assert [one.row for one in left_out] == [0] and now["x"] == ("g-a", "validation")


def test_all_rows_of_an_image_stay_or_go_together():
    rows = [
        *ids("a", "b"),
        {"image_id": "x", "path": "x1", "source": "one", "sku": "k"},
        {"image_id": "x", "path": "x2", "source": "two"},
    ]
    now, left_out, _ = deal(table(rows), [[0, 2], [1, 2]], {"a": ("g-a", "train"), "b": ("g-b", "test")})
    assert [one.row for one in left_out] == [2, 3] and "x" not in now


def test_shares_hold_in_every_stratum_and_the_giant_group_goes_to_train():
    rows = [{"image_id": f"{n:04}", "path": str(n), "style": f"style{n % 4}"} for n in range(400)]
    rows += [{"image_id": f"c{n:04}", "path": f"c{n}", "source": "clothes", "sender": "big"} for n in range(60)]
    rows += [{"image_id": f"d{n:04}", "path": f"d{n}", "source": "clothes", "sender": f"s{n % 30}"} for n in range(140)]
    frame = table(rows)
    now, _, _ = deal(frame, [], {})
    frame["split"] = [now[one][1] for one in frame["image_id"]]
    counts = pd.crosstab(frame["style"], frame["split"])
    assert (counts["test"] == 15).all() and (counts["validation"] == 15).all()
    assert set(frame.loc[frame["sender"] == "big", "split"]) == {"train"}
    clothes = frame[frame["source"] == "clothes"]["split"].value_counts(normalize=True)
    assert abs(clothes["test"] - 0.15) < 0.03 and abs(clothes["validation"] - 0.15) < 0.03


@given(st.integers(3, 9), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_three_groups_are_enough_for_three_splits(count, seed):
    chosen = share_out({f"g{n}": [(f"stratum{n}",)] for n in range(count)}, {}, SHARES, seed)
    assert set(chosen.values()) == set(SHARES)
    grown = {f"g{n}": [("stratum",)] * 3 for n in range(2 * count)}
    again = share_out(grown, chosen, SHARES, seed)
    assert {name: again[name] for name in chosen} == chosen


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    workspace = tmp_path_factory.mktemp("validated")
    catalogue = Catalogue(workspace)
    catalogue.add_good(12)
    for number in range(3):
        catalogue.add(f"shop{number}.png", picture(50 + number), sender="shop")
    catalogue.write()
    validate(SETTINGS, workspace)
    return workspace


@pytest.fixture
def workspace(validated, tmp_path):
    return shutil.copytree(validated, tmp_path / "workspace")


def outputs(workspace) -> list[bytes]:
    return [(workspace / path).read_bytes() for path in (MANIFEST, LEFT_OUT, ASSIGNMENT, SUMMARY)]


def test_a_second_run_changes_no_byte_and_added_images_move_nothing(workspace):
    report = split(SETTINGS, workspace)
    assert report.leaks == 0 and sum(report.images.values()) == 15 and min(report.groups.values()) >= 1
    first, assigned = outputs(workspace), pd.read_parquet(workspace / ASSIGNMENT).set_index("image_id")
    assert split(SETTINGS, workspace).new_images == 0
    assert outputs(workspace) == first

    before = read_manifest(workspace / MANIFEST)
    train, test = (before[before["split"] == part].iloc[0] for part in ("train", "test"))
    catalogue = Catalogue(workspace)
    catalogue.rows = before.drop(columns=["group", "split"]).to_dict("records")
    catalogue.add("half_and_half.png", picture(70), sender=train["sender"] or "anew")
    catalogue.add_good(6, first=20)
    for row in catalogue.rows:
        if row["path"] in (test["path"], "own/half_and_half.png"):
            row["sku"] = "one-product"
        if row["path"] in (train["path"], "own/half_and_half.png"):
            row["sender"] = "one-sender"
    catalogue.write()
    validate(SETTINGS, workspace)
    report = split(SETTINGS, workspace)
    assert report.rows_in == 22 and report.left_out == 1 and report.new_images == 6
    left_out = pd.read_parquet(workspace / LEFT_OUT).iloc[0]
    assert (left_out["path"], left_out["splits"]) == ("own/half_and_half.png", "test|train")
    assert set(left_out["groups"].split("|")) == {train["group"], test["group"]}
    now = pd.read_parquet(workspace / ASSIGNMENT).set_index("image_id")
    assert now.loc[assigned.index, "split"].equals(assigned["split"])
    assert "own/half_and_half.png" not in set(read_manifest(workspace / MANIFEST)["path"])
    assert json.loads((workspace / SUMMARY).read_text())["left_out"] == 1


def test_a_catalogue_with_one_image_says_why_it_cannot_be_split(tmp_path):
    catalogue = Catalogue(tmp_path)
    catalogue.add_good(1)
    catalogue.write()
    validate(SETTINGS, tmp_path)
    with pytest.raises(SplitImpossible, match=r"1 image\(s\) form 1 group"):
        split(SETTINGS, tmp_path)
    assert not (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize("damage", ["not parquet", "two splits", "no column", "unknown split"])
def test_a_damaged_assignment_is_never_taken_for_none(workspace, damage):
    split(SETTINGS, workspace)
    path = workspace / ASSIGNMENT
    frame = pd.read_parquet(path)
    if damage == "not parquet":
        path.write_bytes(b"zzz")
    elif damage == "two splits":
        frame.assign(group="g").to_parquet(path)
    elif damage == "no column":
        frame.drop(columns="split").to_parquet(path)
    else:
        frame.assign(split="hidden").to_parquet(path)
    with pytest.raises(ManifestError, match="dvc checkout"):
        split(SETTINGS, workspace)


@pytest.mark.parametrize("key", ["group", "image_id", "sender", "sku", "split"])
def test_a_leak_is_found(key):
    rows = [
        {"image_id": f"i{n}", "path": str(n), "group": f"g{n}", "split": part, "sender": f"s{n}", "sku": f"k{n}"}
        for n, part in enumerate(("train", "validation", "test"))
    ]
    check_no_leak(table(rows))
    rows[2][key] = rows[0][key] if key != "split" else None
    with pytest.raises(SplitLeak):
        check_no_leak(table(rows))
