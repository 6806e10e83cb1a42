"""Some sets of a split catalogue: groups and splits stay, the rest is gone."""

import pandas as pd
import pytest
from tiny_mirror import make_mirror

from packshot.catalog.collect import collect
from packshot.catalog.manifest import read_manifest
from packshot.catalog.narrowing import narrow
from packshot.catalog.source_record import SourceError, read_source
from packshot.catalog.split import split
from packshot.catalog.validate import validate
from packshot.config import Settings, load_settings


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PACKSHOT_MIRROR", str(make_mirror(tmp_path / "mirror")))
    monkeypatch.setenv("PACKSHOT_SOURCE", "mirror")
    return load_settings()


@pytest.fixture
def whole(settings, tmp_path):
    folder = tmp_path / "whole"
    collect(settings, folder)
    validate(settings, folder)
    split(settings, folder)
    return folder


def test_rows_of_the_sets_keep_group_and_split_and_the_others_leave_no_picture(settings, whole, tmp_path):
    before = read_manifest(whole / "data/splits/manifest.parquet")
    narrow(settings, whole, "starter", tmp_path / "own")
    after = read_manifest(tmp_path / "own/data/splits/manifest.parquet")
    kept = before[before["source"] != "furniture"].reset_index(drop=True)
    assert (before["source"] == "furniture").any()
    pd.testing.assert_frame_equal(after, kept)
    pictures = {path.relative_to(tmp_path / "own/data/raw/images") for path in tmp_path.glob("own/data/raw/images/*/*")}
    assert {str(path) for path in pictures} == set(kept["path"])
    record = read_source(tmp_path / "own")
    assert record.profile == "starter" and set(record.sets) == {"biq2021", "clothing", "grocery"}
    assert record.sets["clothing"].licence == "CC0-1.0"
    assert record.sets["biq2021"].rows == (kept["source"] == "biq2021").sum()
    narrow(settings, whole, "starter", tmp_path / "own")  # again: the same
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "own/data/splits/manifest.parquet"), kept)


def test_a_source_without_the_sets_is_an_error_that_names_them(settings, whole, tmp_path):
    with pytest.raises(SourceError, match=r"no picture of stamps, icons, which profiles\.packages needs"):
        narrow(settings, whole, "packages", tmp_path / "own")
    assert not (tmp_path / "own").exists()
