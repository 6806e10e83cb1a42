"""The same `--out` again: what is new is judged, what holds stays, and what would lose verdicts is refused."""

from __future__ import annotations

import csv
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sample_batch import BrightnessJudge, make_batch, picture, save, scorer
from test_scoring_engine import contents, die_at, in_a_child, rows, settings_with

from packshot.config import Settings
from packshot.revision import code_rev
from packshot.scoring.batch import merge_batch, plan_batch, score, score_part
from packshot.scoring.listing import BatchFile
from packshot.scoring.plan import _runs
from packshot.scoring.shards import OutputHolds, read_manifest

COUNT = 10


class Counting(BrightnessJudge):
    """Knows how many pictures it was shown before enhancing, by their brightness."""

    def __init__(self) -> None:
        super().__init__(lambda images: self.seen.extend(round(float(image.mean())) for image in images))
        self.seen: list[int] = []


@pytest.fixture
def settings() -> Settings:
    return settings_with(accept_at=0.1)  # nothing is enhanced, so that a picture is shown once


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_batch(tmp_path / "in", COUNT, low=100, high=200)


def everything(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "verdicts.parquet").set_index("path", drop=False)


def again(settings: Settings, folder: Path, out: Path, **more: object) -> tuple[int, pd.DataFrame]:
    """Score; returns how many pictures the judge was shown, and the rows."""
    judge = Counting()
    report = score(settings, folder, out, scorer=scorer(judge), **more)
    assert report.judged == len(judge.seen)
    return len(judge.seen), everything(out)


@pytest.mark.parametrize("name", ["aaa.png", "shop/item004b.png", "zzz.png"])
def test_a_new_file_costs_one_verdict_wherever_it_sorts(
    tmp_path: Path, settings: Settings, folder: Path, name: str
) -> None:
    out = tmp_path / "out"
    _, before = again(settings, folder, out)
    save(folder / name, picture(150, 77))
    judged, after = again(settings, folder, out)
    assert judged == 1 and list(after.index) == sorted([*before.index, name])
    pd.testing.assert_frame_equal(after.drop(index=name), before)
    assert set(after.batch_id) == set(before.batch_id), "the key of the exports stays"
    assert again(settings, folder, out)[0] == 0
    again(settings, folder, tmp_path / "new")
    same = ["batch_id", "scored_at"]
    pd.testing.assert_frame_equal(after.drop(columns=same), everything(tmp_path / "new").drop(columns=same))
    assert contents(out) == contents(tmp_path / "new"), "nothing of the plan before is left"


def test_a_change_is_seen_by_content_and_not_by_size_or_time(tmp_path: Path, settings: Settings, folder: Path) -> None:
    out = tmp_path / "out"
    save(folder / "b.bmp", picture(120, 1))
    _, before = again(settings, folder, out)
    state = (folder / "b.bmp").stat()
    save(folder / "b.bmp", picture(180, 2))
    os.utime(folder / "b.bmp", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (folder / "b.bmp").stat().st_size == state.st_size
    judged, after = again(settings, folder, out)
    assert judged == 1 and after.loc["b.bmp", "quality"] > before.loc["b.bmp", "quality"] + 0.2
    pd.testing.assert_frame_equal(after.drop(index="b.bmp"), before.drop(index="b.bmp"))


def test_copied_touched_and_moved_files_are_the_same(
    tmp_path: Path, settings: Settings, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    _, before = again(settings, folder, out)
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    capsys.readouterr()
    judged, after = again(settings, tmp_path / "copy", out)
    assert judged == 0 and "judged anew" not in capsys.readouterr().err
    pd.testing.assert_frame_equal(after, before)
    (tmp_path / "copy").rename(tmp_path / "moved")
    assert again(settings, tmp_path / "moved", out)[0] == 0
    assert read_manifest(out)["images"] == str(tmp_path / "moved"), "exports find the pictures where they are now"


def catalogue(folder: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    with (folder / "catalog.csv").open(newline="") as handle:
        changed = [change(row) for row in csv.DictReader(handle)]
    with (folder / "catalog.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, changed[0])
        writer.writeheader()
        writer.writerows(changed)


def test_sellers_stay_where_the_catalogue_is_left_out_or_has_lost_a_column(
    tmp_path: Path, settings: Settings, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    _, before = again(settings, folder, out)
    assert before.sender.notna().all()
    catalogue(folder, lambda row: {name: value for name, value in row.items() if name != "sender"})
    judged, after = again(settings, folder, out)
    assert judged == 0 and f"{COUNT} picture(s) (sender of {COUNT})" in capsys.readouterr().err
    pd.testing.assert_frame_equal(after, before)
    (folder / "catalog.csv").unlink()
    save(folder / "new.png", picture(150, 5))
    judged, after = again(settings, folder, out)
    assert judged == 1 and pd.isna(after.loc["new.png", "sender"])
    pd.testing.assert_frame_equal(after.drop(index="new.png"), before)


def test_a_row_of_the_catalogue_that_says_something_else_costs_its_own_verdict(
    tmp_path: Path, settings: Settings, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, changed = tmp_path / "out", "shop/item003.png"
    _, before = again(settings, folder, out)
    catalogue(folder, lambda row: row | ({"sku": "other"} if row["path"] == changed else {}))
    judged, after = again(settings, folder, out)
    assert judged == 1 and after.loc[changed, "sku"] == "other"
    assert "judged anew: 1 of which the catalogue says something else" in capsys.readouterr().err
    pd.testing.assert_frame_equal(after.drop(index=changed), before.drop(index=changed))


def test_files_that_are_gone_are_asked_about_and_let_go_only_when_told(
    tmp_path: Path, settings: Settings, folder: Path
) -> None:
    out = tmp_path / "out"
    enhancing = settings_with()
    score(enhancing, folder, out, scorer=scorer())
    before, found = contents(out), everything(out)
    for name in ("shop/item000.png", "shop/item004.png"):
        (folder / name).unlink()
    with pytest.raises(OutputHolds, match=r"2 file\(s\).*shop/item000.png, shop/item004.png.*--out .*--drop-gone"):
        score(enhancing, folder, out, scorer=scorer())
    assert contents(out) == before
    report = score(enhancing, folder, out, scorer=scorer(), drop_gone=True)
    gone = ["shop/item000.png", "shop/item004.png"]
    assert report.judged == 0 and report.rows == COUNT - 2
    pd.testing.assert_frame_equal(everything(out), found.drop(index=gone))
    named = {f"enhanced/{name}" for name in gone}
    assert named <= before.keys() and not named & contents(out).keys()


def test_other_pictures_do_not_replace_those_of_yesterday(tmp_path: Path, settings: Settings, folder: Path) -> None:
    score(settings, folder, tmp_path / "out", scorer=scorer())
    before = (tmp_path / "out/verdicts.parquet").read_bytes()
    save(tmp_path / "tuesday/x.png", picture(150))
    with pytest.raises(OutputHolds, match=f"verdicts of {COUNT} file"):
        score(settings, tmp_path / "tuesday", tmp_path / "out", scorer=scorer())
    assert (tmp_path / "out/verdicts.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda out: (out / ".shards/manifest.json").write_text("{"), "no record of what made them"),
        (lambda out: (out / ".shards/plan.sqlite").write_bytes(b"0" * 9000), "plan.sqlite is damaged"),
        (lambda out: (out / ".shards/plan.sqlite").unlink(), "holds no plan"),
        (lambda out: shutil.rmtree(out / ".shards"), "no record of what made them"),
    ],
)
def test_verdicts_without_what_goes_with_them_are_not_replaced(
    tmp_path: Path, settings: Settings, folder: Path, spoilt: Callable[[Path], object], said: str
) -> None:
    out = tmp_path / "out"
    score(settings, folder, out, scorer=scorer())
    before = (out / "verdicts.parquet").read_bytes()
    spoilt(out)
    with pytest.raises(OutputHolds, match=f"{said}.*--out "):
        score(settings, folder, out, scorer=scorer())
    assert (out / "verdicts.parquet").read_bytes() == before


def test_other_rules_or_another_name_ask_for_a_folder_of_their_own(
    tmp_path: Path, settings: Settings, folder: Path
) -> None:
    out = tmp_path / "out"
    score(settings, folder, out, scorer=scorer(), batch_id="monday")
    before = contents(out), (out / "verdicts.parquet").read_bytes()
    for other, said in (
        (settings_with(accept_at=0.1, profile="amazon-main"), "scoring.profile: own, now amazon-main"),
        (settings_with(accept_at=0.2), "scoring.accept_at: 0.1, now 0.2"),
    ):
        with pytest.raises(OutputHolds, match=rf"{said}.*--out {out}-[0-9a-f]{{8}}") as refused:
            score(other, folder, out, scorer=scorer())
        assert refused.value.exit_code == 73
        with pytest.raises(OutputHolds):
            plan_batch(other, folder, out, scorer())
    with pytest.raises(OutputHolds, match="batch monday, not of tuesday"):
        score(settings, folder, out, scorer=scorer(), batch_id="tuesday")
    assert (contents(out), (out / "verdicts.parquet").read_bytes()) == before
    assert score(settings_with(accept_at=0.1, shard_size=3), folder, out, scorer=scorer()).judged == 0
    patient = settings.validation.model_copy(update={"decode_deadline_s": 77.0, "max_bad_share": 0.7})
    assert score(settings.model_copy(update={"validation": patient}), folder, out, scorer=scorer()).judged == 0
    assert set(everything(out).batch_id) == {"monday"}


def test_verdicts_of_other_code_are_kept_and_a_folder_of_its_own_is_asked_for(
    tmp_path: Path, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as earlier:
        earlier.setattr("packshot.scoring.shards.code_rev", lambda *_: "0123456789abcdef")
        score(settings, folder, out, scorer=scorer())
    before = contents(out), (out / "verdicts.parquet").read_bytes()
    with pytest.raises(OutputHolds, match=rf"code: 0123456789abcdef, now {code_rev('score')}.*--out {out}-"):
        score(settings, folder, out, scorer=scorer())
    assert (contents(out), (out / "verdicts.parquet").read_bytes()) == before


def test_shards_that_were_never_merged_are_begun_again_under_other_rules(
    tmp_path: Path, settings: Settings, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "out", settings_with(accept_at=0.2)
    plan = plan_batch(settings, folder, out, scorer())
    score_part(settings, out, scorer(), range(plan.shards))
    assert again(other, folder, out)[0] == COUNT
    assert "made otherwise (scoring.accept_at: 0.1, now 0.2)" in capsys.readouterr().err


def test_a_kill_at_any_commit_while_files_are_added_loses_nothing(tmp_path: Path) -> None:
    enhancing = settings_with()
    folder = make_batch(tmp_path / "in", 8, low=100, high=140)
    score(enhancing, folder, tmp_path / "first", scorer=scorer())
    save(folder / "aaa.png", picture(115, 50))
    save(folder / "shop/item003.png", picture(125, 51))
    shutil.copytree(tmp_path / "first", tmp_path / "unbroken")
    score(enhancing, folder, tmp_path / "unbroken", scorer=scorer())
    assert everything(tmp_path / "unbroken").loc["aaa.png", "enhanced_path"]
    for before in (True, False):
        commits = 0
        while True:
            commits += 1
            out = tmp_path / f"{before}-{commits}"
            shutil.copytree(tmp_path / "first", out)

            def killed(out: Path = out, commit: int = commits, before: bool = before) -> None:
                die_at(commit, before)
                score(enhancing, folder, out, scorer=scorer())

            ended = in_a_child(killed)
            judge = Counting()
            score(enhancing, folder, out, scorer=scorer(judge))
            pd.testing.assert_frame_equal(rows(out), rows(tmp_path / "unbroken"))
            assert contents(out) == contents(tmp_path / "unbroken")
            assert len(judge.seen) <= 4, "two new contents, and what enhancing made of them"
            if not ended:
                break
        assert commits > 5


def test_what_was_planned_anew_is_not_taken_back_from_an_older_plan(
    tmp_path: Path, settings: Settings, folder: Path
) -> None:
    """An enhanced image may have been written anew since, under another catalogue, before a kill."""
    out, changed = tmp_path / "out", "shop/item003.png"
    score(settings, folder, out, scorer=scorer())
    first = (folder / "catalog.csv").read_text()
    catalogue(folder, lambda row: row | ({"title": "other"} if row["path"] == changed else {}))
    plan_batch(settings, folder, out, scorer())
    (folder / "catalog.csv").write_text(first)
    judged, after = again(settings, folder, out)
    assert judged == 1 and after.loc[changed, "title"] == "Item 3"
    assert again(settings, folder, out)[0] == 0


def test_several_processes_share_what_is_new(tmp_path: Path, settings: Settings, folder: Path) -> None:
    out = tmp_path / "out"
    score(settings, folder, out, scorer=scorer())
    for number in range(6):
        save(folder / f"shop/item{number:03d}b.png", picture(150, 60 + number))
    plan = plan_batch(settings, folder, out, scorer())
    assert plan.waiting(range(plan.shards))[1] == 6
    judges = [Counting() for _ in range(3)]
    parts = [
        threading.Thread(target=score_part, args=(settings, out, scorer(judge), range(plan.shards))) for judge in judges
    ]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    assert sum(len(judge.seen) for judge in judges) == 6
    assert merge_batch(settings, out, scorer()).rows == COUNT + 6
    score(settings, folder, tmp_path / "alone", scorer=scorer())
    pd.testing.assert_frame_equal(rows(out).drop(columns="batch_id"), rows(tmp_path / "alone").drop(columns="batch_id"))


def test_a_file_more_moves_the_ends_of_shards_next_to_it_alone() -> None:
    def runs(names: list[str]) -> list[tuple[str, ...]]:
        files = [BatchFile(name, Path(name), 1, 1) for name in sorted(names)]
        return [tuple(file.path for file in run) for run in _runs(files, 16)]

    names = [f"item{number:04d}.jpg" for number in range(2000)]
    before = runs(names)
    assert sum(map(len, before)) == 2000 and max(map(len, before)) == 16 and len(before) < 300
    rng = np.random.default_rng(3)
    for number in rng.integers(0, 2000, 20):
        after = runs([*names, f"item{number:04d}b.jpg"])
        assert len(set(before) - set(after)) <= 12
    first = runs(["0.jpg", *names])
    assert len(set(before) - set(first)) <= 12


def test_a_kept_image_is_the_one_that_its_row_is_about(tmp_path: Path) -> None:
    enhancing, out = settings_with(), tmp_path / "out"
    folder = make_batch(tmp_path / "in", 6, low=100, high=140)
    score(enhancing, folder, out, scorer=scorer())
    before = {path.name: path.read_bytes() for path in (out / "enhanced/shop").iterdir()}
    save(folder / "0.png", picture(120, 9))
    score(enhancing, folder, out, scorer=scorer())
    assert {path.name: path.read_bytes() for path in (out / "enhanced/shop").iterdir()} == before
    with Image.open(out / "enhanced/0.png") as image:
        assert np.asarray(image).mean() > 150
