"""A batch is scored on the shop's scale where one is in force, and every row says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sample_batch import make_batch, rated, scorer

from packshot.config import Settings, load_settings
from packshot.evaluation.shop_scale import ShopMap
from packshot.home import project_root
from packshot.registry.shop_scales import ShopScale
from packshot.scoring.batch import score
from packshot.scoring.judging import Scorer
from packshot.scoring.shards import OutputHolds, read_manifest

SCALE = ShopScale("0123456789abcdef", ShopMap(0.5, -0.2, 0.8, 0.05, 0.1), 60)


@pytest.fixture
def settings() -> Settings:
    return load_settings(project_root() / "params.yaml")


def on_scale() -> Scorer:
    return replace(scorer(), rated=rated(0.4), scale=SCALE)


def test_rows_are_on_the_scale_and_keep_what_the_judge_said(tmp_path: Path, settings: Settings) -> None:
    folder = make_batch(tmp_path / "in", 12)
    score(settings, folder, tmp_path / "plain", scorer=scorer())
    score(settings, folder, tmp_path / "scaled", scorer=on_scale())
    plain, rows = (pd.read_parquet(tmp_path / name / "verdicts.parquet") for name in ("plain", "scaled"))
    assert set(rows["scale"]) == {SCALE.id} and plain["scale"].isna().all() and plain["judged_quality"].isna().all()
    said = {"judged_quality": "quality", "judged_low": "quality_low", "judged_high": "quality_high"}
    for name, judged in said.items():
        assert rows[name].to_numpy() == pytest.approx(plain[judged].to_numpy())
    mapped = np.clip(0.5 - 0.2 + 0.8 * (plain["quality"] - 0.5), 0, 1)
    assert rows["quality"].to_numpy() == pytest.approx(mapped.to_numpy())
    assert (rows["quality_high"] - rows["quality_low"]).max() == pytest.approx(0.2)
    bounds = SCALE.line.thresholds(settings.scoring.costs)
    told = read_manifest(tmp_path / "scaled")["thresholds"]
    assert (told["accept_at"], told["origin"]) == (bounds.accept_at, "shop") and SCALE.id in told["why"]
    assert ((rows["decision"] == "accept") == (rows["quality"] >= bounds.accept_at)).all()
    assert 0 < (rows["decision"] == "accept").sum() < len(rows)


def test_what_was_scored_without_the_scale_is_not_replaced(tmp_path: Path, settings: Settings) -> None:
    folder = make_batch(tmp_path / "in", 4)
    score(settings, folder, tmp_path / "out", scorer=replace(on_scale(), scale=None))
    with pytest.raises(OutputHolds, match="shop's scale"):
        score(settings, folder, tmp_path / "out", scorer=on_scale())


def test_fixed_thresholds_hold_on_the_scale_too(settings: Settings) -> None:
    fixed = settings.scoring.model_copy(update={"thresholds": "fixed"})
    assert on_scale().bounds(fixed).origin == "fixed"
    assert on_scale().bounds(settings.scoring).origin == "shop"
    assert replace(on_scale(), scale=None).bounds(settings.scoring).origin == "tuned"


def test_faults_that_the_labels_accept_decide_nothing_beside_those_of_the_settings(settings: Settings) -> None:
    scoring = settings.scoring.model_copy(update={"accepted_faults": ("noise",)})
    mine = settings.model_copy(update={"scoring": scoring})
    style = replace(on_scale(), scale=replace(SCALE, accepted_faults=("dark", "noise")))
    for thresholds in ("auto", "fixed"):
        rules = scoring.model_copy(update={"thresholds": thresholds})
        assert style.bounds(rules).applied(mine).scoring.accepted_faults == ("noise", "dark")
    assert scorer().bounds(scoring).applied(mine).scoring.accepted_faults == ("noise",)
