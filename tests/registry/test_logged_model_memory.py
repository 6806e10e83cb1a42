"""The logged model holds a bounded number of pixels, whatever it is given."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from packshot.bundle import Judgement
from packshot.catalog.image import ImageLimits
from packshot.registry import pyfunc_model

LIMITS = ImageLimits(64, 64, 1, ("PNG",))


class Counting:
    """Quality is the brightness of the first pixel, of 255; knows how many images each call brought."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def judge(self, images: Sequence[np.ndarray], texts: Sequence[str | None]) -> list[Judgement]:
        assert len(images) == len(texts)
        self.calls.append(len(images))
        none = np.zeros(1, np.float32)
        return [
            Judgement(float(each[0, 0, 0]) / 255, 0.0, 1.0, 0.5, 0.5, 0.5, text, 1.0, none, none)
            for each, text in zip(images, texts, strict=True)
        ]


def png(level: int, side: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(content, "PNG")
    return content.getvalue()


def test_large_images_are_judged_a_few_at_a_time_and_each_keeps_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyfunc_model, "PIXELS_TOGETHER", 10_000)
    model, judge = pyfunc_model.PackshotModel(), Counting()
    model._limits, model._judge = LIMITS, judge
    images: list[object] = [png(level, 60) for level in range(10)]
    images[4] = b"no picture"
    names = [f"picture {n}" for n in range(10)]
    answer = model.predict(None, pd.DataFrame({"image": images, "text": names}))
    assert judge.calls == [3, 3, 3]
    assert [round(quality * 255) for quality in answer["quality"].drop(4)] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert list(answer["style"].drop(4)) == [name for n, name in enumerate(names) if n != 4]
    assert answer["error"][4].startswith("not_an_image")
