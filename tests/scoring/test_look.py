"""`packshot look`: the verdicts of a batch on a few pictures, shown with what to do, and no trace of it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from sample_batch import picture, save, scorer
from typer.testing import CliRunner, Result

from packshot.cli import app
from packshot.config import RuleBound, Settings, load_settings
from packshot.home import project_root
from packshot.scoring.batch import score
from packshot.scoring.checks import COPIES
from packshot.scoring.contract import Verdict
from packshot.scoring.listing import BatchFolderMissing
from packshot.scoring.look import look
from packshot.scoring.look_page import page
from packshot.scoring.named import WrongPictures
from packshot.scoring.shards import OutputHolds
from packshot.scoring.writing import OutputIsInput

FACTS = (
    "decision",
    "reasons",
    "quality",
    "sharpness",
    "style",
    "profile",
    "quality_after",
    "image_id",
    "model_version",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def settings() -> Settings:
    loaded = load_settings(project_root() / "params.yaml")
    rules = {
        "shortest_side": RuleBound(threshold=40, effect="reject"),
        "exact_duplicate": RuleBound(threshold=0, effect="reject"),
    }
    scoring = loaded.scoring.model_copy(
        update={"accept_at": 0.6, "reject_below": 0.35, "review_width": 0.5, "min_gain": 0.01}
        | {"max_enhanced_shift": 0.35, "attribute_floor": 0.5, "profiles": {"own": rules}}
    )
    return loaded.model_copy(update={"scoring": scoring})


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "text.jpg").write_text("not a picture")
    made = {"bright.png": 200, "dark.png": 40, "middle.png": 130, "sub/middle.jpg": 140}
    for index, (name, level) in enumerate(made.items()):
        save(folder / name, picture(level, index))
    save(folder / "tiny.png", picture(200, 9, (36, 50)))
    names = (*made, "text.jpg", "tiny.png")
    return {name: folder / name for name in names}


def found(settings: Settings, photos: dict[str, Path], *names: str, out: Path | None = None) -> dict[str, Verdict]:
    asked = [str(photos[name]) for name in names or photos]
    return {verdict.path: verdict for verdict in look(settings, asked, out=out, scorer=scorer())}


def test_a_look_is_what_a_batch_would_say(
    tmp_path: Path, settings: Settings, photos: dict[str, Path], home: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    seen = found(settings, photos)
    assert sorted(tmp_path.rglob("*")) == before and not home.exists()
    score(settings, tmp_path / "photos", tmp_path / "out", scorer=scorer())
    rows = [Verdict.from_row(row) for row in pq.read_table(tmp_path / "out" / "verdicts.parquet").to_pylist()]
    assert len(rows) == len(photos) and {row.decision for row in rows} == {"accept", "enhance", "reject"}
    for row in rows:
        mine = seen[row.path]
        assert [getattr(mine, name) for name in FACTS] == [getattr(row, name) for name in FACTS]
        asked = [check for check in row.checks if check.rule not in COPIES]
        assert [check for check in mine.checks if check.rule not in COPIES] == asked
        assert mine.batch_id is None and mine.enhanced_path is None
    copies = [check for verdict in seen.values() for check in verdict.checks if check.rule in COPIES]
    assert len(copies) == len(photos) and {check.status for check in copies} == {"not_checked"}


def test_the_enhanced_picture_is_kept_where_a_folder_is_named(
    tmp_path: Path, settings: Settings, photos: dict[str, Path]
) -> None:
    out = tmp_path / "kept"
    seen = found(settings, photos, "middle.png", "sub/middle.jpg", out=out)
    assert {verdict.decision for verdict in seen.values()} == {"enhance"}
    kept = [out / str(verdict.enhanced_path) for verdict in seen.values()]
    assert sorted(path for path in out.rglob("*") if path.is_file()) == sorted(kept)
    for path in kept:
        with Image.open(path) as image:
            assert image.size == (64, 48)
    assert str(kept[0]) in page(list(seen.values()), out, width=200, colour=False)
    assert "--out FOLDER" in page(list(found(settings, photos, "middle.png").values()), None, width=200, colour=False)


def test_what_a_batch_wrote_and_what_is_looked_at_stay(
    tmp_path: Path, settings: Settings, photos: dict[str, Path]
) -> None:
    score(settings, tmp_path / "photos", tmp_path / "out", scorer=scorer())
    with pytest.raises(OutputHolds, match="another folder"):
        found(settings, photos, "middle.png", out=tmp_path / "out")
    with pytest.raises(OutputIsInput):
        found(settings, photos, "middle.png", out=tmp_path / "photos")
    with pytest.raises(WrongPictures, match=r"packshot score .*photos` judges a folder"):
        look(settings, [str(tmp_path / "photos")], scorer=scorer())


def test_the_page_says_what_is_wrong_and_what_to_do(settings: Settings, photos: dict[str, Path]) -> None:
    seen = found(settings, photos)
    shown = {name: page([verdict], None, width=100, colour=False) for name, verdict in seen.items()}
    assert "accept: show it as it is" in shown["bright.png"]
    small = " ".join(shown["tiny.png"].split())
    assert "reject: send it back to the seller" in small and "shortest_side" in small and "at least 40" in small
    advice = next(check.advice for check in seen["tiny.png"].failed() if check.rule == "shortest_side")
    assert advice and advice.split()[0] in small
    assert "enhance: show the enhanced picture" in shown["middle.png"] and "free of it" in shown["middle.png"]
    assert "because" in shown["text.jpg"] and "not_an_image" in shown["text.jpg"]
    assert max(map(len, shown["tiny.png"].splitlines())) <= 100


def test_names_do_not_steer_the_terminal(tmp_path: Path, settings: Settings) -> None:
    name = "red\x1b[31m.png"
    save(tmp_path / "photos" / name, picture(200))
    shown = page(look(settings, [str(tmp_path / "photos" / name)], scorer=scorer()), None, width=80, colour=False)
    assert "\x1b" not in shown and "red?[31m.png" in shown


def asked(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["look", *map(str, arguments)], catch_exceptions=False)


def test_the_command_prints_a_table_or_the_record(
    tmp_path: Path, photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("packshot.scoring.look.open_scorer", lambda settings, model: scorer())
    monkeypatch.setenv("PACKSHOT_RESULT", str(tmp_path / "result.json"))
    two = [photos["dark.png"], photos["bright.png"]]
    told = asked(*two, "--json", "--profile", "amazon-main").stdout.splitlines()
    verdicts = [Verdict.model_validate_json(line) for line in told]
    assert [verdict.path for verdict in verdicts] == ["bright.png", "dark.png"]
    assert {verdict.profile for verdict in verdicts} == {"amazon-main"}
    kept = json.loads((tmp_path / "result.json").read_text())["verdicts"]
    assert [Verdict.model_validate(one) for one in kept] == verdicts
    shown = asked(*two).stdout
    assert shown.index("bright.png") < shown.index("dark.png") and "what to do" in shown


@pytest.mark.parametrize("out", [[], ["--out", "out"]])
def test_a_folder_that_is_missing_is_said_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["score", "nowhere", *out])
    assert isinstance(result.exception, BatchFolderMissing), result.output
    assert "verdicts go to" not in result.output and "scoring with" not in result.output
    assert not list(tmp_path.iterdir())
