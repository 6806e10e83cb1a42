"""The table of comparison: the same rows and folds for all, and what is trained never sees the fold it is judged on."""

import numpy as np
import pandas as pd
import pytest
import torch

from packshot.config import Profile
from packshot.evaluation.compare import _enhancement, _pooled, _quality, _style
from packshot.model.backbone import build_backbone
from packshot.training.dataset import Dataset

ROWS, FOLDS = 150, 3


PROFILE = Profile(
    sets=("shop",),
    quality=("shop",),
    style=("shop",),
    catalogue=("shop",),
    pristine=("shop",),
    held_back={},
    floors={},
    ceilings={},
)


def quality(frame: pd.DataFrame, data: Dataset) -> list:
    return _quality("shop", frame, data, _pooled(data, "efficientnet_lite0"), PROFILE, seed=17)


def style(frame: pd.DataFrame, data: Dataset) -> list:
    return _style("shop", frame, data, _pooled(data, "efficientnet_lite0+efficientnet_lite2"))


def made_up(told: bool) -> tuple[Dataset, pd.DataFrame]:
    """Pictures whose last stage says score and style, or (not `told`) says nothing of either."""
    random = np.random.default_rng(0)
    channels = build_backbone("efficientnet_lite0").channels
    start, size = 2 * sum(channels[:-1]), 2 * sum(channels)
    mos, style = random.uniform(0, 1, ROWS), random.integers(0, 2, ROWS)
    stats = random.normal(size=(ROWS, size))
    gram = random.normal(size=(ROWS, 20))
    if told:
        stats[:, start : start + 40] += 6 * mos[:, None]
        gram[:, :10] += 3 * style[:, None]
    ids = [f"i{n}" for n in range(ROWS)]
    index = pd.DataFrame(
        {"image_id": ids, "sharp_laplacian": mos**3, "contrast": random.normal(size=ROWS), "saturation": -mos}
    )
    data = Dataset(
        index=index,
        stats=torch.from_numpy(stats).float(),
        gram=torch.from_numpy(gram).half(),
        text=torch.zeros(ROWS, 0),
        has_text=torch.zeros(ROWS, 1),
        quality=torch.from_numpy(mos).float(),
        style=torch.from_numpy(style),
        source=torch.zeros(ROWS, dtype=torch.int64),
        styles=("a", "b"),
    )
    names = np.array(["a", "b"])[style]
    frame = pd.DataFrame({"image_id": ids, "subset": np.array(["x", "y"])[np.arange(ROWS) % 2], "quality_mos": mos})
    frame = frame.assign(source="shop", fold=np.arange(ROWS) % FOLDS, quality_oof=1 - mos, style=names, style_oof=names)
    return data, frame.sample(frac=1, random_state=1)


def values(records: list, figure: str) -> dict[str, float]:
    return {method: value for _, _, method, said, value in records if said == figure}


def test_each_method_has_the_figure_it_earns() -> None:
    data, frame = made_up(told=True)
    srcc = values(quality(frame, data), "SRCC, mean of folds")
    assert srcc["Packshot"] == pytest.approx(-1) and srcc["saturation"] == pytest.approx(-1)
    assert srcc["variance of the Laplacian"] == pytest.approx(1)
    assert srcc["pooled features + kernel ridge"] > 0.9
    assert abs(srcc["contrast (deviation of luma)"]) < 0.3
    right = values(style(frame, data), "accuracy, mean of folds")
    assert right["Packshot"] == 1 and right["Gram vectors + ridge"] > 0.95
    assert right["pooled features + ridge"] < 0.75 and right["most frequent style"] < 0.65


def test_nothing_is_learned_from_the_fold_that_is_judged() -> None:
    data, frame = made_up(told=False)
    srcc = values(quality(frame, data), "SRCC, mean of folds")
    assert abs(srcc["pooled features + kernel ridge"]) < 0.3
    right = values(style(frame, data), "accuracy, mean of folds")
    assert right["pooled features + ridge"] < 0.7 and right["Gram vectors + ridge"] < 0.7


def test_a_predictor_that_knows_only_the_subset_has_no_figure_within_subsets() -> None:
    data, frame = made_up(told=True)
    within = values(quality(frame, data), "SRCC within subsets, mean")
    assert "mean of the subset" not in within and within["Packshot"] == pytest.approx(-1)


def test_gains_are_over_the_degraded_input() -> None:
    pairs = pd.DataFrame(
        {f"{f}_{w}": [v, v] for f in ("psnr", "ssim", "haarpsi") for w, v in (("in", 1.0), ("out", 4.0))}
    )
    pairs = pairs.assign(psnr_classic=0.5, ssim_classic=1.0, haarpsi_classic=1.25)
    gains = values(_enhancement(pairs), "PSNR gain, dB")
    assert gains == {"Packshot": 3.0, "CLAHE + denoise + unsharp, tuned": -0.5}
