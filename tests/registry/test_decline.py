"""Many promotions lose no more than one may, and many tries on the same rows are not let through by luck."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from skilled_models import Shop, evidence

from packshot.config import Gate, Settings
from packshot.evaluation.resampling import FEWEST_BEYOND, mean_of, paired_bootstrap
from packshot.registry.decline import best_so_far, question_number
from packshot.registry.events import parse
from packshot.registry.gates import (
    FIRST_USE,
    NO_DECLINE,
    ROUNDING,
    Best,
    Evidence,
    GateResult,
    GateSettingsError,
    Use,
    _no_decline,
    _percent,
    _weigh_loss,
    _weigh_spent,
    check_settings,
    judge,
    table,
)
from packshot.registry.ledger import Ledger
from packshot.registry.state import replay

MARGIN = 0.3
GAIN = Gate(metric="enhance/psnr_gain", kind="non_inferiority", margin=MARGIN, min_groups=20)
GROUPS = 60


def model(version: int, gains: np.ndarray) -> Evidence:
    """Evidence of one figure alone: `gains` dB on each of GROUPS held-out pairs, each a group of its own."""
    names = [f"{i:03d}" for i in range(len(gains))]
    per_pair = pd.DataFrame({"image_id": names, "group": names, "degradations": "jpeg:2", "family": "noise"})
    per_pair = per_pair.assign(psnr_in=20.0, psnr_out=20.0 + gains)
    return Evidence(version, {}, ROWS.per_image, per_pair, ROWS.per_single)


ROWS = evidence(0, 0.9)
HELD = frozenset(zip(ROWS.per_image["source"], ROWS.per_image["path"], strict=True))


def said(
    settings: Settings,
    challenger: Evidence,
    champion: Evidence,
    use: Use = FIRST_USE,
    best: Best | None = None,
    resamples: int = 400,
) -> list[GateResult]:
    rules = settings.evaluation.model_copy(update={"bootstrap": resamples})
    versions = (challenger.version, champion.version)
    known = {GAIN.metric: best} if best is not None else {}
    found = judge([GAIN], challenger, champion, versions=versions, heldout=HELD, settings=rules, use=use, best=known)
    return found[2:]


@pytest.mark.parametrize("spending", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("nominal", [0.8, 0.95, 0.99])
def test_all_uses_together_are_wrong_no_more_often_than_one_may_be(spending: float, nominal: float) -> None:
    confidences = [Use(k, spending).confidence(nominal) for k in range(1, 2001)]
    assert all(after > before for before, after in pairwise(confidences))
    passing_by_luck = sum((1 - confidence) / 2 for confidence in confidences)
    assert passing_by_luck == pytest.approx((1 - nominal) * (1 - 2001**-spending))


def test_the_first_use_is_as_sure_as_the_settings_say_and_later_ones_say_how_sure_they_are() -> None:
    assert FIRST_USE.confidence(0.95) == 0.95 and FIRST_USE.said(0.95) == ""
    words = {2: "2nd use of these rows: 98% confidence", 3: "3rd use of these rows: 99.2% confidence"}
    words |= {11: "11th use of these rows: 99.92% confidence", 30: "30th use of these rows: 99.99% confidence"}
    for number, expected in words.items():
        use = Use(number)
        assert use.said(use.confidence(0.95)) == f"; {expected}"
    assert [Use(n).said(0.9)[2:6] for n in (21, 22, 23, 111, 112, 113)] == [
        "21st",
        "22nd",
        "23rd",
        "111t",
        "112t",
        "113t",
    ]


def test_beyond_what_resamples_can_show_the_interval_goes_by_their_standard_error() -> None:
    values = np.random.default_rng(3).normal(0, 1, 40)
    ours, none, groups = mean_of(values), mean_of(np.zeros(40)), list(range(40))

    def interval(confidence: float) -> tuple[float, float]:
        found = paired_bootstrap(groups, ours, none, resamples=400, confidence=confidence)
        assert found.low < found.difference < found.high
        return found.difference - found.low, found.standard_error

    at_limit = 1 - 2 * FEWEST_BEYOND / 400
    drawn, error = interval(at_limit)
    assert drawn / error == pytest.approx(stats.norm.ppf(1 - FEWEST_BEYOND / 400), abs=0.2), "enough draws lie beyond"
    closer, _ = interval(at_limit + 0.001)
    corrected = np.sqrt(40 / 39)
    assert closer / error == pytest.approx(corrected * stats.t.ppf(1 - FEWEST_BEYOND / 400, 39), abs=0.1)
    far, error = interval(0.9999)
    assert far / error == pytest.approx(corrected * stats.t.ppf(0.99995, 39)), (
        "few draws lie beyond: the standard error tells"
    )
    alone = paired_bootstrap(["one"] * 40, ours, none, resamples=400, confidence=0.9999)
    assert alone.low == pytest.approx(alone.difference) == alone.high


def test_thirty_tries_of_worse_challengers_pass_in_at_most_one_world_of_twenty() -> None:
    """Every challenger loses exactly what is just too much; with one confidence for all, luck lets some through."""
    luck, groups, same = np.random.default_rng(11), list(range(GROUPS)), mean_of(np.zeros(GROUPS))

    def passes(differences: np.ndarray, use: Use) -> bool:
        sure = use.confidence(0.95)
        interval = paired_bootstrap(groups, mean_of(differences), same, resamples=100, confidence=sure)
        return _weigh_loss(GAIN, interval, sure)[0] == "pass"

    worlds = luck.normal(-MARGIN, 0.4, (40, 30, GROUPS))
    spent = sum(any(passes(one, Use(k)) for k, one in enumerate(world, 1)) for world in worlds)
    at_one_confidence = sum(any(passes(one, FIRST_USE) for one in world) for world in worlds[:20])
    assert spent <= 2 and at_one_confidence >= 6


def test_fourteen_promotions_within_the_margin_lose_no_more_than_one_margin(settings: Settings) -> None:
    luck = np.random.default_rng(12)
    gains, level, champion = luck.normal(0, 0.2, GROUPS), 0.0, 1
    first = model(1, gains)
    behind, promoted = 0.0, 0
    for number in range(2, 16):
        step = -0.6 * MARGIN
        challenger = gains + level + step + luck.normal(0, 0.05, GROUPS)
        best = Best(1, behind, first) if behind < 0 else None
        found = said(settings, model(number, challenger), model(champion, gains + level), best=best)
        assert found[0].verdict == "pass", "against the champion of then each is within the margin"
        if all(result.verdict == "pass" for result in found):
            promoted, champion, level = promoted + 1, number, float(challenger.mean() - gains.mean())
            behind += found[0].difference or 0.0
        else:
            assert found[1].kind == NO_DECLINE and found[1].verdict == "fail"
            assert "than version 1, the best champion so far" in found[1].message
    assert promoted == 1 and level > -MARGIN


def test_where_the_best_cannot_be_scored_the_ledger_stands_for_it(settings: Settings) -> None:
    luck = np.random.default_rng(13)
    gains = luck.normal(0, 0.2, GROUPS)
    champion, challenger = model(3, gains), model(4, gains - 0.2 + luck.normal(0, 0.02, GROUPS))
    for behind, verdict in ((-0.05, "pass"), (-0.1, "not_enough_evidence"), (-0.5, "fail")):
        beside, found = said(settings, challenger, champion, Use(2), Best(1, behind, None))
        assert beside.verdict == "pass" and (found.kind, found.verdict) == (NO_DECLINE, verdict)
        assert found.low is not None and beside.low is not None and found.low == pytest.approx(beside.low + behind)
        assert found.message.startswith(
            "version 1, the best champion so far, cannot be scored any more; by the gates passed since, the champion "
            f"of now is {-behind:.4f} behind it, and with this step it would be {found.difference:+.4f} ("
        )
        assert beside.high is not None and found.high == pytest.approx(beside.high + behind)
        assert f"({found.low:+.4f} to {found.high:+.4f}): " in found.message
        assert found.message.endswith("; 2nd use of these rows: 98% confidence") and found.champion is None


@pytest.mark.parametrize(
    ("low", "high", "verdict", "why"),
    [
        (-9.0, -MARGIN - 3 * ROUNDING, "fail", "more than the margin of 0.3 is spent"),
        (-9.0, -MARGIN - ROUNDING, "not_enough_evidence", "the interval reaches past the margin of 0.3"),
        (-9.0, -MARGIN, "not_enough_evidence", "the interval reaches past the margin of 0.3"),
        (-MARGIN - 3 * ROUNDING, 0.0, "not_enough_evidence", "the interval reaches past the margin of 0.3"),
        (-MARGIN - ROUNDING, 0.0, "pass", "within the margin of 0.3"),
        (-MARGIN, 0.0, "pass", "within the margin of 0.3"),
    ],
)
def test_a_margin_is_spent_to_the_last_rounding(low: float, high: float, verdict: str, why: str) -> None:
    assert _weigh_spent(GAIN, high, low) == (verdict, why)


@pytest.mark.parametrize("known", [(None, -0.1, 0.1), (0.0, None, 0.1), (0.0, -0.1, None)])
def test_a_comparison_without_an_interval_spends_nothing(
    settings: Settings, known: tuple[float | None, float | None, float | None]
) -> None:
    difference, low, high = known
    beside = GateResult(GAIN.metric, GAIN.kind, "fail", "unusable", 1.0, 1.0, -MARGIN, difference, low, high)
    champion = model(1, np.zeros(GROUPS))
    found = _no_decline(GAIN, champion, Best(1, -0.1, None), beside, settings.evaluation, FIRST_USE)
    assert (found.kind, found.verdict, found.message, found.champion) == (NO_DECLINE, "fail", "unusable", None)
    assert (found.difference, found.low, found.high) == known


def test_the_table_says_what_a_decline_must_not_pass() -> None:
    assert "since the best ≥ -0.3" in table([GateResult(GAIN.metric, NO_DECLINE, "pass", "", threshold=-MARGIN)])


def test_a_confidence_has_the_digits_that_tell_it_from_certainty() -> None:
    assert [_percent(value) for value in (0.95, 0.9899, 0.99, 0.99005, 0.9991)] == [
        "95%",
        "99%",
        "99%",
        "99.0%",
        "99.91%",
    ]


def entries(*steps: tuple[str, int | None, int, float | None]) -> list[dict[str, object]]:
    """Ledger entries of moves: kind (promoted, rolled back, adopted), from, to, difference that the gate measured."""
    found: list[dict[str, object]] = []
    for kind, before, version, difference in steps:
        gate = {"kind": "non_inferiority", "metric": GAIN.metric, "difference": difference}
        other = gate | {"kind": "no_decline", "difference": -9.0}
        common = {"at": "2026-01-01T00:00:00+00:00", "actor": "a", "from_version": before, "to_version": version}
        if kind != "adopted":
            begun = "intent" if kind == "promoted" else "rollback_intent"
            found.append({**common, "kind": begun, "payload": {"gates": [other, gate]}})
        ended = {"promoted": "committed", "rolled back": "rollback_committed"}.get(kind, kind)
        found.append({**common, "kind": ended, "payload": {}})
    return [{**entry, "id": number} for number, entry in enumerate(found, 1)]


FIRST, SECOND = ("promoted", None, 1, None), ("promoted", 1, 2, -0.1)


@pytest.mark.parametrize(
    ("steps", "best"),
    [
        ([FIRST], None),
        ([("adopted", None, 1, None), SECOND], (1, -0.1)),
        # the deepest fall counts, wherever it lies; of two that are equally good the later one
        ([FIRST, ("promoted", 1, 2, 0.2), ("promoted", 2, 3, -0.3)], (2, -0.3)),
        ([FIRST, ("promoted", 1, 2, 0.0), ("promoted", 2, 3, -0.1)], (2, -0.1)),
        ([FIRST, SECOND], (1, -0.1)),
        ([FIRST, ("promoted", 1, 2, 0.1)], None),
        ([FIRST, SECOND, ("promoted", 2, 3, 0.04)], (1, -0.06)),
        ([FIRST, SECOND, ("promoted", 2, 3, 0.2)], None),
        ([FIRST, ("promoted", 1, 2, 0.3), ("promoted", 2, 3, -0.1), ("promoted", 3, 4, -0.1)], (2, -0.2)),
        # a rollback gives back what was lost on the way; by hand, or without the gate, it begins anew
        ([FIRST, SECOND, ("rolled back", 2, 1, None)], None),
        ([FIRST, SECOND, ("rolled back", 2, 1, None), ("promoted", 1, 3, -0.2)], (1, -0.2)),
        ([FIRST, SECOND, ("adopted", 2, 3, None)], None),
        ([FIRST, SECOND, ("adopted", 2, 3, None), ("promoted", 3, 4, -0.3)], (3, -0.3)),
        ([FIRST, ("promoted", 1, 2, None), ("promoted", 2, 3, -0.1)], (2, -0.1)),
    ],
)
def test_the_best_champion_so_far_is_found_along_the_promotions(
    steps: list[tuple[str, int | None, int, float | None]], best: tuple[int, float] | None
) -> None:
    events = [parse(entry) for entry in entries(*steps)]
    found = best_so_far(events, replay(events), GAIN.metric)
    assert found == (best if best is None else (best[0], pytest.approx(best[1])))
    assert best_so_far(events, replay(events), "style/accuracy/shop") is None


def test_a_question_is_counted_once_and_only_where_something_is_compared(ledger: Ledger) -> None:
    ledger.record("gate", model_name="packshot", to_version=9, from_version=8, data_rev="d")

    def ask(version: int, champion: int | None, data_rev: str = "d") -> int:
        number = question_number(ledger, data_rev, ("packshot", version, champion))
        ledger.record(
            "heldout_use", model_name="packshot", to_version=version, from_version=champion, data_rev=data_rev
        )
        return number

    assert [ask(1, None), ask(2, 1), ask(3, 1), ask(2, 1), ask(3, 2), ask(2, 1, "e"), ask(4, 2)] == [
        1,
        1,
        2,
        1,
        3,
        1,
        4,
    ]


@pytest.mark.parametrize("spending", [3.0, 4.0])
def test_a_first_use_that_would_be_no_better_than_a_coin_is_refused(shop: Shop, spending: float) -> None:
    registry = shop.settings.registry.model_copy(update={"spending": spending})
    evaluation = shop.settings.evaluation.model_copy(update={"confidence": 0.7})
    with pytest.raises(GateSettingsError, match=r"confidence 0\.7 and registry\.spending .* no better than a coin"):
        check_settings(shop.settings.model_copy(update={"registry": registry, "evaluation": evaluation}), "own")


@pytest.mark.parametrize(("kind", "refused"), [("superiority", True), ("non_inferiority", True), ("floor", False)])
def test_only_comparisons_need_to_be_surer_than_a_coin(shop: Shop, kind: str, refused: bool) -> None:
    gate = Gate(metric="quality/srcc/{quality}", kind=kind, margin=0.1)
    registry = shop.settings.registry.model_copy(update={"gates": (gate,), "spending": 1.0})
    evaluation = shop.settings.evaluation.model_copy(update={"confidence": 0.5})
    settings = shop.settings.model_copy(update={"registry": registry, "evaluation": evaluation})
    if not refused:
        assert [one.kind for one in check_settings(settings, "own")] == ["floor"]
        return
    with pytest.raises(GateSettingsError, match=r"coin; raise the confidence, or lower registry\.spending"):
        check_settings(settings, "own")


@pytest.mark.parametrize("spending", ["0", "-1", "nan", "inf", "5"])
def test_a_spending_that_is_no_rule_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, spending: str) -> None:
    from packshot.config import SettingsError, load_settings

    monkeypatch.setenv("PACKSHOT__REGISTRY__SPENDING", spending)
    with pytest.raises(SettingsError, match=r"registry\.spending"):
        load_settings()
