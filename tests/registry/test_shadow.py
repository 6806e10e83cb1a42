"""A challenger beside the champion, with real models, verdicts and MLflow; only held-out scoring is cut short."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from skilled_models import Shop, evidence
from small_network import save_small_bundle, small_architecture
from small_workspace import picture

from packshot.config import Gate, Settings
from packshot.evaluation.agreement import Side, agreement
from packshot.evaluation.heldout import HeldOut
from packshot.evaluation.metrics import MetricError
from packshot.home import Home
from packshot.ops.pipeline import (
    inbox_batches,
    inbox_drift_plan,
    inbox_plan,
    inbox_put,
    inbox_score,
    inbox_shadow,
    inbox_shadow_plan,
)
from packshot.ops.reporting import _batches
from packshot.registry.alias import move
from packshot.registry.alias_check import alias_version
from packshot.registry.ledger import Ledger
from packshot.registry.promote import PromotionResult, promote
from packshot.registry.register import register
from packshot.registry.shadow import CannotShadow, begin, report
from packshot.revision import run_key

ARCHITECTURE = small_architecture()
BATCHES = ("one", "two", "three")


def with_shadow(settings: Settings, batches: int, *gates: Gate) -> Settings:
    registry = settings.registry.model_copy(
        update={"shadow_batches": batches, "gates": (*settings.registry.gates, *gates)}
    )
    return settings.model_copy(update={"registry": registry})


@pytest.fixture
def rivals(shop: Shop, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Champion 1, two batches in shadow asked of a challenger, and a challenger 2 that equals it on held-out rows."""

    def scored(*_: object) -> HeldOut:
        found = evidence(0, 0.9)
        return HeldOut(found.per_image, found.per_pair, pd.DataFrame(), {"quality/srcc/shop": 0.9})

    monkeypatch.setattr("packshot.registry.promote.score_heldout_once", scored)
    same = Gate(metric="shadow/same_decision", kind="floor", value=0.0)
    errors = Gate(metric="shadow/errors", kind="ceiling", value=0.0)
    own = Shop(with_shadow(shop.settings, 2, same, errors), shop.workspace)
    for seed in (0, 1):
        bundle = save_small_bundle(tmp_path / f"bundle{seed}", ARCHITECTURE, seed, run_key(own.settings, own.workspace))
        register(own.settings, own.workspace, bundle=bundle, note="test")
    move(own.settings, ledger, from_version=None, to_version=1, rollback=False, payload={})
    return own


def go(shop: Shop, challenger: int) -> PromotionResult:
    return promote(shop.settings, challenger=challenger, workspace=shop.workspace)


def deliver(tmp_path: Path, *names: str) -> None:
    for start, name in enumerate(names):
        folder = tmp_path / "in" / name
        folder.mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(folder / f"{number}.png"), picture(10 * start + number, number % 2, 0.6 * number))
        (folder / "broken.png").write_text("no picture")
        inbox_put(folder, name)


def test_a_challenger_goes_through_the_shadow_and_then_through_the_gates(
    rivals: Shop, ledger: Ledger, home: Home, tmp_path: Path
) -> None:
    deliver(tmp_path, "before")
    inbox_score(rivals.settings, "before")
    first = go(rivals, 2)
    assert first.outcome == "not_enough_evidence" and "0 of 2 batches in shadow; 2 missing" in first.reason
    now = ledger.state("packshot").shadow
    assert now is not None and (now.version, now.complete_beside) == (2, None)
    assert not inbox_shadow_plan(rivals.settings).done, "what was scored before the shadow began is not asked of it"

    deliver(tmp_path, *BATCHES)
    for name in BATCHES:
        inbox_score(rivals.settings, name)
    assert inbox_shadow_plan(rivals.settings).record == {"batches": ["one", "two"], "model_version": 2}
    assert inbox_shadow(rivals.settings, "one").record["complete"] is False
    assert "1 of 2 batches in shadow; 1 missing" in go(rivals, 2).reason
    assert inbox_shadow_plan(rivals.settings).record["batches"] == ["two"]
    assert inbox_shadow(rivals.settings, "two").record["complete"] is True
    assert inbox_shadow(rivals.settings, "two").record["complete"] is False, "it is announced once"
    assert not inbox_shadow_plan(rivals.settings).done

    second = go(rivals, 2)
    assert second.outcome == "promoted" and alias_version(rivals.settings, "champion") == 2
    judged = {gate.metric: gate.challenger for gate in second.gates}
    assert judged["shadow/batches"] == 2 and judged["shadow/errors"] == 0
    assert ledger.state("packshot").shadow is None
    states = [row["payload"]["state"] for row in ledger.history(kind="shadow")]
    assert states == ["begun", "complete"]


def test_beside_another_champion_the_shadow_begins_anew(rivals: Shop, ledger: Ledger, tmp_path: Path) -> None:
    begin(rivals.settings, 2)
    deliver(tmp_path, *BATCHES)
    for name in ("one", "two"):
        inbox_score(rivals.settings, name)
        said = inbox_shadow(rivals.settings, name).record
    assert said["complete"] and not inbox_shadow_plan(rivals.settings).done
    made_from = run_key(rivals.settings, rivals.workspace)
    bundle = save_small_bundle(tmp_path / "bundle2", ARCHITECTURE, 2, made_from)
    third = register(rivals.settings, rivals.workspace, bundle=bundle, note="test").version
    move(rivals.settings, ledger, from_version=1, to_version=third, rollback=False, payload={})
    assert "0 of 2 batches in shadow; 2 missing" in go(rivals, 2).reason
    for name in ("one", "three"):
        inbox_score(rivals.settings, name)
    assert inbox_shadow_plan(rivals.settings).record["batches"] == ["three"], "it need not look at `one` again"
    assert inbox_shadow(rivals.settings, "three").record["complete"] is True


def test_what_the_shadow_says_is_never_taken_for_verdicts(rivals: Shop, home: Home, tmp_path: Path) -> None:
    begin(rivals.settings, 2)
    deliver(tmp_path, "one", "two")
    inbox_shadow(rivals.settings, "one")
    assert inbox_plan(rivals.settings).record["batches"] == ["one", "two"]
    assert inbox_drift_plan(rivals.settings).record["batches"] == []
    for version in (1, 2):
        assert _batches(home, version, None) == ([], {})
    assert inbox_batches() == ["one", "two"] and not home.verdicts.exists()
    said = home.shadow_by("one", 2)
    assert (said / "verdicts.parquet").is_file() and not (said / "enhanced").exists()


def test_the_figures_are_those_of_the_two_tables(rivals: Shop, home: Home, tmp_path: Path) -> None:
    begin(rivals.settings, 2)
    deliver(tmp_path, "one")
    inbox_score(rivals.settings, "one")
    inbox_shadow(rivals.settings, "one")
    record = report(rivals.settings)
    ours, theirs = (
        pd.read_parquet(folder / "verdicts.parquet").set_index("path").drop("broken.png")
        for folder in (home.shadow_by("one", 2), home.verdicts_by("one", 1))
    )
    assert (record["images"], record["missing"], record["batches"]) == (4, 1, ["one"])
    figures = record["figures"]
    assert figures["mean_difference"]["value"] == pytest.approx((ours.quality - theirs.quality).abs().mean())
    assert figures["mean_difference"]["value"] > 0, "two networks differ"
    assert figures["same_decision"]["value"] == (ours.decision == theirs.decision).mean()
    assert json.loads((home.shadow / "v2-beside-v1.json").read_text())["figures"] == figures
    assert Path(record["plot"]).read_bytes().startswith(b"\x89PNG")


def test_a_model_that_fails_on_new_batches_fails_its_gates_and_no_batch(
    rivals: Shop, ledger: Ledger, tmp_path: Path
) -> None:
    broken = register(rivals.settings, rivals.workspace, bundle=rivals.bundle(0.9, "broken"), note="test").version
    assert go(rivals, broken).outcome == "not_enough_evidence"
    deliver(tmp_path, "one", "two")
    for name in ("one", "two"):
        inbox_score(rivals.settings, name)
        said = inbox_shadow(rivals.settings, name).record
        assert "BundleError" in said["failure"]
    assert said["complete"]
    result = go(rivals, broken)
    assert result.outcome == "refused" and "shadow/errors = 1 is above 0" in result.reason
    assert ledger.state("packshot").shadow is None
    assert "stopped by" in ledger.history(kind="shadow")[-1]["payload"]["note"]


def test_batches_without_a_readable_image_are_no_evidence(rivals: Shop, tmp_path: Path) -> None:
    begin(rivals.settings, 2)
    for name in ("one", "two"):
        folder = tmp_path / "in" / name
        folder.mkdir(parents=True)
        (folder / "broken.png").write_text("no picture")
        inbox_put(folder, name)
        inbox_score(rivals.settings, name)
        inbox_shadow(rivals.settings, name)
    result = go(rivals, 2)
    assert result.outcome == "refused" and "shadow/batches is missing" in result.reason


def test_a_challenger_that_the_other_gates_stop_does_not_enter_the_shadow(shop: Shop, ledger: Ledger) -> None:
    own = Shop(with_shadow(shop.settings, 2), shop.workspace)
    own.register(0.9)
    first = go(own, 1)
    assert first.outcome == "promoted", "without a champion there is nothing to score beside"
    own.register(0.7)
    assert go(own, 2).outcome == "refused" and ledger.state("packshot").shadow is None
    own.register(0.95)
    assert go(own, 3).outcome == "not_enough_evidence"
    assert ledger.state("packshot").shadow.version == 3
    own.register(0.96)
    go(own, 4)
    assert ledger.state("packshot").shadow.version == 4, "the newer challenger takes the place"


def test_only_what_can_score_beside_a_champion_is_put_in_shadow(shop: Shop) -> None:
    own = with_shadow(shop.settings, 2)
    shop.register(0.9)
    with pytest.raises(CannotShadow, match="no champion"):
        begin(own, 1)
    go(shop, 1)
    with pytest.raises(CannotShadow, match="is the champion"):
        begin(own, 1)
    with pytest.raises(CannotShadow, match="shadow_batches is 0"):
        begin(shop.settings, 1)


def verdicts(count: int, quality: np.ndarray, decisions: list[str], seconds: float) -> pd.DataFrame:
    at = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(count) * seconds, unit="s")
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(count)],
            "sender": [f"s{i // 4}" for i in range(count)],
            "quality": quality,
            "decision": decisions,
            "style": "plain",
            "error": None,
            "scored_at": at,
        }
    )


def test_agreement_counts_decisions_errors_and_time() -> None:
    count = 40
    quality = np.linspace(0.1, 0.9, count)
    theirs = verdicts(count, quality, ["accept"] * 30 + ["review"] * 10, seconds=1.0)
    ours = verdicts(count, quality + 0.05, ["accept"] * 20 + ["review"] * 20, seconds=3.0)
    theirs.loc[0, "error"] = "truncated"
    ours.loc[0, "error"] = "truncated"
    ours.loc[1, ["error", "decision"]] = ["not_judged", "reject"]
    ours.loc[20:, "scored_at"] += pd.Timedelta(hours=5)  # killed, and gone on
    found = agreement([Side("b", ours, theirs)], resamples=200, confidence=0.95)
    assert (found.images, found.groups) == (39, 10), "what nobody can read is no disagreement"
    assert found.confusion["accept"] == {"accept": 18, "enhance": 0, "review": 10, "reject": 0, "error": 1}
    assert found.confusion["review"]["review"] == 10
    same = found.figures["same_decision"]
    assert same.value == pytest.approx(28 / 39) and same.low < same.value < same.high
    assert found.figures["errors"].value == pytest.approx(1 / 39)
    assert found.figures["mean_difference"].value == pytest.approx(0.05)
    assert found.figures["srcc"].value == pytest.approx(1.0)
    assert found.time_ratio == pytest.approx(3.0)


def test_a_batch_without_answers_counts_as_errors_and_none_at_all_is_no_agreement() -> None:
    theirs = verdicts(12, np.linspace(0, 1, 12), ["accept"] * 12, seconds=1.0)
    found = agreement([Side("b", theirs.iloc[:0], theirs)], resamples=50, confidence=0.95)
    assert found.figures["errors"].value == 1 and found.figures["same_decision"].value == 0
    assert found.figures["srcc"].value is None and found.time_ratio is None
    with pytest.raises(MetricError, match="no image"):
        agreement([], resamples=50, confidence=0.95)
