"""What each gate says, to the letter and to the last rounding: the mutation run (`make mutation`) rests on these."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skilled_models import ROWS, evidence

from packshot.config import Gate, Settings
from packshot.evaluation.resampling import Interval, paired_bootstrap
from packshot.registry import gates as g
from packshot.registry.gates import Evidence, EvidenceMismatch, GateResult, GateSettingsError

GROUPS = ROWS // 2
M, R = 0.25, g.ROUNDING
LOSS = Gate(metric="quality/srcc/shop", kind="non_inferiority", margin=M, min_groups=30)
GAIN = Gate(metric="quality/srcc/shop", kind="superiority", margin=M, min_groups=30)


def rows(one: Evidence) -> frozenset[tuple[str, str]]:
    return frozenset(zip(one.per_image["source"], one.per_image["path"], strict=True))


def judged(settings: Settings, gate: Gate, challenger: Evidence, champion: Evidence | None = None) -> GateResult:
    versions = (challenger.version, champion.version if champion else None)
    held = rows(evidence(0, 0.9))
    return g.judge([gate], challenger, champion, versions=versions, heldout=held, settings=settings.evaluation)[-1]


def spans(low: float, high: float, difference: float = 0.0, groups: int = 30) -> Interval:
    return Interval(difference, low, high, 0.1, groups, 60)


SPREAD = "difference {0:+.4f}, 95% interval {1:+.4f} to {2:+.4f}"
FAR_WORSE = ": worse than the champion by more than the margin of 0.25"
FEW = "; 29 groups, the gate asks for 30"
BETTER = ": better than the champion"
SAME = ": not worse by more than 0.25"
PAST = ": the interval reaches past the margin of 0.25"


def blind(detectable: float) -> str:
    return (
        f": underpowered, the smallest loss that 30 groups can tell is {detectable:.4f} and the margin is 0.25; "
        "hold out more groups or widen the margin"
    )


@pytest.mark.parametrize(
    ("interval", "verdict", "why"),
    [
        (spans(-0.5, -M - 2 * R, -0.4), "fail", FAR_WORSE),
        (spans(-0.5, -M - 2 * R, -0.4, groups=2), "fail", FAR_WORSE),
        # at the margin itself, and one rounding beyond it, the loss is not yet proved
        (spans(-0.5, -M - R, -0.4), "not_enough_evidence", PAST),
        (spans(-0.5, -M, -0.4), "not_enough_evidence", PAST),
        (spans(0.1, 0.3, 0.2, groups=29), "not_enough_evidence", FEW),
        (spans(0.1, 0.3, 0.2, groups=30), "pass", BETTER),
        (spans(0.1, 0.9, 0.5), "pass", BETTER),
        (spans(R, 0.9, 0.5), "not_enough_evidence", blind(0.5)),
        (spans(2 * R, 0.9, 0.5), "pass", BETTER),
        (spans(0.0, 0.5, M + R), "pass", SAME),
        (spans(0.0, 0.5, M), "pass", SAME),
        (spans(0.0, 0.5, M + 3 * R), "not_enough_evidence", blind(M)),
        (spans(-M - R, 0.1, -0.01), "pass", SAME),
        (spans(-M, 0.1, -0.01), "pass", SAME),
        (spans(-M - 3 * R, 0.1, -0.01), "not_enough_evidence", PAST),
        (spans(-0.26, 0.1, 0.2), "not_enough_evidence", blind(0.46)),
    ],
)
def test_a_comparison_at_its_margins(interval: Interval, verdict: str, why: str) -> None:
    spread = SPREAD.format(interval.difference, interval.low, interval.high)
    assert g._weigh_loss(LOSS, interval, 0.95) == (verdict, spread + why)


@pytest.mark.parametrize(
    ("interval", "verdict", "why"),
    [
        (spans(-0.1, M - 2 * R, 0.1), "fail", ": not better than the champion by more than 0.25"),
        (spans(-0.1, M, 0.1, groups=2), "fail", ": not better than the champion by more than 0.25"),
        (spans(-0.1, M + R, 0.1), "fail", ": not better than the champion by more than 0.25"),
        (spans(-0.1, M + 3 * R, 0.1), "not_enough_evidence", ": the interval does not lie above 0.25"),
        (spans(0.3, 0.5, 0.4, groups=29), "not_enough_evidence", FEW),
        (spans(0.3, 0.5, 0.4, groups=30), "pass", ": better by more than 0.25"),
        (spans(M + 3 * R, 0.5, 0.4), "pass", ": better by more than 0.25"),
        (spans(M + R, 0.5, 0.4), "not_enough_evidence", ": the interval does not lie above 0.25"),
        (spans(M, 0.5, 0.4), "not_enough_evidence", ": the interval does not lie above 0.25"),
    ],
)
def test_a_gain_at_its_margin(interval: Interval, verdict: str, why: str) -> None:
    spread = SPREAD.format(interval.difference, interval.low, interval.high)
    assert g._weigh_gain(GAIN, interval, 0.95) == (verdict, spread + why)


FLOOR = Gate(metric="quality/srcc/shop", kind="floor", value=0.6)
SPEED = Gate(metric="serving/latency_ms", kind="ceiling", value=100.0)


@pytest.mark.parametrize(
    ("gate", "figures", "expected"),
    [
        (FLOOR, {FLOOR.metric: 0.6}, ("pass", "quality/srcc/shop = 0.6 reaches 0.6", 0.6)),
        (FLOOR, {FLOOR.metric: 0.5}, ("fail", "quality/srcc/shop = 0.5 is below 0.6", 0.5)),
        (SPEED, {SPEED.metric: 100.0}, ("pass", "serving/latency_ms = 100 is within 100", 100.0)),
        (SPEED, {SPEED.metric: 101.0}, ("fail", "serving/latency_ms = 101 is above 100", 101.0)),
        (
            FLOOR,
            {},
            ("fail", "quality/srcc/shop is missing in the figures of version 2; it can not pass", None),
        ),
        (
            FLOOR,
            {FLOOR.metric: float("nan")},
            ("fail", "quality/srcc/shop is nan in the figures of version 2; it can not pass", None),
        ),
        (
            FLOOR.model_copy(update={"min_groups": GROUPS}),
            {FLOOR.metric: 0.7},
            ("pass", "quality/srcc/shop = 0.7 reaches 0.6", 0.7),
        ),
        (
            FLOOR.model_copy(update={"min_groups": GROUPS + 1}),
            {FLOOR.metric: 0.7},
            ("not_enough_evidence", f"quality/srcc/shop rests on {GROUPS} groups, the gate asks for {GROUPS + 1}", 0.7),
        ),
        # what is too low stays too low, however little it rests on
        (
            FLOOR.model_copy(update={"min_groups": GROUPS + 1}),
            {FLOOR.metric: 0.5},
            ("fail", "quality/srcc/shop = 0.5 is below 0.6", 0.5),
        ),
        (
            SPEED.model_copy(update={"min_groups": 1}),
            {SPEED.metric: 50.0},
            (
                "not_enough_evidence",
                "serving/latency_ms needs 1 groups, and they cannot be counted: serving/latency_ms cannot be computed "
                "from held-out rows",
                50.0,
            ),
        ),
    ],
)
def test_a_bound_says_what_was_found(
    settings: Settings, gate: Gate, figures: dict[str, float], expected: tuple[str, str, float | None]
) -> None:
    verdict, message, value = expected
    found = judged(settings, gate, evidence(2, 0.9, figures))
    assert found == GateResult(gate.metric, gate.kind, verdict, message, challenger=value, threshold=gate.value)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [None, float("nan"), float("inf")])
def test_a_bound_without_a_limit_fails(settings: Settings, limit: float | None) -> None:
    gate = FLOOR.model_copy(update={"value": limit})
    found = judged(settings, gate, evidence(2, 0.9))
    said = f"quality/srcc/shop: there is no usable threshold ({limit})"
    assert found == GateResult("quality/srcc/shop", "floor", "fail", said)


def test_a_comparison_says_everything_it_rests_on(settings: Settings) -> None:
    challenger, champion = evidence(2, 0.9), evidence(1, 0.8)
    found = judged(settings, LOSS, challenger, champion)
    ours, theirs = (each.slice(LOSS.metric) for each in (challenger, champion))
    interval = paired_bootstrap(
        ours.groups,
        ours.statistic,
        theirs.statistic,
        resamples=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        seed=g.BOOTSTRAP_SEED,
    )
    verdict, message = g._weigh_loss(LOSS, interval, settings.evaluation.confidence)
    assert found == GateResult(
        LOSS.metric,
        "non_inferiority",
        verdict,
        message,
        challenger=ours.value,
        champion=theirs.value,
        threshold=-M,
        difference=interval.difference,
        low=interval.low,
        high=interval.high,
        confidence=settings.evaluation.confidence,
        detectable=interval.difference - interval.low,
        groups=GROUPS,
        rows=ROWS,
    )
    assert judged(settings, GAIN, challenger, champion).threshold == M


def test_without_a_champion_a_comparison_does_not_apply(settings: Settings) -> None:
    for gate, threshold in ((LOSS, -M), (GAIN, M)):
        expected = GateResult(gate.metric, gate.kind, "not_applicable", "there is no champion yet", threshold=threshold)
        assert judged(settings, gate, evidence(1, 0.9)) == expected


def test_a_comparison_that_cannot_be_made_names_its_metric_once(settings: Settings) -> None:
    def failed(said: str, challenger: Evidence) -> None:
        expected = GateResult(LOSS.metric, LOSS.kind, "fail", said, threshold=-M)
        assert judged(settings, LOSS, challenger, evidence(1, 0.8)) == expected

    short = evidence(2, 0.9)
    failed(
        "quality/srcc/shop: the two models were not scored on the same held-out rows (300 against 400, 300 shared)",
        replace(short, per_image=short.per_image.iloc[:300]),
    )
    flat = evidence(2, 0.9)
    flat.per_image["quality"] = 0.5
    failed(
        "quality/srcc/shop: undefined on its 400 rows (all predictions or all labels are equal)",
        flat,
    )


def test_the_count_of_rows_says_which_version_misses_how_many(settings: Settings) -> None:
    whole, champion = evidence(2, 0.9), evidence(1, 0.8)

    def counted(challenger: Evidence) -> list[GateResult]:
        return g.judge([], challenger, champion, versions=(2, 1), heldout=rows(champion), settings=settings.evaluation)

    scored = "version {} was scored on {} of 400 held-out rows"
    assert counted(whole) == [
        GateResult("heldout/rows/challenger", g.COMPLETE, "pass", scored.format(2, 400), rows=400),
        GateResult("heldout/rows/champion", g.COMPLETE, "pass", scored.format(1, 400), rows=400),
    ]
    short = counted(replace(whole, per_image=whole.per_image.iloc[:390]))[0]
    said = scored.format(2, 390) + ": 10 missing, 0 that are not held out"
    assert short == GateResult("heldout/rows/challenger", g.COMPLETE, "fail", said, rows=390)
    more = whole.per_image.assign(path=whole.per_image["path"].where(np.arange(ROWS) > 0, "shop/another.jpg"))
    double = counted(replace(whole, per_image=more))[0]
    assert double.verdict == "fail" and double.message.endswith(": 1 missing, 1 that are not held out")
    extra = g.judge(
        [],
        whole,
        None,
        versions=(2, None),
        heldout=rows(whole) - {("shop", "shop/000.jpg")},
        settings=settings.evaluation,
    )
    assert extra[0].verdict == "fail" and extra[0].message.endswith(": 0 missing, 1 that are not held out")


def test_an_empty_held_out_set_is_not_complete(settings: Settings) -> None:
    nothing = evidence(2, 0.9)
    nothing = replace(nothing, per_image=nothing.per_image.iloc[:0])
    found = g.judge([], nothing, None, versions=(2, None), heldout=frozenset(), settings=settings.evaluation)
    assert [result.verdict for result in found] == ["fail"]


def test_mismatched_versions_are_named(settings: Settings) -> None:
    def refused(message: str, versions: tuple[int, int | None], *found: int) -> None:
        one, other = evidence(found[0], 0.9), evidence(found[1], 0.8) if len(found) > 1 else None
        with pytest.raises(EvidenceMismatch) as caught:
            g.judge([FLOOR], one, other, versions=versions, heldout=rows(one), settings=settings.evaluation)
        assert str(caught.value) == message

    of = "gates were to compare challenger {} with champion {}, but the evidence is of {} and {}; nothing was decided"
    refused(of.format(3, 1, 2, 1), (3, 1), 2, 1)
    refused(of.format(2, None, 2, 1), (2, None), 2, 1)
    refused(of.format(2, 1, 2, None), (2, 1), 2)
    refused("challenger and champion are both version 2; nothing was decided", (2, 2), 2, 2)


def result(verdict: str, kind: str = "floor") -> GateResult:
    return GateResult("m", kind, verdict, "said")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "pass"], "promoted"),
        (["pass", "not_applicable"], "promoted"),
        (["pass", "fail", "not_enough_evidence"], "refused"),
        (["pass", "not_enough_evidence"], "not_enough_evidence"),
        (["not_enough_evidence"], "not_enough_evidence"),
        (["not_applicable"], "refused"),
        ([], "refused"),
    ],
)
def test_the_outcome_of_every_mixture(verdicts: list[str], expected: str) -> None:
    complete = result("pass", g.COMPLETE)
    assert g.outcome([complete, *map(result, verdicts)]) == expected


def test_a_record_holds_what_json_can() -> None:
    found = GateResult(
        "m", "floor", "fail", "said", challenger=float("nan"), champion=float("-inf"), threshold=0.5, rows=3
    )
    assert found.as_record() == {
        "metric": "m",
        "kind": "floor",
        "verdict": "fail",
        "message": "said",
        "challenger": None,
        "champion": None,
        "threshold": 0.5,
        "difference": None,
        "low": None,
        "high": None,
        "confidence": None,
        "detectable": None,
        "groups": None,
        "rows": 3,
    }


def test_the_table_to_the_letter() -> None:
    results = [
        GateResult("a", "floor", "pass", "good", challenger=0.71234, threshold=0.7),
        GateResult("b", "ceiling", "fail", "bad", challenger=2.0, threshold=1.0),
        GateResult("c", "non_inferiority", "not_enough_evidence", "few", 0.5, 0.6, threshold=-0.02),
        GateResult("d", "superiority", "not_applicable", "none", threshold=0.01),
        GateResult("e", g.COMPLETE, "pass", "all"),
    ]
    assert g.table(results) == (
        "| gate | metric | challenger | champion | must be | verdict |\n"
        "|---|---|---|---|---|---|\n"
        "| floor | `a` | 0.7123 | – | ≥ 0.7 | **pass**: good |\n"
        "| ceiling | `b` | 2 | – | ≤ 1 | **fail**: bad |\n"
        "| non_inferiority | `c` | 0.5 | 0.6 | difference ≥ -0.02 | **not enough evidence**: few |\n"
        "| superiority | `d` | – | – | difference > 0.01 | **not applicable**: none |\n"
        "| complete | `e` | – | – | all rows | **pass**: all |"
    )


def test_settings_are_checked_under_the_profile_of_the_source(settings: Settings) -> None:
    assert g.check_settings(settings, "mirror") == g.expand(settings.registry.gates, settings.profiles["mirror"])
    with pytest.raises(GateSettingsError) as unknown:
        g.check_settings(settings, "elsewhere")
    names = sorted(settings.profiles)
    assert str(unknown.value) == f"there is no profile 'elsewhere' in params.yaml; it has {names}"
    registry = settings.registry.model_copy(update={"gates": (Gate(metric="quality/spearman/a", kind="floor"),)})
    with pytest.raises(GateSettingsError, match=r"quality/spearman/a.*\(profile 'mirror'\)$"):
        g.check_settings(settings.model_copy(update={"registry": registry}), "mirror")
    with pytest.raises(GateSettingsError) as empty:
        g.expand([], settings.profiles["mirror"])
    assert str(empty.value) == "registry.gates is empty: a promotion without gates is not allowed; add at least one"


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (
            Gate(metric="style/accuracy/{style}", kind="floor", value=0.5),
            "gate 'style/accuracy/{style}' names no set: the profile has none with that label; name the sets in "
            "profiles.*.quality and profiles.*.style, or take the gate out of registry.gates",
        ),
        (
            Gate(metric="serving/latency_ms", kind="ceiling"),
            "the ceiling gate on 'serving/latency_ms' has no value; give it one in registry.gates or in "
            "profiles.*.ceilings",
        ),
        (
            Gate(metric="enhance/psnr_gain", kind="floor"),
            "the floor gate on 'enhance/psnr_gain' has no value; give it one in registry.gates or in profiles.*.floors",
        ),
        (
            Gate(metric="quality/spearman/a", kind="floor", value=0.5),
            "gate 'quality/spearman/a': nothing writes a metric of that name for the sets ['a']; correct the name (the "
            "names are the keys of reports/evaluation/metrics.json)",
        ),
        (
            Gate(metric="serving/latency_ms", kind="superiority"),
            "gate 'serving/latency_ms' cannot be a comparison with the champion: it is not computed from held-out "
            "rows; use a floor or a ceiling",
        ),
    ],
)
def test_what_is_wrong_with_a_gate_is_said_with_what_to_do(settings: Settings, gate: Gate, said: str) -> None:
    # a floor of the profile is no ceiling
    changes = {"quality": ("a",), "style": (), "floors": {"serving/latency_ms": 5.0}}
    profile = settings.profiles["mirror"].model_copy(update=changes)
    with pytest.raises(GateSettingsError) as caught:
        g.expand([gate], profile)
    assert str(caught.value) == said


def test_ladders_of_damage_are_compared_too(settings: Settings) -> None:
    gate = Gate(metric="robustness/falls", kind="non_inferiority", margin=0.1, min_groups=20)
    blind, keen = evidence(2, 0.3), evidence(1, 0.9)
    found = judged(settings, gate, blind, keen)
    assert (found.verdict, found.rows, found.groups) == ("fail", 120, 30)
    assert found.challenger == blind.slice(gate.metric).value < found.champion == keen.slice(gate.metric).value
    assert judged(settings, gate, replace(keen, version=2), keen).verdict == "pass"
