"""The manifest's columns: wrong ones are named, and what is written comes back."""

from __future__ import annotations

import pandas as pd
import pytest

from packshot.catalog.manifest import COLUMNS, ManifestError, read_manifest, rows_of_sets, write_manifest


def rows(*paths: str) -> pd.DataFrame:
    frame = pd.DataFrame({name: [None] * len(paths) for name in COLUMNS})
    return frame.assign(path=paths, source="own", image_id=[f"{n:064x}" for n in range(len(paths))])


def test_a_wrong_column_is_named_with_the_one_probably_meant(tmp_path):
    frame = rows("a.jpg").rename(columns={"quality_mos": "quality_mo", "sender": "zzz"})
    frame.to_parquet(tmp_path / "m.parquet")
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "m.parquet")
    message = str(caught.value)
    assert "'quality_mos' is missing; did you mean its column 'quality_mo'?" in message
    assert "'sender' is missing\n" in message and "m.parquet" in message


@pytest.mark.parametrize("content", [None, b"", b"path,sku\n"])
def test_a_missing_or_damaged_file_is_a_clear_error(tmp_path, content):
    if content is not None:
        (tmp_path / "m.parquet").write_bytes(content)
    with pytest.raises(ManifestError, match=r"m\.parquet"):
        read_manifest(tmp_path / "m.parquet")


def test_an_empty_catalogue_stops_the_run(tmp_path):
    write_manifest(tmp_path / "m.parquet", rows())
    with pytest.raises(ManifestError, match="empty catalogue"):
        read_manifest(tmp_path / "m.parquet")
    assert read_manifest(tmp_path / "m.parquet", allow_empty=True).empty


def test_rows_come_back_sorted_and_typed_and_extra_columns_stay_last(tmp_path):
    frame = rows("b.jpg", "a.jpg").assign(width=[3, None], title=["", " chair "], extra=[1, 2])
    write_manifest(tmp_path / "m.parquet", frame)
    back = read_manifest(tmp_path / "m.parquet")
    assert list(back.columns) == [*COLUMNS, "extra"]
    assert back["path"].tolist() == ["a.jpg", "b.jpg"] and back["title"].tolist() == ["chair", None]
    assert pd.isna(back["width"][0]) and back["width"][1] == 3 and back["quality_mos"].dtype == "float64"
    first = (tmp_path / "m.parquet").read_bytes()
    write_manifest(tmp_path / "m.parquet", frame.iloc[::-1])
    assert (tmp_path / "m.parquet").read_bytes() == first


def test_a_row_cannot_stand_twice(tmp_path):
    with pytest.raises(ManifestError, match=r"own/a\.jpg"):
        write_manifest(tmp_path / "m.parquet", rows("a.jpg", "a.jpg"))


def test_rows_are_chosen_by_set_or_by_one_of_its_subsets() -> None:
    frame = pd.DataFrame({"source": ["a", "a", "b", "b", "c"], "subset": ["x", "y", "x", None, None]})
    assert rows_of_sets(frame, ["a/x", "b"]).tolist() == [True, False, True, True, False]
    assert rows_of_sets(frame, ["b/None", "x"]).tolist() == [False] * 5
