"""Thresholds tuned for stated costs: the optimum where it is known, and what happens without enough evidence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packshot.config import DecisionCosts, Settings, load_settings
from packshot.evaluation.decision_costs import (
    ACCEPT_ALL,
    GIVEN,
    IN_FORCE,
    REVIEW_ALL,
    NothingToWeigh,
    weigh,
    weigh_workspace,
)
from packshot.evaluation.decision_plots import write
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.thresholds import (
    Rated,
    RatedUnusable,
    Thresholds,
    TooFewRated,
    cost,
    decided,
    in_force,
    read_rated,
    tuned,
)
from packshot.files import write_json, write_parquet
from packshot.home import project_root

COSTS = DecisionCosts(good_from=0.5, wrong_accept=5.0, wrong_reject=3.0, review=1.0, min_groups=5)


def made(human: np.ndarray, quality: np.ndarray, width: float | np.ndarray = 0.1) -> Rated:
    half = np.broadcast_to(np.asarray(width) / 2, quality.shape)
    groups = tuple(f"g{index // 2}" for index in range(len(quality)))
    return Rated(human, quality, quality - half, quality + half, groups)


def noisy(seed: int, rows: int = 1500) -> Rated:
    """People agree with the judge but for a small error; of every fifth picture it errs widely, and says so."""
    draw = np.random.default_rng(seed)
    human = draw.uniform(0.05, 0.95, rows)
    wild = np.arange(rows) % 5 == 0
    quality = np.clip(human + draw.normal(0, np.where(wild, 0.5, 0.12), rows), 0, 1)
    return made(human, np.round(quality * 128) / 128, np.where(wild, 0.75, 0.25))  # so that widths are exact


@pytest.fixture(scope="module")
def params() -> Settings:
    loaded = load_settings(project_root() / "params.yaml")
    scoring = loaded.scoring.model_copy(update={"thresholds": "auto", "costs": COSTS})
    return loaded.model_copy(update={"scoring": scoring})


def test_the_optimum_is_where_the_costs_put_it() -> None:
    """In each tenth of the score a known share is fit: accepting pays from 80 %, sending back up to a third."""
    fit_share = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9, 1.0])
    quality = np.repeat(np.arange(10) / 10 + 0.05, 100)
    fit = np.concatenate([np.arange(100) < round(100 * share) for share in fit_share])
    found = tuned(made(np.where(fit, 0.8, 0.2), quality), COSTS)
    # among equals the most reviews: from the first score that pays, below the first one that does not
    assert (found.accept_at, found.reject_below) == (0.85, 0.36)


def test_where_the_interval_tells_mistakes_it_decides_who_is_reviewed() -> None:
    found = tuned(noisy(1), COSTS)
    assert found.review_width == 0.25
    blind = replace(noisy(1), low=noisy(1).quality - 0.1, high=noisy(1).quality + 0.1)
    assert (
        cost(noisy(1), decided(noisy(1), found), COSTS).mean()
        < 0.9 * cost(blind, decided(blind, tuned(blind, COSTS)), COSTS).mean()
    )


def test_no_thresholds_on_the_grid_cost_less() -> None:
    known, draw = noisy(2, 300), np.random.default_rng(0)
    least = cost(known, decided(known, tuned(known, COSTS)), COSTS).sum()
    for _ in range(400):
        reject, accept = np.sort(draw.integers(0, 101, 2)) / 100
        other = Thresholds(float(accept), float(reject), float(draw.integers(1, 21) / 20))
        assert cost(known, decided(known, other), COSTS).sum() >= least - 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 50), st.floats(0.3, 30.0), st.floats(1.01, 10.0))
def test_dearer_wrong_decisions_never_become_more(seed: int, price: float, factor: float) -> None:
    known = noisy(seed, 300)
    unfit = known.human < COSTS.good_from
    for key, outcome, wrong in (("wrong_accept", "accept", unfit), ("wrong_reject", "reject", ~unfit)):
        cheap, dear = (
            int(((decided(known, tuned(known, COSTS.model_copy(update={key: each}))) == outcome) & wrong).sum())
            for each in (price, price * factor)
        )
        assert dear <= cheap


def test_dear_wrong_accepts_mean_fewer_accepts() -> None:
    counts = [
        int((decided(noisy(3), tuned(noisy(3), COSTS.model_copy(update={"wrong_accept": price}))) == "accept").sum())
        for price in (0.5, 2, 5, 20, 100)
    ]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1] > 0


def test_without_enough_evidence_the_values_of_the_settings_hold(params: Settings) -> None:
    values = Thresholds(params.scoring.accept_at, params.scoring.reject_below, params.scoring.review_width)
    none = in_force(params.scoring, None)
    assert (none.thresholds, none.origin) == (values, "fallback") and "no scored pictures" in none.why
    known = noisy(4, 400)
    unfit = known.human < COSTS.good_from
    few = replace(known, human=np.where(unfit & (np.cumsum(unfit) > 4), 0.9, known.human))
    with pytest.raises(TooFewRated, match="hold an unfit one"):
        tuned(few, COSTS)
    assert in_force(params.scoring, few).thresholds == values
    assert "not enough evidence" in in_force(params.scoring, few).why
    assert in_force(params.scoring, known).origin == "tuned"
    fixed = params.scoring.model_copy(update={"thresholds": "fixed"})
    assert in_force(fixed, known).thresholds == values


def test_what_is_in_force_is_what_scoring_reads(params: Settings) -> None:
    found = in_force(params.scoring, noisy(5))
    scoring = found.applied(params).scoring
    assert Thresholds(scoring.accept_at, scoring.reject_below, scoring.review_width) == found.thresholds
    assert found.thresholds.accept_at != params.scoring.accept_at and scoring.min_gain == params.scoring.min_gain


def table(**changes: object) -> pd.DataFrame:
    columns = {"quality_mos": [0.2, 0.8, None], "quality": 0.5, "quality_low": 0.4, "quality_high": 0.6, "group": "g"}
    return pd.DataFrame(columns | changes)


def test_scored_pictures_are_read_or_refused(tmp_path) -> None:
    file = tmp_path / "scored.parquet"

    def read(frame: pd.DataFrame) -> Rated | None:
        frame.to_parquet(file)
        return read_rated(file)

    found = read(table(group=["g", "h", "i"]))
    assert found is not None and found.human.tolist() == [0.2, 0.8] and found.groups == ("g", "h")
    with pytest.raises(RatedUnusable, match="quality_low is NaN or infinite in 1 of 2"):
        read(table(quality_low=[0.4, float("nan"), 0.4]))
    with pytest.raises(RatedUnusable, match="1 of 2 scored pictures have no group"):
        read(table(group=["g", None, "i"]))
    with pytest.raises(RatedUnusable, match=r"column.* group"):
        read(table().drop(columns="group"))
    assert read_rated(tmp_path / "missing.parquet") is None
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(RatedUnusable, match=r"torn\.parquet"):
        read_rated(tmp_path / "torn.parquet")


def test_costs_on_held_out_pictures_stand_beside_the_plain_ways(params: Settings) -> None:
    held_out = noisy(7)
    found = weigh(params, noisy(6), held_out)
    unfit = 100 * float((held_out.human < COSTS.good_from).mean())
    assert found.policy(REVIEW_ALL).cost == 100 and found.policy(REVIEW_ALL).reviewed == 100
    assert found.policy(ACCEPT_ALL).cost == pytest.approx(5 * unfit)
    assert found.policy(ACCEPT_ALL).wrong_accepts == pytest.approx(unfit)
    now = found.policy(IN_FORCE)
    assert now.low < now.cost < now.high < 100
    assert now.cost == pytest.approx(5 * now.wrong_accepts + 3 * now.wrong_rejects + now.reviewed)
    assert found.saving.difference == pytest.approx(found.policy(GIVEN).cost - now.cost)
    assert found.saving.low > 0
    curve = dict(found.curves["accept_at"])
    assert curve[found.bounds.thresholds.accept_at] == pytest.approx(now.cost)
    assert min(curve) == found.bounds.thresholds.reject_below
    reviewed, wrong = [one[1] for one in found.frontier], [one[2] for one in found.frontier]
    assert wrong[0] > wrong[-1] and reviewed[0] < reviewed[-1]


def as_table(known: Rated) -> pd.DataFrame:
    columns = {"quality_mos": known.human, "quality": known.quality, "quality_low": known.low}
    return pd.DataFrame(columns | {"quality_high": known.high, "group": known.groups})


def test_a_workspace_is_weighed_by_its_own_bundle_or_not_at_all(tmp_path, params: Settings) -> None:
    bundle, reports = tmp_path / "models/packshot", tmp_path / "reports/evaluation"
    with pytest.raises(NothingToWeigh, match="packshot evaluate"):
        weigh_workspace(params, tmp_path)
    write_parquet(bundle / "out_of_fold.parquet", as_table(noisy(8)))
    write_parquet(reports / "per_image.parquet", as_table(noisy(9)))
    write_json(reports / "evaluated.json", {"bundle_sha256": bundle_digest(bundle)})
    found = weigh_workspace(params, tmp_path)
    assert found.bounds == in_force(params.scoring, noisy(8))
    write(found, tmp_path / "out")
    told = json.loads((tmp_path / "out/thresholds.json").read_text())
    assert told["policies"][0]["cost"] == found.policy(IN_FORCE).cost and told["costs"]["wrong_accept"] == 5
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"thresholds.json", "cost.png", "frontier.png"}
    write_parquet(reports / "per_image.parquet", as_table(noisy(9)).assign(quality_mos=np.nan))
    with pytest.raises(NothingToWeigh, match="has a human score"):
        weigh_workspace(params, tmp_path)
    write_parquet(bundle / "out_of_fold.parquet", as_table(noisy(7)))
    with pytest.raises(NothingToWeigh, match="another bundle"):
        weigh_workspace(params, tmp_path)
