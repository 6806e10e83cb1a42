"""`enhance_folder`: names and formats stay, bad files are listed, a second run does nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageCms
from sample_batch import BrightnessJudge, picture, save, scorer

from packshot.config import load_settings
from packshot.home import project_root
from packshot.scoring.enhance import NothingEnhanced, enhance_folder
from packshot.scoring.writing import OutputIsInput, output_name

SETTINGS = load_settings(project_root() / "params.yaml")


class Counting(BrightnessJudge):
    def enhance(self, image: np.ndarray) -> np.ndarray:
        self.calls += 1
        return super().enhance(image)


def test_names_formats_and_errors(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / "a/one.jpg", picture(100), quality=90)
    save(folder / "two.png", picture(101))
    save(folder / "three.webp", picture(102))
    save(folder / "anim.gif", picture(103))
    save(folder / "misnamed.png", picture(104), format="JPEG")
    (folder / "bad.jpg").write_text("no")
    report = enhance_folder(SETTINGS, folder, out, scorer=scorer(Counting()))
    assert (report.enhanced, report.errors, report.as_png) == (5, 1, 1)
    formats = {}
    for path in out.rglob("[!.]*.*"):
        if path.suffix not in {".csv", ".json", ".jsonl"}:
            with Image.open(path) as image:
                formats[path.relative_to(out).as_posix()] = image.format
    assert formats == {
        "a/one.jpg": "JPEG",
        "two.png": "PNG",
        "three.webp": "WEBP",
        "anim.png": "PNG",
        "misnamed.png": "JPEG",
    }
    errors = pd.read_csv(out / "errors.csv")
    assert list(errors.path) == ["bad.jpg"] and errors.error[0].startswith("not_an_image: ")
    with Image.open(out / "two.png") as image:
        assert np.array_equal(np.asarray(image), picture(101) + 40)
    counting = Counting()
    (out / "two.png").unlink()
    again = enhance_folder(SETTINGS, folder, out, scorer=scorer(counting))
    assert counting.calls == 1 and again.enhanced == 5 and (out / "two.png").exists()


def test_nothing_that_works_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.jpg").write_text("no")
    with pytest.raises(NothingEnhanced, match="not_an_image"):
        enhance_folder(SETTINGS, folder, tmp_path / "out", scorer=scorer())
    with pytest.raises(OutputIsInput):
        enhance_folder(SETTINGS, folder, folder, scorer=scorer())


def test_a_new_name_never_takes_the_place_of_another_image() -> None:
    assert output_name("a/x.gif", "GIF", {"a/x.gif"}) == "a/x.png"
    assert output_name("a/x.gif", "GIF", {"a/x.gif", "a/x.png"}) == "a/x.gif.png"
    assert output_name("a/x.gif", "GIF", {"a/x.gif", "a/x.png", "a/x.gif.png"}) == "a/x.gif.png.png"
    assert output_name("plain", "TIFF", {"plain"}) == "plain.png"
    assert output_name("x.png", "BMP", {"x.png"}) == "x.png"


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_the_colour_profile_goes_along(tmp_path: Path, ending: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save(tmp_path / f"in/wide.{ending}", picture(120), icc_profile=profile)
    save(tmp_path / f"in/plain.{ending}", picture(120))
    Image.fromarray(picture(120)).convert("CMYK").save(tmp_path / "in/ink.jpg", icc_profile=profile)
    enhance_folder(SETTINGS, tmp_path / "in", tmp_path / "out", scorer=scorer())

    def kept(name: str) -> bytes | None:
        with Image.open(tmp_path / "out" / name) as image:
            return image.info.get("icc_profile")

    assert kept(f"wide.{ending}") == profile
    assert kept(f"plain.{ending}") is None
    assert kept("ink.jpg") is None, "a profile of inks says nothing of RGB"


def test_a_long_name_is_kept_or_cut_and_a_file_that_goes_away_is_told(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    long = "x" * 250
    save(folder / f"{long}.png", picture(100))
    save(folder / f"{long}.gif", picture(101))
    save(folder / "gone.png", picture(102))

    class Removing(BrightnessJudge):
        def enhance(self, image: np.ndarray) -> np.ndarray:
            (folder / "gone.png").unlink(missing_ok=True)
            return super().enhance(image)

    report = enhance_folder(SETTINGS, folder, out, scorer=scorer(Removing()))
    assert (report.enhanced, report.errors) == (2, 1)
    written = sorted(path.name for path in out.glob("x*"))
    assert written[0] == f"{long}.png" and written[1].endswith(".png") and "~" in written[1]
    assert list(pd.read_csv(out / "errors.csv").path) == ["gone.png"]
