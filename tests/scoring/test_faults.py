"""What faults make of a picture: the decision, the reasons, the column, and what sellers and the end of a batch say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sample_batch import BrightnessJudge, Judged, make_batch, scorer
from small_workspace import make_settings

from packshot.exports.sellers import faults_of
from packshot.faults.detector import Found
from packshot.faults.kinds import KINDS, NAMES
from packshot.scoring.batch import score
from packshot.scoring.decisions import Decision, Scores, decide, with_faults
from packshot.scoring.faults import common_faults, outcomes_of, present, to_mend
from packshot.scoring.rules import Finding
from packshot.scoring.summary import summary

RULES = make_settings().scoring.model_copy(
    update={"accept_at": 0.6, "reject_below": 0.35, "review_width": 0.5, "fault_false_alarms": 0.05, "fault_sure": 0.9}
)
GOOD = Scores(0.8, 0.7, 0.9, 0.9, 0.9, 0.9)
WIDE = replace(GOOD, quality_low=0.2, quality_high=1.0)


def found(*named: str, probability: float = 0.95, strength: float = 1.0, alarm: float = 0.01) -> tuple[Found, ...]:
    """Every fault, those that are named there."""
    nothing = {name: Found(name, 0.02, KINDS[name].strong, 0.8) for name in NAMES}
    there = {name: Found(name, probability, strength, alarm) for name in named}
    return tuple((nothing | there).values())


@pytest.mark.parametrize(
    ("faults", "scores", "expected"),
    [
        (found(), GOOD, "accept"),
        (found("cast"), GOOD, "enhance"),
        (found("cast", alarm=0.06), GOOD, "accept"),
        (found("cast", strength=50), GOOD, "enhance"),
        (found("blur", strength=3.0), GOOD, "enhance"),
        (found("compression", strength=12, probability=0.5), GOOD, "enhance"),
        (found("compression", strength=12), GOOD, "reject"),
        (found("compression", strength=60), GOOD, "enhance"),
        (found("noise", "compression", strength=12.0), GOOD, "reject"),
        (None, WIDE, "review"),
        (found(), WIDE, "accept"),
        (found(), replace(WIDE, quality=0.5), "enhance"),
        (found("dark"), WIDE, "enhance"),
        (found("dark"), replace(GOOD, detail=float("nan")), "review"),
    ],
)
def test_faults_decide_before_the_score(faults: tuple[Found, ...] | None, scores: Scores, expected: str) -> None:
    assert decide(scores, RULES, faults=faults).decision == expected


def test_a_rule_of_the_catalogue_comes_before_a_fault() -> None:
    broken = Finding("longest_side", 80, 100, "reject", "Too small.")
    decision = decide(GOOD, RULES, (broken,), found("cast"))
    assert decision.decision == "reject"
    assert [reason.split(":")[0] for reason in decision.reasons] == ["longest_side", "cast"]


def test_a_fault_that_is_the_shops_look_decides_nothing() -> None:
    rules = RULES.model_copy(update={"accepted_faults": ("dark",)})
    assert decide(GOOD, rules, faults=found("dark")) == Decision("accept", ())
    assert decide(GOOD, rules, faults=found("dark", "noise")).decision == "enhance"


def test_the_share_of_false_alarms_is_what_makes_a_fault() -> None:
    faults = found("cast", alarm=0.04)
    assert present(faults, RULES)
    assert not present(faults, RULES.model_copy(update={"fault_false_alarms": 0.02}))


def test_an_uncertain_score_is_no_reason_where_it_does_not_decide() -> None:
    assert decide(WIDE, RULES, faults=found()).reasons == ()
    assert decide(WIDE, RULES).reasons[0].startswith("uncertain:")


def tried(faults: tuple[Found, ...], settled: str, scores: Scores = GOOD, after: Sequence[Found] = ()) -> Decision:
    there, first = present(faults, RULES), decide(scores, RULES, faults=faults)
    outcomes = outcomes_of(there, after or faults, RULES, kept=settled == "enhance")
    return with_faults(replace(first, decision=settled), scores, there, outcomes, RULES)


def test_reasons_say_what_came_of_a_fault_and_what_it_costs() -> None:
    cast = found("cast", strength=2.13)
    assert tried(cast, "enhance", after=found()).reasons == ("cast: strength 2.1, fixed",)
    assert tried(cast, "enhance", after=cast).reasons == ("cast: strength 2.1, not fixed",)
    milder = found("cast", strength=1.2)
    assert tried(cast, "enhance", after=milder).reasons == ("cast: strength 2.1, improved",)
    assert tried(cast, "review", after=milder).reasons == ("cast: strength 2.1, not fixed",), "which is not shown"
    low, high = (found("compression", strength=quality) for quality in (20, 40))
    there = present(low, RULES)
    assert outcomes_of(there, high, RULES, kept=True) == {"compression": "improved"}, "of which more is less"
    strong = found("blur", strength=2.2)
    assert tried(strong, "enhance", after=strong).reasons == ("blur: 2.2 px, not fixed",)
    assert tried(cast, "review").reasons == ("cast: strength 2.1, not fixed",)
    assert tried(found("blur", strength=1.44), "review").reasons == ("blur: 1.4 px, cannot be fixed; reshoot",)
    assert decide(GOOD, RULES, faults=found("compression", strength=14)).reasons == (
        "compression: as of JPEG quality 14, cannot be fixed; reshoot",
    )


@pytest.mark.parametrize(
    ("faults", "scores", "expected"),
    [
        (found("dark"), GOOD, "review"),
        (found("dark", strength=3.0), GOOD, "reject"),
        (found("dark", strength=3.0, probability=0.6), GOOD, "review"),
        (found("dark"), Scores(0.3, 0.2, 0.4, 0.9, 0.9, 0.9), "reject"),
        (found("dark"), Scores(0.3, 0.0, 0.6, 0.9, 0.9, 0.9), "review"),
    ],
)
def test_what_is_not_mended_goes_back_only_beyond_doubt(
    faults: tuple[Found, ...], scores: Scores, expected: str
) -> None:
    assert tried(faults, "reject", scores).decision == expected
    assert tried(found(), "reject", scores).decision == "reject", "without a fault the score had its word"


def test_what_is_to_be_mended() -> None:
    faults = found("cast", "noise")
    ruled = (Finding("noise", 9, 3.5, "enhance", ""), Finding("dark", 0.5, 0.6, "note", ""))
    assert to_mend(faults, present(faults, RULES), ()) == {"cast", "noise"}
    assert to_mend(found(), (), ruled) == {"noise"}
    assert to_mend(None, (), ruled) is None


class FaultJudge(BrightnessJudge):
    """Calls pictures dark below a mean of 130."""

    def _one(self, image: np.ndarray) -> Judged:
        judged = super()._one(image)
        return replace(judged, quality=0.7 + judged.quality / 10, faults=found(*["dark"] * int(image.mean() < 130)))


def scored(tmp_path: Path, low: int, high: int, count: int = 24) -> tuple[list[dict[str, object]], str]:
    settings = make_settings()
    scoring = settings.scoring.model_copy(
        update={
            **{"max_enhanced_shift": 1.0, "max_colour_shift": 100.0, "min_gain": 0.0, "max_attribute_fall": 1.0},
            **{"accept_at": 0.6, "review_width": 1.0, "profiles": {"own": {}}, "thresholds": "fixed"},
        }
    )
    batch = make_batch(tmp_path / "batch", count, low, high)
    report = score(
        settings.model_copy(update={"scoring": scoring}), batch, tmp_path / "out", scorer=scorer(FaultJudge())
    )
    return pq.read_table(tmp_path / "out/verdicts.parquet").to_pylist(), summary(report)


def test_a_batch_tells_faults_by_row(tmp_path: Path) -> None:
    rows, told = scored(tmp_path, 60, 220)
    by_outcome = {}
    for row in rows:
        (dark,) = [one for one in row["faults"] if one["fault"] == "dark"]
        assert [one["fault"] for one in row["faults"]] == list(NAMES)
        assert dark["unit"] == "stops"
        assert dark["present"] == (dark["outcome"] != "none")
        by_outcome.setdefault(dark["outcome"], []).append(row)
    assert {row["decision"] for row in by_outcome["none"]} == {"accept"}
    assert {row["decision"] for row in by_outcome["fixed"]} == {"enhance"}
    assert all(row["reasons"][0] == "dark: 1.0 stops, fixed" and row["enhanced_path"] for row in by_outcome["fixed"])
    assert {row["reasons"][0] for row in by_outcome["not_fixed"]} == {"dark: 1.0 stops, not fixed"}
    checks = {check["rule"]: check for check in by_outcome["fixed"][0]["checks"] if check["kind"] == "fault"}
    assert checks["dark"]["status"] == "failed" and checks["dark"]["done"] == "fixed"
    assert checks["dark"]["advice"] == KINDS["dark"].sentence
    assert checks["cast"]["status"] == "passed" and checks["cast"]["advice"] is None
    assert "accepted_faults" not in told


def test_a_batch_all_of_one_fault_is_said_once_at_its_end(tmp_path: Path) -> None:
    rows, told = scored(tmp_path, 60, 100)
    assert told.count("scoring.accepted_faults: [dark]") == 1
    assert f"{len(rows)} of {len(rows)} pictures have the fault dark" in told


def test_few_pictures_are_no_look() -> None:
    dark = [{"fault": "dark", "present": True}]
    assert common_faults([dark] * 25) == {"dark": (25, 25)}
    assert common_faults([dark] * 15 + [[]] * 10) == {"dark": (15, 25)}
    assert common_faults([dark] * 14 + [[]] * 11) == {}
    assert common_faults([dark] * 15 + [None] * 10) == {}


def test_sellers_are_told_what_to_do_about_faults_that_are_left() -> None:
    row = {"findings": [], "decision": "review", "reasons": ["blur: 1.4 px, not fixed", "cast: strength 2.1, fixed"]}
    assert dict(faults_of(row)) == {"blur": KINDS["blur"].sentence}
