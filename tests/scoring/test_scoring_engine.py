"""The engine that turns a batch into verdicts: streams and shards, killed at any moment, shared by many processes."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from sample_batch import BrightnessJudge, make_batch, picture, save, scorer

from packshot.catalog.decoding.pool import Decoders
from packshot.catalog.shop.matching import KnownFiles, read_facts
from packshot.config import Settings, load_settings
from packshot.files import OutputNotWritable
from packshot.home import project_root
from packshot.scoring.batch import merge_batch, plan_batch, score, score_part, score_shard
from packshot.scoring.merging import ShardsMissing
from packshot.scoring.plan import NotPlanned, open_plan
from packshot.scoring.rows import Work
from packshot.scoring.scorer import open_scorer
from packshot.scoring.shards import OutputBusy, claimed, one_of_writers, sole_writer


def settings_with(**scoring: object) -> Settings:
    loaded = load_settings(project_root() / "params.yaml")
    changed = {"shard_size": 4, "accept_at": 0.6, "reject_below": 0.35, "review_width": 0.5, "min_gain": 0.01}
    return loaded.model_copy(update={"scoring": loaded.scoring.model_copy(update=changed | scoring)})


@pytest.fixture
def settings() -> Settings:
    return settings_with()


def rows(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "verdicts.parquet").drop(columns="scored_at")


def contents(out: Path) -> dict[str, bytes | None]:
    """Every file of an output folder; of those that hold times or hashes of places, only that they are there."""
    found = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() if name.startswith("enhanced/") else None for name, path in found.items()}


def in_a_child(what: Callable[[], object]) -> int:
    """Do it in a forked process; returns the signal that ended it, 0 where it came to its end."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            what()
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def die_at(commit: int, before: bool) -> None:
    """End this process by SIGKILL just before, or just after, so many files were put in place."""
    replace, seen = Path.replace, []

    def counted(self: Path, target: Path) -> Path:
        seen.append(self)
        if before and len(seen) == commit:
            os.kill(os.getpid(), signal.SIGKILL)
        done = replace(self, target)
        if len(seen) == commit:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Path.replace = counted  # type: ignore[method-assign]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_kill_at_any_commit_loses_nothing_and_leaves_nothing(
    tmp_path: Path, settings: Settings, before: bool
) -> None:
    folder = make_batch(tmp_path / "in", 10, low=100, high=140)
    score(settings, folder, tmp_path / "unbroken", scorer=scorer())
    commits = 0
    while True:
        commits += 1
        out = tmp_path / str(commits)

        def killed(out: Path = out, commit: int = commits) -> None:
            die_at(commit, before)
            score(settings, folder, out, scorer=scorer())

        ended = in_a_child(killed)
        for image in (out / "enhanced").rglob("[!.]*.png"):
            Image.open(image).load()
        score(settings, folder, out, scorer=scorer())
        pd.testing.assert_frame_equal(rows(out), rows(tmp_path / "unbroken"))
        assert contents(out) == contents(tmp_path / "unbroken")
        if not ended:
            break
    enhanced = len(rows(tmp_path / "unbroken").enhanced_path.dropna())
    shards = len(list((tmp_path / "unbroken/.shards").glob("*.parquet")))
    assert enhanced > 5 and shards > 2 and commits - 1 == 1 + 1 + enhanced + shards + 1 + 1, (
        "plan, manifest, images, shards, rows, manifest"
    )


def test_a_shard_is_scored_by_one_process_at_a_time_and_several_share_a_batch(
    tmp_path: Path, settings: Settings
) -> None:
    folder, out = make_batch(tmp_path / "in", 40, low=100, high=140), tmp_path / "out"
    plan = plan_batch(settings, folder, out, scorer())
    judges = [BrightnessJudge() for _ in range(3)]
    parts = [
        threading.Thread(target=score_part, args=(settings, out, scorer(judge), range(plan.shards))) for judge in judges
    ]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    alone = BrightnessJudge()
    score(settings, folder, tmp_path / "alone", scorer=scorer(alone))
    assert sum(judge.calls for judge in judges) == alone.calls, "no shard was scored twice"
    merge_batch(settings, out, scorer())
    pd.testing.assert_frame_equal(rows(out), rows(tmp_path / "alone"))
    assert contents(out) == contents(tmp_path / "alone")


def test_while_shards_are_scored_nobody_plans_or_merges(tmp_path: Path, settings: Settings) -> None:
    folder, out = make_batch(tmp_path / "in", 10), tmp_path / "out"
    plan = plan_batch(settings, folder, out, scorer())
    with one_of_writers(out):
        with pytest.raises(OutputBusy):
            plan_batch(settings, folder, out, scorer())
        with pytest.raises(OutputBusy):
            merge_batch(settings, out, scorer())
        first = score_part(settings, out, scorer(), range(1))
        assert first == len(plan.shard(0).files)
    with sole_writer(out), pytest.raises(OutputBusy):
        score_part(settings, out, scorer(), range(plan.shards))
    with pytest.raises(ShardsMissing, match=rf"{plan.shards - 1} of {plan.shards} shards.*{10 - first} files"):
        merge_batch(settings, out, scorer())
    assert not (out / "verdicts.parquet").exists()
    waiting = threading.Thread(target=score_part, args=(settings, out, scorer(), range(plan.shards)))
    with claimed(plan.shard(1)):
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive() and not plan.shard(1).finished
    waiting.join(20)
    assert merge_batch(settings, out, scorer()).rows == 10
    assert merge_batch(settings, out, scorer()).done_before


def test_other_rules_need_a_new_plan_and_going_back_to_the_old_ones_begins_again(
    tmp_path: Path, settings: Settings
) -> None:
    folder, out = make_batch(tmp_path / "in", 8, low=100, high=140), tmp_path / "out"
    with pytest.raises(NotPlanned, match="no plan"):
        open_plan(settings, out, scorer())
    score(settings, folder, tmp_path / "unbroken", scorer=scorer())
    plan = plan_batch(settings, folder, out, scorer())
    score_part(settings, out, scorer(), range(plan.shards))
    before, other = contents(out), settings_with(min_gain=0.02, jpeg_quality=50, accept_at=0.99)
    with pytest.raises(NotPlanned, match="rules have changed"):
        score_part(other, out, scorer(), range(1))
    plan_batch(other, folder, out, scorer(BrightnessJudge(step=20)))
    score_part(other, out, scorer(BrightnessJudge(step=20)), range(1))
    assert contents(out)["enhanced/shop/item000.png"] != before["enhanced/shop/item000.png"]
    score(settings, folder, out, scorer=scorer())
    assert contents(out) == contents(tmp_path / "unbroken"), "no image of the rules between is left"


def test_pictures_of_equal_stem_in_formats_that_become_png_do_not_overwrite_each_other(
    tmp_path: Path, settings: Settings
) -> None:
    for name in ("x.gif", "x.bmp", "x.bmp.png", "y.gif"):
        save(tmp_path / "in" / name, picture(110))
    score(settings, tmp_path / "in", tmp_path / "out", scorer=scorer())
    named = dict(zip(rows(tmp_path / "out").path, rows(tmp_path / "out").enhanced_path, strict=True))
    assert named == {
        "x.gif": "enhanced/x.gif.png",
        "x.bmp": "enhanced/x.bmp.png.png",
        "x.bmp.png": "enhanced/x.bmp.png",
        "y.gif": "enhanced/y.png",
    }
    assert all((tmp_path / "out" / name).is_file() for name in named.values())


def test_a_name_that_is_taken_later_is_given_up_by_a_shard_that_was_finished(tmp_path: Path) -> None:
    one_each = settings_with(shard_size=1)
    save(tmp_path / "in/x.gif", picture(110))
    score(one_each, tmp_path / "in", tmp_path / "out", scorer=scorer())
    assert list(rows(tmp_path / "out").enhanced_path) == ["enhanced/x.png"]
    save(tmp_path / "in/x.png", picture(110))
    score(one_each, tmp_path / "in", tmp_path / "out", scorer=scorer())
    assert list(rows(tmp_path / "out").enhanced_path) == ["enhanced/x.gif.png", "enhanced/x.png"]


def test_each_picture_is_decoded_once(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_batch(tmp_path / "in", 8, low=200, high=230)
    call, decoded = Decoders.call, []

    def counting(self: Decoders, function: Callable[..., Any], source: Path, *others: Any) -> Any:
        decoded.append(source.name)
        return call(self, function, source, *others)

    monkeypatch.setattr(Decoders, "call", counting)
    assert score(settings, folder, tmp_path / "out", scorer=scorer()).decisions == {"accept": 8}
    assert sorted(decoded) == [f"item{number:03d}.png" for number in range(8)]


def test_a_shard_and_its_work_can_be_sent_to_another_process(tmp_path: Path, settings: Settings) -> None:
    from small_network import save_small_bundle, small_architecture

    folder, out = make_batch(tmp_path / "in", 3), tmp_path / "out"
    chosen = open_scorer(settings, str(save_small_bundle(tmp_path / "bundle", small_architecture())))
    plan = plan_batch(settings, folder, out, chosen)
    _ = chosen.judge
    packed = pickle.dumps((Work(settings, plan.root, out, chosen), plan.shard(0)))
    assert len(packed) < 50_000, "the loaded model stays here"
    assert score_shard(*pickle.loads(packed)) == 3 and plan.shard(0).finished  # noqa: S301


CATALOGUE = """path,sku,title
a.png,1,"two
lines"
b.png,2,"never closed
c.png,3,24" wide,too,many
d.png,4
e.png,5,"closed, ""quoted"" and all"
a.png,6,later
"""


def test_a_broken_line_of_the_catalogue_costs_itself_alone(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "catalog.csv").write_text(CATALOGUE)
    files = KnownFiles(f"{letter}.png" for letter in "abcde")
    found = read_facts(tmp_path / "catalog.csv", settings.catalog, files)
    assert {path: (facts["sku"], facts["title"]) for path, facts in found.items()} == {
        "a.png": ("1", "two\nlines"),
        "d.png": ("4", None),
        "e.png": ("5", 'closed, "quoted" and all'),
    }
    assert "2 line(s)" in capsys.readouterr().err


def full_after(writes: int) -> Callable[..., object]:
    """Path.replace of a disk that fills up after so many files."""
    replace, seen = Path.replace, []

    def counted(self: Path, target: Path) -> Path:
        seen.append(self)
        if len(seen) > writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    return counted


@pytest.mark.parametrize("writes", [0, 1, 4, 8])
def test_a_disk_that_fills_up_is_said_and_room_lets_the_run_go_on(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    folder, out = make_batch(tmp_path / "in", 8, low=100, high=140), tmp_path / "out"
    score(settings, folder, tmp_path / "unbroken", scorer=scorer())
    with monkeypatch.context() as full:
        full.setattr(Path, "replace", full_after(writes))
        with pytest.raises(OutputNotWritable, match="No space left on device"):
            score(settings, folder, out, scorer=scorer())
    assert not (out / "verdicts.parquet").exists() and not list(out.rglob(".*.png"))
    score(settings, folder, out, scorer=scorer())
    assert contents(out) == contents(tmp_path / "unbroken")


LIMITED = """
import resource, sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
from sample_batch import scorer
from test_scoring_engine import settings_with
from packshot.errors import PackshotError
from packshot.scoring.batch import score
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    score(settings_with(), Path({folder!r}), Path({out!r}), scorer=scorer())
except PackshotError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_plan_that_cannot_be_written_ends_with_its_exit_code(tmp_path: Path, settings: Settings) -> None:
    folder, out = make_batch(tmp_path / "in", 8, low=100, high=140), tmp_path / "out"
    code = LIMITED.format(tests=str(Path(__file__).parent), limit=1000, folder=str(folder), out=str(out))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 74 and "cannot write" in done.stdout and "run the same command again" in done.stdout
    assert score(settings, folder, out, scorer=scorer()).rows == 8
