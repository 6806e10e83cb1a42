"""The small JPEG in each row: of the judged pixels, no larger than asked, and enough to show a batch by."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_batch import picture, save, scorer
from small_workspace import make_settings

from packshot.catalog.image import ImageLimits
from packshot.scoring.batch import score
from packshot.scoring.preview import preview, previews
from packshot.scoring.rules import Picture
from packshot.scoring.verdicts import read_verdicts
from packshot.serving.batches import view_batch
from packshot.serving.thumbnails import Thumbnails


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_it_is_the_picture_made_small_in_its_own_colours() -> None:
    red = np.zeros((300, 600, 3), np.uint8)
    red[..., 0] = 200
    small = opened(preview(red, 160) or b"")
    assert small.shape == (80, 160, 3)
    assert np.abs(small.reshape(-1, 3).mean(0) - [200, 0, 0]).max() < 4
    assert opened(preview(red[:9, :7], 160) or b"").shape == (9, 7, 3)
    assert preview(red, 0) is None


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    for number in range(6):
        save(tmp_path / "in" / f"{number}.png", picture(40 + 30 * number, size=(60, 400)))
    (tmp_path / "in" / "broken.jpg").write_text("no")
    return tmp_path


def test_every_row_that_could_be_read_has_one_and_the_page_needs_no_picture(batch: Path) -> None:
    settings, out = make_settings(), batch / "out"
    score(settings, batch / "in", out, scorer=scorer())
    shutil.rmtree(batch / "in")
    paths = read_verdicts(out / "verdicts.parquet", ["path"])["path"].to_pylist()
    found = previews(out / "verdicts.parquet", paths)
    assert set(found) == {f"{number}.png" for number in range(6)}
    assert all(max(opened(content).shape) == settings.scoring.preview_side for content in found.values())
    assert previews(out / "verdicts.parquet", ["3.png"]) == {"3.png": found["3.png"]}
    view = view_batch(out, None, Thumbnails(ImageLimits.from_settings(settings.validation), 10**6))
    cards = [card for group in view.decided for card in group.cards]
    assert len(cards) == 6 and all(card.image for card in cards)


def test_none_is_kept_where_none_is_wanted(batch: Path) -> None:
    settings = make_settings()
    without = settings.scoring.model_copy(update={"preview_side": 0})
    score(settings.model_copy(update={"scoring": without}), batch / "in", batch / "out", scorer=scorer())
    assert previews(batch / "out" / "verdicts.parquet", ["3.png"]) == {}


@pytest.mark.parametrize(("side", "longest"), [(160, 320), (320, 320), (321, 640), (640, 640), (800, 900)])
def test_it_is_made_of_the_smallest_copy_that_is_large_enough(side: int, longest: int) -> None:
    image = np.random.default_rng(5).integers(0, 256, (900, 600, 3), dtype=np.uint8)
    assert max(Picture(image).at_least(side).shape) == longest
    assert Picture(image[:100, :90]).at_least(side).shape == (100, 90, 3)
    assert max(opened(preview(Picture(image).at_least(side), side) or b"").shape) == side
