"""Families of damage left out of training: what is told of them comes from the others alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_workspace import make_settings

from packshot.model.network import PackshotNet
from packshot.training.build import architecture_of
from packshot.training.dataset import Dataset, Pairs
from packshot.training.unseen import unseen_family_figures

IMAGES = 120
SHOWN = {"gaussian_noise": 0, "jpeg": 0, "gaussian_blur": 1}
"""Noise and compression look alike here, and both hurt detail; blur looks like nothing else."""
ATTRIBUTE = {"gaussian_noise": 2, "jpeg": 2, "gaussian_blur": 0}


@pytest.fixture(scope="module")
def settings():
    loaded = make_settings()
    return loaded.model_copy(update={"model": loaded.model.model_copy(update={"kernel_features": 400})})


@pytest.fixture(scope="module")
def made_up(settings) -> tuple[Dataset, Pairs]:
    size = PackshotNet(architecture_of(settings, ())).trunk.linear.in_features
    random = torch.Generator().manual_seed(1)
    looks = torch.randn(2, size, generator=random)
    pictures = torch.randn(IMAGES, size, generator=random) * 0.3
    data = Dataset(
        index=pd.DataFrame({"group": [f"g{n}" for n in range(IMAGES)], "split": "train"}),
        stats=pictures,
        gram=torch.zeros(IMAGES, 1),
        text=torch.zeros(IMAGES, 0),
        has_text=torch.zeros(IMAGES, 1),
        quality=torch.full((IMAGES,), torch.nan),
        style=torch.full((IMAGES,), -1),
        source=torch.zeros(IMAGES, dtype=torch.int64),
        styles=(),
    )
    rows, stats, attributes, severity = [], [], [], []
    for number in range(IMAGES):
        for copy, name in enumerate([None, *SHOWN]):
            hurt = 0.0 if name is None else float(torch.rand((), generator=random))
            told = torch.ones(3)
            if name:
                told[ATTRIBUTE[name]] = 1 - hurt
            rows.append({"group": f"g{number}", "copy": copy, "degradations": f"{name}:1" if name else ""})
            stats.append(pictures[number] + (hurt * looks[SHOWN[name]] if name else 0))
            attributes.append(told)
            severity.append(hurt)
    index = pd.DataFrame(rows).assign(split=np.where(np.arange(len(rows)) < 3 * len(rows) // 4, "train", "validation"))
    place, copy = np.arange(len(rows)), index["copy"].to_numpy()
    pairs = Pairs(
        index=index,
        stats=torch.stack(stats),
        attributes=torch.stack(attributes),
        severity=torch.tensor(severity),
        patches=torch.zeros(0),
        clean=torch.from_numpy(place - copy),
    )
    return data, pairs


def test_damage_that_looks_like_known_damage_is_judged_and_other_damage_is_not(settings, made_up):
    found = unseen_family_figures(settings, *made_up)
    assert min(found[f"degradations/srcc_seen/{family}"] for family in ("noise", "compression", "blur")) > 0.9
    assert found["degradations/srcc_unseen/noise"] > 0.9
    assert found["degradations/srcc_unseen/blur"] < 0.6
    assert found["degradations/srcc_unseen_worst"] == found["degradations/srcc_unseen/blur"]
    families = [value for key, value in found.items() if key.startswith("degradations/srcc_unseen/")]
    assert found["degradations/srcc_unseen_mean"] == pytest.approx(np.mean(families)) and len(families) == 3


def test_the_training_copies_of_a_family_left_out_count_for_nothing(settings, made_up):
    data, pairs = made_up
    mine = ((pairs.index["split"] == "train") & pairs.index["degradations"].str.startswith("gaussian_noise")).to_numpy(
        copy=True
    )
    spoilt = pairs.stats.clone()
    spoilt[torch.from_numpy(mine)] *= 50
    before, after = (unseen_family_figures(settings, data, each) for each in (pairs, replace(pairs, stats=spoilt)))
    assert before["degradations/srcc_unseen/noise"] == after["degradations/srcc_unseen/noise"]
    assert before["degradations/srcc_unseen/compression"] != after["degradations/srcc_unseen/compression"]


def test_without_copies_there_is_no_figure(settings, made_up):
    data, pairs = made_up
    index = pairs.index.assign(split="train")
    assert unseen_family_figures(settings, data, replace(pairs, index=index)) == {}
