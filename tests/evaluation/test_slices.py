"""Figures that gates recompute from held-out rows agree with what evaluation writes, and with counting by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from packshot.evaluation.heldout import ladder_figures, quality_figures, style_figures
from packshot.evaluation.metrics import MetricError, weighted_lowest_recall
from packshot.evaluation.slices import is_paired, is_written, slice_of

SETS = frozenset({"shop"})
NONE = pd.DataFrame()


@pytest.fixture
def per_image() -> pd.DataFrame:
    random = np.random.default_rng(3)
    mos = random.uniform(0, 1, 120)
    styles = random.choice(["plain", "busy", "rare"], 120, p=[0.5, 0.4, 0.1])
    return pd.DataFrame(
        {
            "source": "shop",
            "path": [f"{row:03d}" for row in range(120)],
            "group": [f"g{row // 2}" for row in range(120)],
            "subset": np.array(["a", "b", "c"])[np.minimum(np.arange(120) // 55, 2)],
            "category": np.array(["chair", "lamp"])[np.arange(120) % 2],
            "quality_mos": mos,
            "quality": mos + random.normal(0, 0.3, 120),
            "quality_low": 0.0,
            "quality_high": 1.0,
            "style": styles,
            "style_pred": np.where(random.uniform(0, 1, 120) < 0.7, styles, "busy"),
            "style_confidence": 0.7,
        }
    )


@pytest.fixture
def per_single() -> pd.DataFrame:
    ladders = {"blur": ("sharpness", [0.7, 0.6, 0.5]), "noise": ("detail", [0.7, 0.75, 0.82])}
    rows = []
    for image, clean in (("a", 0.8), ("b", 0.4)):
        rows.append({"image_id": image, "group": image, "degradation": None, "level": 0, "quality": clean})
        for name, (attribute, judged) in ladders.items():
            for level, value in enumerate(judged, start=1):
                own = {"degradation": name, "level": level, "attribute": attribute, "reference": 1 - level / 10}
                rows.append(rows[0] | {"image_id": image, "group": image, "quality": value, "judged": value} | own)
    return pd.DataFrame(rows).assign(sharpness=0.5, colour_balance=0.5, detail=0.5)


def test_gates_and_evaluation_compute_the_same(per_image: pd.DataFrame, per_single: pd.DataFrame) -> None:
    written = quality_figures("shop", per_image, per_image) | style_figures("shop", per_image, per_image)
    written |= ladder_figures(per_single)
    compared = [name for name in written if is_paired(name)]
    assert {
        "quality/srcc_within/shop",
        "quality/srcc/shop/category/lamp",
        "style/worst_class/shop",
        "style/accuracy/shop/category/chair",
        "robustness/falls",
        "attributes/monotone/detail",
    } <= set(compared)
    for name in compared:
        if name == "attributes/monotone/colour_balance":
            continue  # no ladder of it
        assert is_written(name, SETS)
        found = slice_of(name, per_image, NONE, per_single).value
        assert found == pytest.approx(written[name]()), name


def test_ladders_by_hand(per_single: pd.DataFrame) -> None:
    # blur ends at .5: below .8, above .4; noise ends at .82: above both
    assert slice_of("robustness/falls", NONE, NONE, per_single).value == 0.25
    assert ladder_figures(per_single)["robustness/mild_shift"]() == pytest.approx((0.1 + 0.1 + 0.3 + 0.3) / 4)
    assert slice_of("attributes/monotone/sharpness", NONE, NONE, per_single).value == 1.0
    assert slice_of("attributes/monotone/detail", NONE, NONE, per_single).value == 0.0
    with pytest.raises(MetricError, match="empty"):
        slice_of("attributes/monotone/colour_balance", NONE, NONE, per_single)


def test_a_small_subset_does_not_count_within(per_image: pd.DataFrame) -> None:
    both = np.mean([slice_of(f"quality/srcc/shop/{name}", per_image, NONE, NONE).value for name in "ab"])
    assert slice_of("quality/srcc_within/shop", per_image, NONE, NONE).value == pytest.approx(both)
    same = per_image.assign(quality_mos=per_image["quality_mos"].where(per_image["subset"] != "a", 1.0))
    alone = slice_of("quality/srcc/shop/b", per_image, NONE, NONE).value
    assert slice_of("quality/srcc_within/shop", same, NONE, NONE).value == pytest.approx(alone), "nothing to rank in a"
    assert quality_figures("shop", same, same)["quality/srcc_within/shop"]() == pytest.approx(alone)
    with pytest.raises(MetricError, match="no subset has 20 rows and different scores"):
        slice_of("quality/srcc_within/shop", per_image.assign(subset=None), NONE, NONE)


def test_the_lowest_recall_is_that_of_the_worst_class_in_the_resample() -> None:
    actual, predicted = np.array(["x", "x", "y", "y"]), np.array(["x", "y", "y", "y"])
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 1, 1], [0, 0, 1, 1]])
    assert weighted_lowest_recall(predicted, actual, weights).tolist() == [0.5, 0.0, 1.0]
