"""Every gate has to be seen to let the better through, to stop the worse, and to stop what it cannot judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skilled_models import ROWS, evidence

from packshot.config import Gate, Profile, Settings
from packshot.ops.starter import without_styles
from packshot.registry.gates import (
    Evidence,
    EvidenceMismatch,
    GateResult,
    GateSettingsError,
    check_settings,
    expand,
    judge,
    outcome,
    table,
)

SRCC = Gate(metric="quality/srcc/shop", kind="non_inferiority", margin=0.02, min_groups=20)
ACCURACY = Gate(metric="style/accuracy/shop", kind="non_inferiority", margin=0.05, min_groups=20)
GAIN = Gate(metric="enhance/psnr_gain", kind="non_inferiority", margin=0.3, min_groups=20)
FLOOR = Gate(metric="quality/srcc/shop", kind="floor", value=0.6)


def held_out(one: Evidence) -> frozenset[tuple[str, str]]:
    return frozenset(zip(one.per_image["source"], one.per_image["path"], strict=True))


def decide(
    settings: Settings, gates: list[Gate], challenger: Evidence, champion: Evidence | None
) -> tuple[str, dict[str, GateResult]]:
    versions = (challenger.version, champion.version if champion else None)
    rows = held_out(evidence(0, 0.9))
    results = judge(gates, challenger, champion, versions=versions, heldout=rows, settings=settings.evaluation)
    return outcome(results), {f"{r.kind}:{r.metric}": r for r in results}


ALL = [SRCC, ACCURACY, GAIN, FLOOR]


def test_a_better_challenger_wins_and_a_worse_one_loses(settings: Settings) -> None:
    assert decide(settings, ALL, evidence(2, 0.95), evidence(1, 0.8))[0] == "promoted"
    lost, results = decide(settings, ALL, evidence(2, 0.65), evidence(1, 0.9))
    assert lost == "refused"
    for gate in (SRCC, ACCURACY, GAIN):
        result = results[f"{gate.kind}:{gate.metric}"]
        assert result.verdict == "fail"
        assert result.challenger is not None and result.champion is not None and result.challenger < result.champion
        assert result.high is not None and result.high < -gate.margin
        assert result.threshold == -gate.margin


def test_an_equal_challenger_is_let_through(settings: Settings) -> None:
    assert decide(settings, ALL, evidence(2, 0.9), evidence(1, 0.9))[0] == "promoted"


def test_swapped_champion_and_challenger_are_caught(settings: Settings) -> None:
    good, bad = evidence(1, 0.95), evidence(2, 0.65)
    rows = held_out(good)
    with pytest.raises(EvidenceMismatch, match="challenger 2 with champion 1"):
        judge(ALL, good, bad, versions=(2, 1), heldout=rows, settings=settings.evaluation)
    with pytest.raises(EvidenceMismatch, match="both version 1"):
        judge(ALL, good, good, versions=(1, 1), heldout=rows, settings=settings.evaluation)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", ["floor", "ceiling"])
def test_a_missing_or_undefined_figure_never_passes(settings: Settings, value: float | None, kind: str) -> None:
    gate = Gate.model_validate({"metric": "serving/latency_ms", "kind": kind, "value": 100.0})
    figures = {} if value is None else {"serving/latency_ms": value}
    said, results = decide(settings, [gate], evidence(2, 0.9, figures), None)
    assert said == "refused"
    assert "serving/latency_ms" in results[f"{kind}:serving/latency_ms"].message


def test_floor_and_ceiling_include_their_limit(settings: Settings) -> None:
    for kind, passing, failing in (("floor", 0.7, 0.699), ("ceiling", 0.7, 0.701)):
        gate = Gate.model_validate({"metric": "quality/srcc/shop", "kind": kind, "value": 0.7})
        assert decide(settings, [gate], evidence(2, 0.9, {gate.metric: passing}), None)[0] == "promoted"
        assert decide(settings, [gate], evidence(2, 0.9, {gate.metric: failing}), None)[0] == "refused"


@pytest.mark.parametrize("column", ["quality", "quality_mos", "style_pred"])
def test_a_nan_among_the_rows_fails_the_gate_by_name(settings: Settings, column: str) -> None:
    broken = evidence(2, 0.95)
    broken.per_image[column] = broken.per_image[column].astype(object)
    broken.per_image.loc[7, column] = None if column == "style_pred" else float("nan")
    gate = ACCURACY if column == "style_pred" else SRCC
    said, results = decide(settings, [gate, FLOOR], broken, evidence(1, 0.8))
    assert said == "refused"
    assert gate.metric in results[f"non_inferiority:{gate.metric}"].message


def test_an_empty_slice_fails(settings: Settings) -> None:
    gate = Gate(metric="quality/srcc/shop/nowhere", kind="non_inferiority", margin=0.02)
    said, results = decide(settings, [gate, FLOOR], evidence(2, 0.95), evidence(1, 0.8))
    assert said == "refused"
    assert "empty" in results["non_inferiority:quality/srcc/shop/nowhere"].message


def test_a_constant_prediction_fails(settings: Settings) -> None:
    flat = evidence(2, 0.95)
    flat.per_image["quality"] = 0.5
    said, results = decide(settings, [SRCC, FLOOR], flat, evidence(1, 0.8))
    assert said == "refused" and "undefined" in results["non_inferiority:quality/srcc/shop"].message


@pytest.mark.parametrize("who", ["challenger", "champion", "both"])
def test_a_truncated_held_out_set_is_caught(settings: Settings, who: str) -> None:
    challenger, champion = evidence(2, 0.95), evidence(1, 0.8)
    if who in ("challenger", "both"):
        challenger = replace(challenger, per_image=challenger.per_image.iloc[:300])
    if who in ("champion", "both"):
        champion = replace(champion, per_image=champion.per_image.iloc[:300])
    said, results = decide(settings, [SRCC, FLOOR], challenger, champion)
    assert said == "refused"
    failed = [name for name, result in results.items() if result.verdict == "fail"]
    assert f"complete:heldout/rows/{'challenger' if who == 'both' else who}" in failed


def test_other_labels_for_the_same_rows_are_caught(settings: Settings) -> None:
    champion = evidence(1, 0.8)
    champion.per_image.loc[0, "quality_mos"] = 0.123
    said, results = decide(settings, [SRCC, FLOOR], evidence(2, 0.95), champion)
    assert said == "refused" and "same held-out rows" in results["non_inferiority:quality/srcc/shop"].message


def test_other_groups_for_the_same_rows_are_caught(settings: Settings) -> None:
    champion = evidence(1, 0.8)
    champion.per_image["group"] = "one"
    said, results = decide(settings, [SRCC, FLOOR], evidence(2, 0.95), champion)
    assert said == "refused" and "same held-out rows" in results["non_inferiority:quality/srcc/shop"].message


def test_too_little_evidence_does_not_promote(settings: Settings) -> None:
    many = SRCC.model_copy(update={"min_groups": 500})
    assert decide(settings, [many, FLOOR], evidence(2, 0.95), evidence(1, 0.9))[0] == "not_enough_evidence"
    strict = SRCC.model_copy(update={"margin": 0.0, "min_groups": 0})
    close = evidence(2, 0.9)
    close.per_image["quality"] += np.random.default_rng(1).normal(0, 0.02, ROWS)
    said, results = decide(settings, [strict, FLOOR], close, evidence(1, 0.9))
    result = results["non_inferiority:quality/srcc/shop"]
    assert result.low is not None and result.high is not None and result.low < 0 < result.high
    assert said == "not_enough_evidence"


def noisy(version: int, skill: float, spread: float, gain: float = 0.0) -> Evidence:
    """A model that differs from row to row from the one of this skill, by `spread`, and by `gain` dB on every pair."""
    found = evidence(version, skill)
    own = np.random.default_rng(version)
    found.per_image["quality"] += own.normal(0, spread, ROWS)
    found.per_pair["psnr_out"] += own.normal(gain, spread, len(found.per_pair))
    return found


def test_a_gate_that_cannot_see_a_loss_of_its_margin_is_refused_as_underpowered(settings: Settings) -> None:
    gate = GAIN.model_copy(update={"margin": 0.1})
    champion = evidence(1, 0.9)
    said, results = decide(settings, [gate, FLOOR], noisy(2, 0.9, 1.0, gain=0.1), champion)
    result = results[f"{gate.kind}:{gate.metric}"]
    assert said == "not_enough_evidence" and "underpowered" in result.message
    assert result.detectable is not None and result.difference is not None and result.low is not None
    assert result.detectable == pytest.approx(result.difference - result.low) and result.detectable > gate.margin
    wide = gate.model_copy(update={"margin": result.detectable + 0.3})
    assert decide(settings, [wide, FLOOR], noisy(2, 0.9, 1.0, gain=0.1), champion)[0] == "promoted"
    # better beyond doubt: no power is needed to rule out a loss
    assert decide(settings, [gate, FLOOR], noisy(2, 0.9, 1.0, gain=1.0), champion)[0] == "promoted"


def test_superiority_asks_for_a_gain_beyond_its_margin(settings: Settings) -> None:
    champion = evidence(1, 0.9)
    gate = Gate(metric="enhance/psnr_gain", kind="superiority", margin=0.2)

    def said(challenger: Evidence, one: Gate = gate) -> tuple[str, GateResult]:
        outcome_, results = decide(settings, [one, FLOOR], challenger, champion)
        return outcome_, results[f"superiority:{one.metric}"]

    won, result = said(noisy(2, 0.9, 0.1, gain=0.5))
    assert won == "promoted" and result.threshold == 0.2 and result.low is not None and result.low > 0.2
    assert said(noisy(2, 0.9, 0.1, gain=0.0))[0] == "refused", "as good as the champion is not better"
    assert said(evidence(2, 0.9))[0] == "refused"
    assert said(noisy(2, 0.9, 1.0, gain=0.3))[0] == "not_enough_evidence"
    many = gate.model_copy(update={"min_groups": 500})
    assert said(noisy(2, 0.9, 0.1, gain=0.5), many)[0] == "not_enough_evidence"
    assert decide(settings, [gate, FLOOR], evidence(1, 0.9), None)[1][f"superiority:{gate.metric}"].verdict == (
        "not_applicable"
    )


def test_a_gate_may_be_surer_than_the_others(settings: Settings) -> None:
    champion, challenger = evidence(1, 0.9), noisy(2, 0.9, 0.5, gain=0.2)
    widths = {}
    for confidence in (None, 0.8, 0.99):
        gate = GAIN.model_copy(update={"confidence": confidence})
        result = decide(settings, [gate], challenger, champion)[1][f"{gate.kind}:{gate.metric}"]
        assert result.low is not None and result.high is not None
        assert result.confidence == (confidence or settings.evaluation.confidence)
        widths[confidence] = result.high - result.low
    assert widths[0.8] < widths[None] < widths[0.99]


def test_a_clear_loss_on_few_groups_still_fails(settings: Settings) -> None:
    many = SRCC.model_copy(update={"min_groups": 500})
    assert decide(settings, [many], evidence(2, 0.6), evidence(1, 0.95))[0] == "refused"


def test_the_first_model_needs_its_floors_and_nothing_else(settings: Settings) -> None:
    said, results = decide(settings, ALL, evidence(1, 0.9), None)
    assert said == "promoted"
    assert results["non_inferiority:quality/srcc/shop"].verdict == "not_applicable"
    assert decide(settings, ALL, evidence(1, 0.5), None)[0] == "refused"
    assert decide(settings, [SRCC], evidence(1, 0.9), None)[0] == "refused", "a promotion rests on at least one gate"


def test_the_table_names_every_gate(settings: Settings) -> None:
    _, results = decide(settings, ALL, evidence(2, 0.65), evidence(1, 0.9))
    text = table(list(results.values()))
    assert all(gate.metric in text for gate in ALL) and "**fail**" in text


PROFILE = Profile(
    sets=("a", "b"),
    quality=("a", "b"),
    style=("b",),
    catalogue=("a",),
    pristine=("a",),
    held_back={},
    floors={"quality/srcc/a": 0.7, "quality/srcc/b": 0.5},
    ceilings={},
)


def test_templates_expand_to_each_set_with_its_own_floor() -> None:
    gates = expand([Gate(metric="quality/srcc/{quality}", kind="floor")], PROFILE)
    assert {gate.metric: gate.value for gate in gates} == PROFILE.floors


@pytest.mark.parametrize(
    "gate",
    [
        Gate(metric="quality/spearman/a", kind="floor", value=0.5),
        Gate(metric="quality/srcc/elsewhere", kind="floor", value=0.5),
        Gate(metric="style/accuracy/{style}", kind="floor"),
        Gate(metric="serving/latency_ms", kind="ceiling"),
        Gate(metric="serving/latency_ms", kind="non_inferiority", margin=1.0),
        Gate(metric="quality/srcc_folds/a", kind="non_inferiority", margin=0.1),
        Gate(metric="shadow/srcc", kind="non_inferiority", margin=0.1),
        Gate(metric="shadow/taste", kind="floor", value=0.5),
    ],
    ids=lambda gate: f"{gate.kind}:{gate.metric}",
)
def test_a_gate_that_cannot_be_judged_is_refused_at_the_start(gate: Gate) -> None:
    with pytest.raises(GateSettingsError, match=r"/"):
        expand([gate], PROFILE)


NO_SHADOW = "gate 'shadow/srcc': nothing scores in shadow while registry.shadow_batches is 0 (profile 'own')"
NO_FLOOR = "gate 'shadow/batches' has to be a floor of at most registry.shadow_batches, which is 2 (profile 'own')"


@pytest.mark.parametrize(
    ("batches", "gate", "said"),
    [
        (0, Gate(metric="shadow/srcc", kind="floor", value=0.5), NO_SHADOW),
        (1, Gate(metric="shadow/srcc", kind="floor", value=3.0), None),
        (1, Gate(metric="shadow/errors", kind="ceiling", value=0.0), None),
        (2, Gate(metric="shadow/batches", kind="floor", value=2.0), None),
        (2, Gate(metric="shadow/batches", kind="floor", value=2.5), NO_FLOOR),
        (2, Gate(metric="shadow/batches", kind="ceiling", value=1.0), NO_FLOOR),
    ],
    ids=lambda value: f"{value.kind}:{value.metric}" if isinstance(value, Gate) else None,
)
def test_a_gate_on_the_shadow_must_be_one_that_the_batches_can_answer(
    settings: Settings, batches: int, gate: Gate, said: str | None
) -> None:
    first = Gate(metric="quality/srcc/a", kind="floor", value=0.5)
    registry = settings.registry.model_copy(update={"gates": (first, gate), "shadow_batches": batches})
    own = settings.model_copy(update={"registry": registry, "profiles": {"own": PROFILE}})
    if said is None:
        assert check_settings(own, "own") == [first, gate]
        return
    with pytest.raises(GateSettingsError) as caught:
        check_settings(own, "own")
    assert str(caught.value) == said


def test_no_gates_and_no_sets_are_refused_at_the_start() -> None:
    with pytest.raises(GateSettingsError, match="empty"):
        expand([], PROFILE)
    bare = PROFILE.model_copy(update={"style": ()})
    with pytest.raises(GateSettingsError, match="names no set"):
        expand([Gate(metric="style/accuracy/{style}", kind="floor", value=0.5)], bare)


def test_the_gates_of_params_yaml_hold_for_every_labelled_source(settings: Settings) -> None:
    for name, profile in settings.profiles.items():
        if name == "starter":  # which has no styles: its card leaves their gates out
            assert expand(without_styles(settings).registry.gates, profile)
        elif name != "own":
            assert expand(settings.registry.gates, profile)
