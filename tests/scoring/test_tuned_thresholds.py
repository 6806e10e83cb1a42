"""A batch is decided by the thresholds that its model's scored pictures and the costs give, and says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sample_batch import make_batch, rated, scorer

from packshot.config import Settings, load_settings
from packshot.evaluation.thresholds import Rated, Thresholds, decided, tuned
from packshot.home import project_root
from packshot.scoring.batch import score
from packshot.scoring.decisions import Scores, decide, settle
from packshot.scoring.shards import OutputHolds, read_manifest


@pytest.fixture
def settings() -> Settings:
    return load_settings(project_root() / "params.yaml")


def bounds(settings: Settings) -> Thresholds:
    return Thresholds.from_settings(settings.scoring)


def test_tuning_decides_as_scoring_does(settings: Settings) -> None:
    draw = np.random.default_rng(0)
    quality, half = draw.uniform(0, 1, 3000).round(2), draw.uniform(0, 0.4, 3000).round(2)
    known = Rated(quality, quality, np.clip(quality - half, 0, None), np.clip(quality + half, None, 1), ("g",) * 3000)
    found = []
    for value, low, high in zip(known.quality, known.low, known.high, strict=True):
        scores = Scores(float(value), float(low), float(high), 0.8, 0.8, 0.8)
        first = decide(scores, settings.scoring)
        found.append((settle(first, scores, None, settings.scoring) if first.decision == "enhance" else first).decision)
    assert found == decided(known, bounds(settings)).tolist()
    assert set(found) == {"accept", "review", "reject"}


def test_a_model_brings_its_thresholds_and_the_folder_says_which(tmp_path: Path, settings: Settings) -> None:
    folder, known = make_batch(tmp_path / "in", 12), rated(0.4)
    found = tuned(known, settings.scoring.costs)
    assert found.accept_at < settings.scoring.accept_at - 0.1
    score(settings, folder, tmp_path / "plain", scorer=scorer())
    score(settings, folder, tmp_path / "tuned", scorer=replace(scorer(), rated=known))
    plain, rows = (pd.read_parquet(tmp_path / name / "verdicts.parquet") for name in ("plain", "tuned"))
    accepted = rows["quality"] >= found.accept_at
    assert ((rows["decision"] == "accept") == accepted).all() and accepted.sum() > (plain["decision"] == "accept").sum()
    texts = [text for reasons in rows["reasons"] for text in reasons if text.startswith("low_quality")]
    assert texts and all(text.endswith(f"below {found.accept_at:.2f}") for text in texts)
    told = read_manifest(tmp_path / "tuned")["thresholds"]
    assert (told["accept_at"], told["reject_below"], told["origin"]) == (found.accept_at, found.reject_below, "tuned")
    assert read_manifest(tmp_path / "plain")["thresholds"]["origin"] == "fallback"


def test_other_costs_ask_for_another_folder_where_they_move_a_threshold_and_only_there(
    tmp_path: Path, settings: Settings
) -> None:
    folder, out = make_batch(tmp_path / "in", 8), tmp_path / "out"
    first = replace(scorer(), rated=rated(0.4))
    score(settings, folder, out, scorer=first)
    costs = settings.scoring.costs

    def with_costs(**changes: float) -> Settings:
        scoring = settings.scoring.model_copy(update={"costs": costs.model_copy(update=changes)})
        return settings.model_copy(update={"scoring": scoring})

    assert score(with_costs(wrong_reject=3.5), folder, out, scorer=first).done_before
    with pytest.raises(OutputHolds, match=r"scoring\.accept_at: "):
        score(with_costs(good_from=0.05), folder, out, scorer=first)
    score(with_costs(good_from=0.05), folder, tmp_path / "other", scorer=first)
    # every picture is fit, so there is nothing to tune on
    assert read_manifest(tmp_path / "other")["thresholds"]["accept_at"] == settings.scoring.accept_at
