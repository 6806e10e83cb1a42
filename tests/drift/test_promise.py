"""Newly labelled pictures beside held-out ones: a kept promise is seldom called broken, a broken one is seen."""

from __future__ import annotations

import numpy as np
import pandas as pd

from packshot.config import load_settings
from packshot.drift.labelled import compare_with_promise
from packshot.home import project_root

RULES = load_settings(project_root() / "params.yaml").drift


def judged(rng: np.random.Generator, groups: int, noise: float, each: int = 4) -> pd.DataFrame:
    """So many pictures `each` sender, whose errors are mostly the sender's own."""
    n = groups * each
    quality = rng.uniform(0.2, 0.8, n)
    error = np.repeat(rng.normal(0, noise, groups), each) + rng.normal(0, noise / 2, n)
    style = np.array(["a", "b"])[rng.integers(0, 2, n)]
    right = rng.uniform(0, 1, n) < 0.8
    return pd.DataFrame(
        {
            "group": np.repeat(np.arange(groups), each),
            "quality": quality,
            "quality_mos": quality + error,
            "quality_low": quality - 0.2,
            "quality_high": quality + 0.2,
            "style": style,
            "style_pred": np.where(right, style, "c"),
        }
    )


def called(seed: int, noise: float, look: int = 1, each: int = 4) -> set[str]:
    rng = np.random.default_rng(seed)
    found = compare_with_promise(judged(rng, 25, noise, each), judged(rng, 100, 0.08, each), RULES, look, 300)
    return {one.figure for one in found if one.finding == "worse than promised"}


def test_a_kept_promise_is_seldom_called_broken_though_pictures_of_a_sender_are_alike() -> None:
    assert np.mean([bool(called(seed, 0.08, each=12)) for seed in range(60)]) <= 0.05


def test_a_broken_promise_is_seen() -> None:
    seen = [called(seed, 0.16) for seed in range(20)]
    assert np.mean(["quality/mean_absolute_error" in one for one in seen]) >= 0.9
    assert not any("style/accuracy" in one for one in seen)


def test_every_further_look_asks_for_more_evidence() -> None:
    first, tenth = (sum(len(called(seed, 0.11, look)) for seed in range(30)) for look in (1, 10))
    assert tenth < first


def test_labels_of_one_sort_leave_the_other_figures_open() -> None:
    rng = np.random.default_rng(0)
    found = compare_with_promise(judged(rng, 25, 0.08).assign(style=None), judged(rng, 100, 0.08), RULES, 1, 100)
    assert [one.finding for one in found] == ["not shown worse"] * 3 + ["not enough labels"]


def test_scores_that_are_all_equal_say_nothing_of_ranks() -> None:
    rng = np.random.default_rng(0)
    found = compare_with_promise(judged(rng, 25, 0.08).assign(quality_mos=0.5), judged(rng, 100, 0.08), RULES, 1, 100)
    assert found[0].finding == "not enough labels" and found[0].found is None
