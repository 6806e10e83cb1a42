"""`packshot.load()`: the same verdicts as the batch, from whatever a picture comes in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from small_network import KEEP_ENHANCED, save_small_bundle, small_architecture
from small_workspace import picture

import packshot
from packshot.api import Judged, NotAPicture, PictureJudge
from packshot.config import load_settings
from packshot.scoring.batch import score
from packshot.scoring.verdicts import read_verdicts


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_bundle(tmp_path_factory.mktemp("bundle"), small_architecture())


@pytest.fixture
def judge(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PictureJudge:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    return packshot.load(str(bundle))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(picture(number, number % 2, 0.2 * number)).save(folder / f"{number}.png")
    (folder / "4.jpg").write_bytes(b"no picture")
    return folder


def test_every_form_of_a_picture_gets_one_verdict(judge: PictureJudge, photos: Path) -> None:
    file = photos / "1.png"
    pixels = np.asarray(Image.open(file))
    found = judge([str(file), file, file.read_bytes(), pixels, Image.open(file)])
    assert [each.quality for each in found] == pytest.approx([found[0].quality] * 5, abs=1e-6)
    assert len({each.decision for each in found}) == 1
    assert [each.path for each in found] == [str(file), str(file), "picture 2", "picture 3", "picture 4"]
    alone = judge(file)
    assert isinstance(alone, Judged) and alone.quality == pytest.approx(found[0].quality, abs=1e-6)
    assert judge(pixels[..., 0]).error is None, "a grey array"
    assert judge([]) == []


def test_verdicts_are_those_of_the_batch_in_the_order_asked(
    judge: PictureJudge, photos: Path, bundle: Path, tmp_path: Path
) -> None:
    names = [f"{number}.png" for number in (3, 0, 2, 1)] + ["4.jpg"]
    found = judge([photos / name for name in names])
    table = judge(photos)
    assert isinstance(table, pd.DataFrame)
    rows = table.set_index("path")
    for name, verdict in zip(names, found, strict=True):
        row = rows.loc[name]
        assert (verdict.decision, verdict.reasons) == (row["decision"], tuple(row["reasons"]))
        if verdict.error is None:
            assert verdict.quality == pytest.approx(row["quality"], abs=1e-6)
    assert found[-1].error is not None and not found[-1].ok and found[-1].quality is None


def test_without_pandas_a_folder_gives_an_arrow_table(
    judge: PictureJudge, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    table = judge(photos)
    assert isinstance(table, pa.Table) and table.num_rows == 5


def test_what_was_repaired_comes_with_the_verdict(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEEP_ENHANCED.items():
        monkeypatch.setenv(name, value)
    kept = packshot.load(str(bundle))(photos / "1.png")
    assert kept.decision == "enhance" and kept.ok
    assert kept.enhanced is not None and kept.enhanced.shape == np.asarray(Image.open(photos / "1.png")).shape
    assert kept.enhanced_file is not None and kept._repr_html_().count("<img") == 2
    score(load_settings(), photos, tmp_path / "out", scorer=packshot.load(str(bundle))._scorer)
    row = read_verdicts(tmp_path / "out" / "verdicts.parquet").to_pandas().set_index("path").loc["1.png"]
    assert (tmp_path / "out" / row["enhanced_path"]).read_bytes() == kept.enhanced_file


def test_a_notebook_shows_it_and_escapes_what_strangers_wrote(judge: PictureJudge, photos: Path) -> None:
    hostile = photos / "<script>alert(1)<|script>.png"
    hostile.write_bytes((photos / "0.png").read_bytes())
    shown = judge(hostile)._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "data:image/jpeg;base64," in shown
    assert "could not be judged" in judge(photos / "4.jpg")._repr_html_()
    assert str(judge(photos / "0.png")).startswith("<") and len(str(judge(photos / "0.png"))) < 400


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4, 5), np.uint8), "nowhere.jpg", 7, None])
def test_what_is_no_picture_is_refused(judge: PictureJudge, wrong: object) -> None:
    with pytest.raises(NotAPicture, match=r"expected a path|is no file"):
        judge(wrong)  # type: ignore[call-overload]


def test_a_script_needs_no_guard_and_importing_costs_nothing(bundle: Path, photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, packshot\n"
        "assert 'numpy' not in sys.modules and 'packshot.config' not in sys.modules\n"
        f"judge = packshot.load({str(bundle)!r})\n"
        f"print([v.decision for v in judge([{str(photos / '0.png')!r}])], 'load' in dir(packshot))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.count("[") == 1 and done.stdout.strip().endswith("True")
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        packshot.lode  # type: ignore[attr-defined]  # noqa: B018
