"""Rescued pictures: their shares where the answer is known."""

import numpy as np
import pandas as pd
import pytest

from packshot.ops.rescue import by_plan, shares

ROWS = pd.DataFrame(
    [
        ("clean", "accept", np.nan),
        ("clean", "enhance", -9.0),
        ("dark", "enhance", 1.0),
        ("dark", "enhance", 0.9),
        ("dark", "enhance", -0.31),
        ("dark", "enhance", -0.3),
        ("dark", "accept", np.nan),
        ("blur 1.1", "review", np.nan),
        ("cast+jpeg", "reject", np.nan),
        ("dark+noise", "enhance", 3.0),
    ],
    columns=["plan", "decision", "gain"],
)


def test_rescued_counts_all_pictures_and_harmed_those_delivered():
    dark = shares(ROWS[ROWS["plan"] == "dark"])
    assert dark["rescued"] == pytest.approx(1 / 5)
    assert dark["harmed"] == pytest.approx(1 / 4)
    assert dark["enhance"] == pytest.approx(4 / 5)
    assert dark["mean_gain"] == pytest.approx((1.0 + 0.9 - 0.31 - 0.3) / 4)


def test_where_nothing_was_delivered_harm_is_unknown():
    assert shares(ROWS[ROWS["plan"] == "blur 1.1"])["harmed"] is None


def test_clean_pictures_are_not_among_the_damaged_and_mixes_with_others_not_among_tone_and_noise():
    found = by_plan(ROWS)
    assert found["damaged"]["pictures"] == 8
    assert found["of tone and noise"]["pictures"] == 6
    assert found["all"]["pictures"] == 10
