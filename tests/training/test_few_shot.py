"""Five examples a style: the figure follows what the pictures show, and no style label reaches the spaces."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_workspace import make_settings

from packshot.config import Profile
from packshot.model.architecture import gram_size
from packshot.model.network import PackshotNet
from packshot.training.build import architecture_of
from packshot.training.dataset import Dataset
from packshot.training.few_shot import few_shot_figures

STYLES = ("attic", "barn", "cell")
ROWS, PER_GROUP = 120, 2
PROFILE = Profile(
    sets=("shop",),
    quality=(),
    style=("shop",),
    catalogue=("shop",),
    pristine=("shop",),
    held_back={},
    floors={},
    ceilings={},
)


@pytest.fixture(scope="module")
def settings():
    return make_settings()


@pytest.fixture(scope="module")
def styled(settings) -> Dataset:
    """Gram vectors that show the style, statistics that do not."""
    network = PackshotNet(architecture_of(settings, STYLES))
    random = torch.Generator().manual_seed(3)
    size = gram_size(network.backbone.channels)
    looks = torch.randn(3, size, generator=random)
    style = torch.arange(ROWS) // PER_GROUP % 3
    return Dataset(
        index=pd.DataFrame(
            {
                "group": [f"g{n // PER_GROUP}" for n in range(ROWS)],
                "source": "shop",
                "split": np.where(np.arange(ROWS) % 4 == 3, "test", "train"),
            }
        ),
        stats=torch.randn(ROWS, network.trunk.linear.in_features, generator=random),
        gram=(looks[style] * 0.3 + torch.randn(ROWS, size, generator=random)).half(),
        text=torch.zeros(ROWS, 0),
        has_text=torch.zeros(ROWS, 1),
        quality=torch.full((ROWS,), torch.nan),
        style=style,
        source=torch.zeros(ROWS, dtype=torch.int64),
        styles=STYLES,
    )


def test_styles_that_show_are_told_apart_by_five_examples(settings, styled):
    found = few_shot_figures(settings, styled, PROFILE)
    assert found["style/few_shot/shop"] > 0.85
    assert found["style/few_shot_std/shop"] < 0.1


def test_labels_that_say_nothing_give_chance(settings, styled):
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(styled.style.numpy()))
    found = few_shot_figures(settings, replace(styled, style=shuffled), PROFILE)
    assert found["style/few_shot/shop"] == pytest.approx(1 / 3, abs=0.08)


def test_an_example_is_never_its_own_answer(settings, styled):
    # each group is one picture, twice, that is like no other: only a leak of groups could tell
    random = torch.Generator().manual_seed(5)
    alone = torch.randn(ROWS // PER_GROUP, styled.gram.shape[1], generator=random).repeat_interleave(PER_GROUP, dim=0)
    stats = torch.randn(ROWS // PER_GROUP, styled.stats.shape[1], generator=random).repeat_interleave(PER_GROUP, dim=0)
    found = few_shot_figures(settings, replace(styled, gram=alone.half(), stats=stats), PROFILE)
    assert found["style/few_shot/shop"] == pytest.approx(1 / 3, abs=0.08)


def test_a_style_with_too_few_groups_leaves_the_figure_out(settings, styled):
    index = styled.index.assign(group=[f"g{n % 12}" for n in range(ROWS)])
    assert few_shot_figures(settings, replace(styled, index=index), PROFILE) == {}
