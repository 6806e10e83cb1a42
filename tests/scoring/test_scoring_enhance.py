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


class Warming(BrightnessJudge):
    """An enhancer that puts a warm cast on everything."""

    def enhance(self, image: np.ndarray) -> np.ndarray:
        return (image.astype(int) + np.array([40, 0, -40])).clip(0, 255).astype(np.uint8)


def coloured() -> np.ndarray:
    image = np.full((48, 64, 3), 120, np.uint8)
    image[10:40, 10:50] = (40, 90, 160)
    return image


def test_what_is_grey_stays_grey_and_colours_stay_what_they_are(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / "grey.png", picture(120).mean(axis=2, keepdims=True).repeat(3, axis=2).astype(np.uint8))
    Image.fromarray(picture(90)[..., 0], "L").save(folder / "one_channel.png")
    save(folder / "blue.png", coloured())
    enhance_folder(SETTINGS, folder, out, scorer=scorer(Warming()))
    for name in ("grey.png", "one_channel.png"):
        with Image.open(out / name) as image:
            found = np.asarray(image.convert("RGB")).astype(int)
        assert int(np.ptp(found, axis=2).max()) <= 2, name
    with Image.open(out / "blue.png") as image:
        product = np.asarray(image).astype(int)[20, 30]
    assert abs(product - [40, 90, 160]).max() < 40 and product[2] > product[0] + 60, "its cast is no gain to the judge"


def test_rights_and_resolution_go_along_and_the_old_thumbnail_does_not(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    said = b"<DigitalSourceType>trainedAlgorithmicMedia</DigitalSourceType>"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + said + b"</x:xmpmeta>"
    exif = Image.Exif()
    exif[0x8298], exif[0x013B], exif[0x0112] = "Copyright 2026 Shop", "Ann", 6
    save(folder / "a.jpg", picture(120), quality=90, exif=exif.tobytes(), xmp=xmp, dpi=(300, 300))
    save(folder / "b.webp", picture(121), exif=exif.tobytes(), xmp=xmp)
    save(folder / "c.png", picture(122), exif=exif.tobytes(), dpi=(300, 300))
    enhance_folder(SETTINGS, folder, out, scorer=scorer())
    for name in ("a.jpg", "b.webp", "c.png"):
        with Image.open(out / name) as image:
            kept, info, size = image.getexif(), image.info, image.size
        assert (kept[0x8298], kept[0x013B]) == ("Copyright 2026 Shop", "Ann"), name
        assert kept.get(0x0112, 1) == 1 and size == (48, 64), "it was turned upright"
        assert name == "c.png" or b"trainedAlgorithmicMedia" in info["xmp"]
        assert name == "b.webp" or round(info["dpi"][0]) == 300


def test_a_file_that_is_another_one_now_is_not_enhanced_with_its_colours(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / "a.png", picture(120))
    save(folder / "b.png", picture(100))

    class Swapping(BrightnessJudge):
        def enhance(self, image: np.ndarray) -> np.ndarray:
            save(folder / "a.png", picture(30))
            return super().enhance(image)

    report = enhance_folder(SETTINGS, folder, out, scorer=scorer(Swapping()))
    assert (report.enhanced, report.errors) == (1, 1)
    assert "has changed since it was read" in pd.read_csv(out / "errors.csv").error[0]


@pytest.mark.parametrize("name", ["moves.webp", "moves.png", "moves.gif"])
def test_of_an_animation_it_is_said_that_one_frame_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    frames = [Image.fromarray(picture(level)) for level in (80, 160)]
    (tmp_path / "in").mkdir()
    frames[0].save(tmp_path / "in" / name, save_all=True, append_images=frames[1:])
    save(tmp_path / "in" / "still.png", picture(120))
    assert enhance_folder(SETTINGS, tmp_path / "in", tmp_path / "out", scorer=scorer()).enhanced == 2
    assert f"1 animated file(s) were written as their first frame; the first: {name}" in capsys.readouterr().err
