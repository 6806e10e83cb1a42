"""`packshot score` as people call it: a folder or pictures, no output named, a table in a terminal."""

from __future__ import annotations

import json
import sys
import webbrowser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sample_batch import BrightnessJudge, make_batch, picture, save, scorer
from typer.testing import CliRunner, Result

from packshot.cli import app
from packshot.cli.judging import score as command
from packshot.scoring.listing import open_batch
from packshot.scoring.named import NoFolderBeside, WrongPictures, named, place_for

REMOTE = "s3://shop/new"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> BrightnessJudge:
    judge = BrightnessJudge()
    monkeypatch.setattr("packshot.scoring.scorer.open_scorer", lambda settings, model: scorer(judge))
    return judge


def score(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def told(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.exception
    record: dict[str, object] = json.loads(result.stdout.strip().splitlines()[-1])
    return record


def rows(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "verdicts.parquet").set_index("path")


@pytest.mark.usefixtures("judged")
def test_verdicts_of_a_folder_go_beside_it(tmp_path: Path) -> None:
    folder = make_batch(tmp_path / "photos", 3)
    result = score(folder)
    assert told(result)["verdicts"] == str(tmp_path / "photos-verdicts" / "verdicts.parquet")
    assert "photos-verdicts" in result.stderr and len(rows(tmp_path / "photos-verdicts")) == 3
    assert told(score(folder))["done_before"] is True


@pytest.mark.usefixtures("judged")
def test_some_pictures_are_a_batch_of_their_own(tmp_path: Path) -> None:
    shop = make_batch(tmp_path / "photos", 4) / "shop"
    two = [shop / "item002.png", shop / "item000.png", shop / "item002.png"]
    out = Path(str(told(score(*two))["verdicts"])).parent
    assert list(rows(out).index) == ["item000.png", "item002.png"] and out.parent == shop.parent
    other = Path(str(told(score(shop / "item001.png"))["verdicts"])).parent
    assert other != out and list(rows(other).index) == ["item001.png"]
    assert told(score(*two))["done_before"] is True
    apart = save(tmp_path / "else" / "x.png", picture(120))
    told(score(apart, two[0], "--out", tmp_path / "both"))
    assert set(rows(tmp_path / "both").index) == {"else/x.png", "photos/shop/item002.png"}


def test_what_is_neither_a_folder_nor_pictures_is_said(tmp_path: Path) -> None:
    one = save(tmp_path / "a" / "x.png", picture(120))
    for names in ([one, tmp_path], [one, tmp_path / "gone.png"], [one, REMOTE]):
        with pytest.raises(WrongPictures, match="name one folder, or one or several picture files"):
            named(list(map(str, names)))
    with pytest.raises(WrongPictures, match="as --out"):
        place_for(named([str(one)]), REMOTE)


def test_without_a_place_beside_the_pictures_one_is_asked_for(tmp_path: Path) -> None:
    folder = make_batch(tmp_path / "photos", 1)
    (tmp_path / "photos-verdicts").write_text("a file")
    for name in (str(folder), "/", REMOTE):
        with pytest.raises(NoFolderBeside, match="--out FOLDER") as caught:
            place_for(named([name]), None)
        assert caught.value.exit_code == 73
    assert place_for(named([REMOTE]), "out") == "out"


@pytest.mark.usefixtures("judged")
def test_a_terminal_gets_a_table_in_place_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos with a space"
    for index in range(3):
        save(folder / f"white{index}.png", picture(250, index))
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / "black.png")
    (folder / "broken.png").write_bytes(b"no picture")
    monkeypatch.setenv("PACKSHOT_RESULT", str(tmp_path / "result.json"))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    command([str(folder)])
    shown = capsys.readouterr().out
    decisions = rows(tmp_path / "photos with a space-verdicts").decision.value_counts()
    for decision, count in decisions.items():
        assert any(line.split()[:2] == [decision, str(count)] for line in shown.splitlines())
    assert "not_an_image" in shown and "could not be judged" in shown and not shown.lstrip().startswith("{")
    assert f"packshot report --verdicts '{tmp_path}/photos with a space-verdicts'" in shown
    assert json.loads((tmp_path / "result.json").read_text())["rows"] == 5


@pytest.mark.usefixtures("judged")
def test_the_page_is_written_and_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(opened.append(address)))
    result = score(make_batch(tmp_path / "photos", 2), "--open")
    page = tmp_path / "photos-verdicts" / "report" / "index.html"
    assert told(result)["rows"] == 2 and opened == [page.as_uri()]
    assert "item000.png" in page.read_text(encoding="utf-8") and page.as_uri() in result.stderr
    assert score(tmp_path / "photos", "--out", REMOTE, "--open").exit_code != 0


@pytest.mark.usefixtures("judged")
def test_a_profile_is_named_for_one_run(tmp_path: Path) -> None:
    told(score(make_batch(tmp_path / "photos", 1), "--profile", "amazon-main"))
    assert set(rows(tmp_path / "photos-verdicts").profile) == {"amazon-main"}


def test_without_a_champion_the_starter_judges_and_that_is_said(tmp_path: Path) -> None:
    result = score(make_batch(tmp_path / "photos", 1))
    assert result.exit_code == 0, result.exception
    assert result.stderr.count("no champion was promoted yet") == 1
    assert set(rows(tmp_path / "photos-verdicts").model_name) == {"starter"}


def test_what_was_written_for_a_batch_is_no_picture_of_the_shop(tmp_path, capsys):
    shop = tmp_path / "shop"
    make_batch(shop / "photos", 3)
    verdicts = shop / "photos-verdicts"
    for name in (".shards/manifest.json", "enhanced/item000.png", "report/page.png"):
        (verdicts / name).parent.mkdir(parents=True, exist_ok=True)
        (verdicts / name).write_bytes(b"{}")
    files = open_batch(shop, tmp_path / "out", None).files()
    assert sorted(file.path for file in files) == [f"photos/shop/item00{number}.png" for number in range(3)]
    assert "photos-verdicts/" in capsys.readouterr().err
