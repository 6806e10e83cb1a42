"""One row for every file, whatever the file is; nothing lost and nothing twice after a kill."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sample_batch import BrightnessJudge, make_batch, picture, save, scorer

from packshot.catalog.shop.records import CatalogUnreadable
from packshot.config import RuleBound, Settings, load_settings
from packshot.files import OutputNotWritable
from packshot.home import project_root
from packshot.ops.pipeline import score_folder
from packshot.registry.ledger import Ledger
from packshot.scoring.batch import FilesUnreadable, JudgeFailed, score
from packshot.scoring.listing import BatchFolderMissing, EmptyBatch
from packshot.scoring.shards import OtherModel, OutputBusy, sole_writer
from packshot.scoring.writing import OutputIsInput


@pytest.fixture
def settings() -> Settings:
    loaded = load_settings(project_root() / "params.yaml")
    scoring = loaded.scoring.model_copy(
        update={"shard_size": 4, "accept_at": 0.6, "reject_below": 0.35, "review_width": 0.5, "min_gain": 0.01}
        | {"max_enhanced_shift": 0.35, "attribute_floor": 0.5}
    )
    return loaded.model_copy(update={"scoring": scoring})


def read(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "verdicts.parquet").set_index("path", drop=False)


def test_every_kind_of_file_is_exactly_one_row(tmp_path: Path, settings: Settings) -> None:
    folder = tmp_path / "in"
    save(folder / "good.jpg", picture(200), quality=95)
    shutil.copy(folder / "good.jpg", folder / "twin.jpg")
    (folder / "cut.jpg").write_bytes((folder / "good.jpg").read_bytes()[:700])
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.png").touch()
    save(folder / "sub/ünïcode näme.png", picture(90))
    (folder / os.fsdecode(b"odd-\xff.png")).write_bytes((folder / "sub/ünïcode näme.png").read_bytes())
    Image.fromarray(picture(180)).convert("CMYK").save(folder / "cmyk.jpg")
    save(tmp_path / "elsewhere.png", picture(100))
    (folder / "out.png").symlink_to(tmp_path / "elsewhere.png")
    (folder / "dangling.png").symlink_to(folder / "nothing.png")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.png")
    (folder / ".hidden.png").touch()
    (folder / "catalog.csv").write_text("path,sku\n./good.jpg,A1\nnot-there.jpg,B2\n")
    out = folder / "verdicts-here"
    report = score(settings, folder, out, scorer=scorer())
    rows = read(out)
    assert list(rows.index) == sorted(rows.index)
    assert report.rows == len(rows) == len(set(rows.index)) == 12
    codes = {path: error.split(":")[0] for path, error in rows.error.dropna().items()}
    assert codes == {
        "cut.jpg": "truncated",
        "text.jpg": "not_an_image",
        "empty.png": "empty_file",
        "out.png": "outside_root",
        "linked": "outside_root",
        "dangling.png": "missing_file",
        "pipe.png": "missing_file",
    }
    bad = rows[rows.error.notna()]
    assert set(bad.decision) == {"reject"} and bad.quality.isna().all()
    assert [list(reasons) for reasons in bad.reasons] == [[error] for error in bad.error]
    good = rows[rows.error.isna()]
    assert good.quality.between(0, 1).all() and (good.quality_low <= good.quality_high).all()
    assert rows.loc["good.jpg", "image_id"] == rows.loc["twin.jpg", "image_id"]
    assert rows.loc["good.jpg", "sku"] == "A1" and "odd-\\xff.png" in good.index
    assert set(rows.model_version) == {3} and set(rows.data_rev) == {"data1"}


def test_enhanced_images_keep_name_format_and_transparency(tmp_path: Path, settings: Settings) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:4] = 0
    save(folder / "a/clear.png", np.dstack([picture(110), alpha]))
    save(folder / "photo.jpg", picture(110, 1), quality=95)
    save(folder / "page.tif", picture(110, 2))
    save(folder / "fine.png", picture(220))
    score(settings, folder, out, scorer=scorer())
    rows = read(out)
    assert rows.loc["fine.png", "decision"] == "accept" and pd.isna(rows.loc["fine.png", "enhanced_path"])
    kept = rows[rows.decision == "enhance"]
    assert set(kept.enhanced_path) == {"enhanced/a/clear.png", "enhanced/photo.jpg", "enhanced/page.png"}
    assert (kept.quality_after >= kept.quality + settings.scoring.min_gain).all()
    with Image.open(out / "enhanced/a/clear.png") as image:
        assert image.mode == "RGBA" and np.array_equal(np.asarray(image)[..., 3], alpha)
    with Image.open(out / "enhanced/photo.jpg") as image:
        assert image.format == "JPEG" and image.layer[1][1:3] == (1, 1)


def test_rules_are_asked_of_the_file_that_would_be_kept(tmp_path: Path, settings: Settings) -> None:
    folder = tmp_path / "in"
    small = save(folder / "small.jpg", picture(110, 1), quality=30).stat().st_size
    bound = RuleBound(threshold=small * 1.2 / 1e6, effect="reject")
    scoring = settings.scoring.model_copy(update={"profile": "tight", "profiles": {"tight": {"file_size": bound}}})
    tight = settings.model_copy(update={"scoring": scoring})
    score(settings, folder, tmp_path / "any", scorer=scorer())
    assert read(tmp_path / "any").loc["small.jpg", "decision"] == "enhance"
    score(tight, folder, tmp_path / "tight", scorer=scorer())
    row = read(tmp_path / "tight").loc["small.jpg"]
    assert row.decision == "review" and pd.isna(row.enhanced_path) and "file_size" in row.reasons[-1]
    assert not (tmp_path / "tight" / "enhanced").exists()


def test_a_file_that_changes_or_goes_away_while_at_work_says_so_in_its_row(tmp_path: Path, settings: Settings) -> None:
    folder = tmp_path / "in"
    save(folder / "gone.png", picture(110, 1))
    save(folder / "other.png", picture(110, 2))

    class Meanwhile(BrightnessJudge):
        def enhance(self, image: np.ndarray) -> np.ndarray:
            (folder / "gone.png").unlink(missing_ok=True)
            save(folder / "other.png", picture(30))
            return super().enhance(image)

    score(settings, folder, tmp_path / "out", scorer=scorer(Meanwhile()))
    rows = read(tmp_path / "out")
    assert set(rows.decision) == {"review"} and rows.enhanced_path.isna().all()
    assert "not_enhanced: the file has changed since it was read" in rows.loc["other.png", "reasons"][-1]
    assert rows.loc["gone.png", "reasons"][-1].startswith("not_enhanced: ")
    assert "enhancer failed" not in rows.loc["gone.png", "reasons"][-1]


def test_a_share_that_is_not_there_stops_the_batch_and_tells_no_seller(tmp_path: Path, settings: Settings) -> None:
    folder, out = make_batch(tmp_path / "in", 20), tmp_path / "out"
    share, unmounted = folder / ".share", folder / ".unmounted"
    share.mkdir()
    for path in (folder / "shop").iterdir():
        path.rename(share / path.name)
        path.symlink_to(f"../.share/{path.name}")
    share.rename(unmounted)
    with pytest.raises(FilesUnreadable, match="files of a shard were listed") as caught:
        score(settings, folder, out, scorer=scorer())
    assert caught.value.exit_code == 74 and not (out / "verdicts.parquet").exists()
    unmounted.rename(share)
    assert score(settings, folder, out, scorer=scorer()).errors == 0
    (share / "item003.png").unlink()  # one that is gone is one row
    assert score(settings, folder, tmp_path / "one", scorer=scorer()).errors == 1
    share.rename(unmounted)
    limits = settings.validation.model_copy(update={"max_unreadable_share": 1.0})
    tolerant = settings.model_copy(update={"validation": limits})
    assert score(tolerant, folder, tmp_path / "rows", scorer=scorer()).errors == 20


def test_an_enhanced_image_is_named_by_its_bytes(tmp_path: Path, settings: Settings) -> None:
    out = tmp_path / "out"
    score(settings, make_batch(tmp_path / "in", 12), out, scorer=scorer())
    enhanced = read(out).dropna(subset=["enhanced_path"])
    assert len(enhanced) and read(out).enhanced_id.notna().sum() == len(enhanced)
    for row in enhanced.itertuples():
        assert hashlib.sha256((out / row.enhanced_path).read_bytes()).hexdigest() == row.enhanced_id


def test_what_is_odd_beside_the_picture_is_a_note(tmp_path: Path, settings: Settings) -> None:
    folder, frames = tmp_path / "in", [Image.fromarray(picture(level)) for level in (200, 100)]
    folder.mkdir()
    frames[0].save(folder / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    save(folder / "still.png", picture(200))
    score(settings, folder, tmp_path / "out", scorer=scorer())
    rows = read(tmp_path / "out")
    assert [note.split(":")[0] for note in rows.loc["moving.webp", "notes"]] == ["animated"]
    assert len(rows.loc["still.png", "notes"]) == 0 and set(rows.decision) == {"accept"}


def test_a_killed_run_goes_on_and_a_finished_one_does_nothing(tmp_path: Path, settings: Settings) -> None:
    folder, out = make_batch(tmp_path / "in", 14), tmp_path / "out"
    seen: list[int] = []

    def stop(images: object) -> None:
        seen.append(1)
        if len(seen) > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(settings, folder, out, scorer=scorer(BrightnessJudge(stop)))
    finished = {path: path.stat().st_mtime_ns for path in (out / ".shards").glob("*.parquet")}
    assert finished and not (out / "verdicts.parquet").exists()
    report = score(settings, folder, out, scorer=scorer())
    assert report.shards_found == len(finished) and report.rows == 14 and report.judged < 14
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())
    unbroken = tmp_path / "unbroken"
    score(settings, folder, unbroken, scorer=scorer())
    pd.testing.assert_frame_equal(read(out).drop(columns="scored_at"), read(unbroken).drop(columns="scored_at"))
    before = (out / "verdicts.parquet").read_bytes()
    again = BrightnessJudge()
    assert score(settings, folder, out, scorer=scorer(again)).done_before
    assert again.calls == 0 and (out / "verdicts.parquet").read_bytes() == before


def test_two_models_or_two_writers_never_share_an_output(tmp_path: Path, settings: Settings) -> None:
    folder, out = make_batch(tmp_path / "in", 3), tmp_path / "out"
    score(settings, folder, out, scorer=scorer())
    with pytest.raises(OtherModel, match="another output folder"):
        score(settings, folder, out, scorer=scorer(version=4, digest="e" * 64))
    with sole_writer(out), pytest.raises(OutputBusy):
        score(settings, folder, out, scorer=scorer())
    with pytest.raises(OutputIsInput):
        score(settings, folder, folder, scorer=scorer())


def test_one_image_that_breaks_the_model_is_one_row_but_a_broken_model_is_an_error(
    tmp_path: Path, settings: Settings
) -> None:
    folder = make_batch(tmp_path / "in", 6)

    def dislike_the_darkest(images: list[np.ndarray]) -> None:
        if any(image.mean() < 45 for image in images):
            raise RuntimeError("kernel")

    score(settings, folder, tmp_path / "one", scorer=scorer(BrightnessJudge(dislike_the_darkest)))
    errors = read(tmp_path / "one").error.dropna()
    assert list(errors.index) == ["shop/item000.png"] and errors.iloc[0] == "not_judged: RuntimeError: kernel"

    def always(images: object) -> None:
        raise RuntimeError("no weights")

    with pytest.raises(JudgeFailed, match="no weights"):
        score(settings, folder, tmp_path / "all", scorer=scorer(BrightnessJudge(always)))
    assert not (tmp_path / "all/verdicts.parquet").exists()


def test_unusable_folders_say_so(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(BatchFolderMissing, match="does not exist"):
        score(settings, tmp_path / "nowhere", tmp_path / "out", scorer=scorer())
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "catalog.csv").write_text("path\n")
    with pytest.raises(EmptyBatch):
        score(settings, empty, tmp_path / "out", scorer=scorer())
    folder = make_batch(tmp_path / "in", 2)
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(OutputNotWritable):
        score(settings, folder, blocked / "out", scorer=scorer())
    (folder / "catalog.csv").write_text("thing,sku\nx,y\n")
    with pytest.raises(CatalogUnreadable, match=r"column 'path' .* is missing"):
        score(settings, folder, tmp_path / "out", scorer=scorer())


def test_a_broken_line_in_the_catalogue_costs_only_itself(tmp_path: Path, settings: Settings) -> None:
    folder = make_batch(tmp_path / "in", 3)
    text = (folder / "catalog.csv").read_text().splitlines()
    text[2] += ",too,many,fields"
    (folder / "catalog.csv").write_text("\n".join(text))
    score(settings, folder, tmp_path / "out", scorer=scorer())
    assert list(read(tmp_path / "out").sku.fillna("-")) == ["sku0", "-", "sku2"]


class TintingJudge(BrightnessJudge):
    """Enhancing makes a picture lighter and redder."""

    def enhance(self, image: np.ndarray) -> np.ndarray:
        return np.clip(image.astype(np.int16) + np.array([60, 40, 20]), 0, 255).astype(np.uint8)


def test_an_enhancer_that_tints_gives_its_light_and_the_colours_stay(tmp_path: Path, settings: Settings) -> None:
    save(tmp_path / "in/a.png", picture(120))
    score(settings, tmp_path / "in", tmp_path / "out", scorer=scorer(TintingJudge()))
    row = read(tmp_path / "out").loc["a.png"]
    assert row.decision == "enhance" and row.quality_after > row.quality + 0.1
    kept = np.asarray(Image.open(tmp_path / "out/enhanced/a.png")).astype(float)
    assert kept.mean() > 145 and np.ptp(kept.mean(axis=(0, 1))) < 3
    tints = settings.model_copy(update={"scoring": settings.scoring.model_copy(update={"max_colour_shift": 50.0})})
    score(tints, tmp_path / "in", tmp_path / "tinted", scorer=scorer(TintingJudge()))
    tinted = np.asarray(Image.open(tmp_path / "tinted/enhanced/a.png")).astype(float)
    assert np.ptp(tinted.mean(axis=(0, 1))) > 30


def test_scoring_leaves_in_the_ledger_what_it_cost(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("packshot.scoring.scorer.open_scorer", lambda *_: scorer(version=7))
    save(tmp_path / "in/a.png", picture(90))
    report = score_folder(settings, tmp_path / "in", tmp_path / "out", batch_id="monday")
    with pytest.raises(BatchFolderMissing):
        score_folder(settings, tmp_path / "nowhere", tmp_path / "out")
    entry, failed = Ledger.from_environment().history(kind="score")
    assert (entry["to_version"], entry["run_id"], entry["data_rev"]) == (7, "run1", "data1")
    assert (entry["payload"]["batch"], entry["payload"]["rows"]) == ("monday", report.rows) == ("monday", 1)
    assert entry["payload"]["cost"]["wall_s"] > 0 and "BatchFolderMissing" in failed["payload"]["failure"]
