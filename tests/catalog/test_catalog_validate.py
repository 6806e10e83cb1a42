"""Validation: every bad row is quarantined with its reason, none is lost, a bad batch is refused."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from catalogue_on_disk import Catalogue, picture

from packshot.catalog.manifest import QUARANTINE_COLUMNS, ManifestError, read_manifest
from packshot.catalog.source_record import QUARANTINE
from packshot.catalog.source_record import VALIDATION as SUMMARY
from packshot.catalog.validate import DOCS, VALID, BatchRefused, validate
from packshot.config import Settings, load_settings
from packshot.home import project_root


def settings(**validation: object) -> Settings:
    loaded = load_settings(project_root() / "params.yaml")
    return loaded.model_copy(update={"validation": loaded.validation.model_copy(update=validation)})


def reasons(workspace) -> dict[str, str]:
    quarantine = pd.read_parquet(workspace / QUARANTINE)
    assert list(quarantine.columns) == list(QUARANTINE_COLUMNS)
    paths = [path if isinstance(path, str) else None for path in quarantine["path"]]
    return dict(zip(paths, quarantine["reason"], strict=True))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """One of each bad row beside good ones, validated once."""
    workspace = tmp_path_factory.mktemp("mixed")
    catalogue = Catalogue(workspace)
    catalogue.add_good(8, style="rustic", quality_mos=0.5)
    catalogue.add_good(2, first=8, style="modern", quality_mos=1.0)
    whole = (catalogue.images / "own/good000.png").read_bytes()
    (workspace / "outside.png").write_bytes(whole)
    catalogue.add("truncated.png", whole[: len(whole) // 2])
    catalogue.add("text.jpg", b"not a picture, whatever the name says")
    catalogue.add("empty.jpg", b"")
    catalogue.add("tiny.png", picture(90)[:20])
    catalogue.add("missing.png", None)
    catalogue.add("../../../../outside.png", None)
    catalogue.add("seven.png", picture(91), quality_mos=7.0)
    catalogue.add("minus.png", picture(92), quality_mos=float("-inf"))
    catalogue.add("label.png", picture(93), style="baroque", quality_mos=3.0)
    catalogue.add("copy.png", whole)
    catalogue.add("copy_of_seven.png", (catalogue.images / "own/seven.png").read_bytes(), quality_mos=0.7)
    catalogue.add("stranger.png", picture(94), source="elsewhere")
    catalogue.add("nameless.png", picture(96))["path"] = None
    catalogue.add("changed.png", picture(95))["image_id"] = hashlib.sha256(b"before").hexdigest()
    catalogue.write()
    return workspace, validate(settings(max_bad_share=0.9), workspace)


def test_every_bad_row_has_its_reason(mixed):
    workspace, _ = mixed
    assert reasons(workspace) == {
        "own/truncated.png": "truncated",
        "own/text.jpg": "not_an_image",
        "own/empty.jpg": "empty_file",
        "own/tiny.png": "too_small",
        "own/missing.png": "missing_file",
        "own/../../../../outside.png": "outside_root",
        "own/seven.png": "score_out_of_range",
        "own/minus.png": "score_out_of_range",
        "own/label.png": "score_out_of_range",
        "own/good000.png": "duplicate",
        "own/stranger.png": "unknown_source",
        "own/changed.png": "changed_bytes",
        None: "missing_path",
    }
    rows = pd.read_parquet(workspace / QUARANTINE).set_index("path")
    assert rows.loc["own/seven.png", "value"] == "7.0"
    assert rows.loc["own/good000.png", "value"] == "own/copy.png"
    assert "style_known" in rows.loc["own/label.png", "detail"]
    assert "file has no bytes" in rows.loc["own/empty.jpg", "detail"]
    assert set(rows["at"]) == {"2026-01-02T03:04:05+00:00"}


def test_no_row_is_lost_and_valid_rows_carry_what_the_files_are(mixed):
    workspace, report = mixed
    valid = read_manifest(workspace / VALID)
    assert report.rows_in == len(valid) + len(reasons(workspace)) == report.valid + report.quarantined
    assert "own/copy_of_seven.png" in set(valid["path"]), "a copy of a quarantined row is not a duplicate"
    good = valid.set_index("path").loc["own/good001.png"]
    assert (good["width"], good["height"], good["format"]) == (64, 64, "PNG")
    assert valid["phash"].str.len().eq(16).all() and valid["thumbnail"].notna().all()
    assert json.loads((workspace / SUMMARY).read_text())["by_reason"]["duplicate"] == 1


def test_data_docs_show_every_table(mixed):
    workspace, _ = mixed
    index = (workspace / DOCS / "index.html").read_text()
    assert index.count("score_in_range") == index.count("image_unique") == index.count("batch_good_enough") == 1
    pages = {path.name: path.read_text() for path in (workspace / DOCS / "validations").rglob("*.html")}
    assert set(pages) == {f"catalogue-{table}.html" for table in ("images", "duplicates", "styles", "batch")}
    assert "A score is between 0 and 1." in pages["catalogue-images.html"]
    assert all((workspace / DOCS / link).exists() for link in re.findall(r'<h4><a href="([^"]+)"', index))


def test_data_docs_need_no_network_and_run_no_script(mixed):
    workspace, _ = mixed
    for page in (workspace / DOCS).rglob("*.html"):
        html = page.read_text()
        assert not re.search(r"<script|<link|<img|(src|url)\W{1,3}https?:", html), page
        assert "default-src 'none'" in html and "✓" in html


def test_the_same_input_gives_the_same_bytes(mixed):
    workspace, _ = mixed
    before = [(workspace / path).read_bytes() for path in (VALID, QUARANTINE, SUMMARY)]
    validate(settings(max_bad_share=0.9), workspace)
    assert [(workspace / path).read_bytes() for path in (VALID, QUARANTINE, SUMMARY)] == before


def test_a_bad_batch_is_refused_after_everything_is_written(tmp_path):
    catalogue = Catalogue(tmp_path)
    catalogue.add_good(8)
    catalogue.add("a.jpg", b"x")
    catalogue.add("b.jpg", b"y")
    catalogue.write()
    with pytest.raises(BatchRefused, match=r"2 of 10 .*20\.0%.*not_an_image 2") as caught:
        validate(settings(max_bad_share=0.19), tmp_path)
    assert caught.value.exit_code == 65
    assert len(reasons(tmp_path)) == 2 and len(read_manifest(tmp_path / VALID)) == 8
    assert not json.loads((tmp_path / SUMMARY).read_text())["passed"]
    assert validate(settings(max_bad_share=0.2), tmp_path).passed


def test_a_batch_without_one_good_row_is_refused_whatever_the_limit(tmp_path):
    catalogue = Catalogue(tmp_path)
    catalogue.add("a.jpg", b"x")
    catalogue.write()
    with pytest.raises(BatchRefused):
        validate(settings(max_bad_share=1.0), tmp_path)
    assert reasons(tmp_path) == {"own/a.jpg": "not_an_image"}


def test_unknown_labels_nan_and_text_scores_are_quarantined(tmp_path):
    catalogue = Catalogue(tmp_path)
    catalogue.add_good(6, style="rustic", quality_mos=0.5)
    catalogue.rows[0]["style"] = "baroque"
    catalogue.write()
    stored = pq.read_table(tmp_path / "data/raw/manifest.parquet")
    column = stored.column_names.index("quality_mos")
    real_nan = pa.array([0.5, np.nan, None, 0.5, 0.5, 0.5], pa.float64(), from_pandas=False)
    pq.write_table(stored.set_column(column, "quality_mos", real_nan), tmp_path / "data/raw/manifest.parquet")
    validate(settings(max_bad_share=0.9), tmp_path)
    assert reasons(tmp_path) == {"own/good000.png": "unknown_label", "own/good001.png": "score_not_a_number"}
    as_text = pa.array(["0.5", "good", None, "0.25", "nan", "1e0"])
    pq.write_table(stored.set_column(column, "quality_mos", as_text), tmp_path / "data/raw/manifest.parquet")
    validate(settings(max_bad_share=0.9), tmp_path)
    assert reasons(tmp_path) == {
        "own/good000.png": "unknown_label",
        "own/good001.png": "score_not_a_number",
        "own/good004.png": "score_not_a_number",
    }
    assert read_manifest(tmp_path / VALID)["quality_mos"].dropna().tolist() == [0.25, 1.0]


def test_a_rare_style_warns_and_does_not_stop(tmp_path):
    catalogue = Catalogue(tmp_path)
    catalogue.add_good(9, style="rustic")
    catalogue.add_good(1, first=9, style="modern")
    catalogue.write()
    report = validate(settings(min_class_share=0.2), tmp_path)
    assert report.passed and report.warnings == ("own/modern is rare: 10.0% of its source's labelled images",)


@pytest.mark.parametrize("change", ["empty", "column"])
def test_a_manifest_that_cannot_be_used_stops_the_run(tmp_path, change):
    catalogue = Catalogue(tmp_path)
    catalogue.add_good(1)
    frame = catalogue.frame()
    frame = frame.iloc[:0] if change == "empty" else frame.rename(columns={"style": "styles"})
    frame.to_parquet(tmp_path / "data/raw/manifest.parquet")
    catalogue.write_source()
    with pytest.raises(ManifestError, match="empty catalogue" if change == "empty" else "'style' is missing"):
        validate(settings(), tmp_path)
    assert not (tmp_path / VALID).exists()
