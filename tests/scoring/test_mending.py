"""Repairs are kept by what they are expected to gain, and chosen among those that mend what a picture has."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_network import save_small_bundle, small_architecture

from packshot.bundle import Judge, Mended
from packshot.config import ScoringSettings, load_settings
from packshot.faults.detector import Detector, Found
from packshot.faults.kinds import NAMES
from packshot.inference.gain import CHANGE_SIZE, Forest
from packshot.inference.repairs import names
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.scoring.decisions import Decision, Enhanced, Scores, settle
from packshot.scoring.enhancing import NOTHING_GAINS, repaired
from packshot.scoring.fidelity import is_grey, structure_kept
from packshot.trained import judge_of, read_trained

Image = np.ndarray
FIRST = Decision("enhance", ("dark: 1.2 stops, enhancing not tried",))
SCORES = Scores(0.5, 0.4, 0.6, 0.8, 0.8, 0.8)


@pytest.fixture
def rules() -> ScoringSettings:
    changed = {"reject_below": 0.2, "max_colour_shift": 2.0, "max_enhanced_shift": 0.35, "min_gain": 0.01}
    return load_settings().scoring.model_copy(update=changed)


def after(gain: float | None, similarity: float = 0.99, shift: float = 0.5, **scores: float) -> Enhanced:
    return Enhanced(replace(SCORES, **scores), similarity, shift, (), gain)


def test_a_sure_gain_is_kept_although_the_judge_finds_it_no_better(rules: ScoringSettings) -> None:
    worse = {"quality": 0.45, "quality_low": 0.35, "quality_high": 0.55, "sharpness": 0.6}
    assert settle(FIRST, SCORES, after(0.4, **worse), rules).decision == "enhance"
    assert settle(FIRST, SCORES, after(None, **worse), rules).decision == "review"


@pytest.mark.parametrize(
    ("enhanced", "reason"),
    [
        (after(3.0, similarity=0.6), "changed_too_much"),
        (after(0.9, shift=2.1), "colour_changed"),
        (after(3.0, quality=0.3, quality_low=0.25, quality_high=0.39), "no_gain"),
        (after(3.0, quality=float("nan")), "not_enhanced"),
        (NOTHING_GAINS, "no_gain"),
        ("the file has changed", "not_enhanced"),
    ],
)
def test_what_is_not_kept_has_its_reason(rules: ScoringSettings, enhanced: Enhanced | str, reason: str) -> None:
    decision = settle(FIRST, SCORES, enhanced, rules)
    assert decision.decision == "review" and decision.reasons[-1].startswith(f"{reason}: ")


def test_colours_may_move_where_the_gain_is_beyond_doubt(rules: ScoringSettings) -> None:
    assert settle(FIRST, SCORES, after(1.0, shift=9.0), rules).decision == "enhance"


def test_what_is_poor_at_best_is_not_kept(rules: ScoringSettings) -> None:
    poor = replace(SCORES, quality=0.1, quality_low=0.0, quality_high=0.15)
    decision = settle(FIRST, poor, Enhanced(poor, 0.99, 0.0, (), 3.0), rules)
    assert decision.decision == "reject" and decision.reasons[-1].startswith("still_poor")


@dataclass
class Mender:
    """Doubles the light of a picture and is sure of it, or not."""

    sure: bool
    mends: bool = True
    asked: object = None

    def judge(self, images: object, texts: object = None) -> list[object]:
        raise AssertionError("nobody has to ask the judge")

    def enhance(self, image: Image) -> Image:
        return np.clip(image.astype(int) * [2, 1, 1], 0, 255).astype(np.uint8)

    def mend(self, image: Image, max_harm: float, faults: Collection[str] | None = None) -> Mended | None:
        self.asked = (max_harm, faults)
        return Mended(self.enhance(image), "tones", 2.5) if self.sure else None


def picture(grey: bool = False) -> Image:
    image = np.random.default_rng(0).integers(20, 110, (40, 50, 1 if grey else 3), dtype=np.uint8)
    return np.ascontiguousarray(np.repeat(image, 3, axis=2)) if grey else image


def test_the_repair_that_is_sure_to_gain_is_taken(rules: ScoringSettings) -> None:
    mender = Mender(sure=True)
    found = repaired(mender, picture(), rules, ["cast"], lambda image: 0.0)
    assert found is not None and found.gain == 2.5 and np.array_equal(found.image, mender.enhance(picture()))
    assert mender.asked == (rules.max_harm, ["cast"])


def test_what_has_no_colour_gets_none(rules: ScoringSettings) -> None:
    found = repaired(Mender(sure=True), picture(grey=True), rules, None, lambda image: 0.0)
    assert found is not None and is_grey(found.image) and not np.array_equal(found.image, picture(grey=True))


def test_where_nothing_is_sure_there_is_nothing(rules: ScoringSettings) -> None:
    assert repaired(Mender(sure=False), picture(), rules, None, lambda image: 0.0) is None


def test_a_model_that_knows_no_gains_is_asked_to_enhance(rules: ScoringSettings) -> None:
    found = repaired(Mender(sure=True, mends=False), picture(), rules, None, lambda image: 1.0)
    assert found is not None and found.gain is None
    assert np.array_equal(found.image, Mender(sure=True).enhance(picture()))


def test_structure_is_what_is_to_be_seen_not_its_light() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 255, (200, 300, 3), dtype=np.uint8), (0, 0), 9)
    image = cv2.normalize(image, None, 40, 200, cv2.NORM_MINMAX)
    noisy = np.clip(image + np.random.default_rng(4).normal(0, 26, image.shape), 0, 255).astype(np.uint8)
    assert structure_kept(image, (image * 0.5 + 30).astype(np.uint8)) > 0.99
    assert structure_kept(image, noisy) > 0.9
    assert structure_kept(image, 255 - image) < -0.9
    assert abs(structure_kept(image, image[:, ::-1].copy())) < 0.5
    assert structure_kept(np.full_like(image, 7), np.full_like(image, 9)) == 1.0
    with pytest.raises(ValueError, match="equal shapes"):
        structure_kept(image, image[:10])


def forest(way: str) -> Forest:
    """Expects 5 dB of one way and a loss of every other."""
    feature = np.array([[CHANGE_SIZE + names().index(way), -1, -1]], dtype=np.int16)
    children = (np.array([[1, 0, 0]], dtype=np.int16), np.array([[2, 0, 0]], dtype=np.int16))
    value = np.array([[0, -1, 5]], dtype=np.float32)
    told = np.array([5, 4, 3], dtype=np.float32)
    return Forest(feature, np.full((1, 3), 0.5, np.float32), *children, value, told, told)


def detector() -> Detector:
    size, faults = SIGNAL_SIZE, len(NAMES)
    zero, one = np.zeros, np.ones
    return Detector(
        mean=zero(size), scale=one(size), landmarks=zero((1, size)), weights=zero((1, 2 * faults)),
        bias=zero(2 * faults), gamma=one(1), lowest=one(faults), highest=one(faults) * 2, slope=one(faults),
        offset=zero(faults), clean=zero((9, faults)), chroma=np.array([0]),
    )  # fmt: skip


@pytest.mark.parametrize("size", [(60, 80), (700, 1100)])
def test_the_judge_mends_what_is_there_in_the_way_that_gains(tmp_path: Path, size: tuple[int, int]) -> None:
    folder = save_small_bundle(tmp_path, small_architecture())
    known = Judge.load(folder, "cpu", 1)
    judge = judge_of(read_trained(folder), known.bundle, 1, detector(), forest("lift 0.75"))
    image = np.random.default_rng(0).integers(10, 90, (*size, 3), dtype=np.uint8)
    mended = judge.mend(image, 0.1, {"dark", "noise"})
    assert mended is not None and (mended.repair, mended.gain) == ("lift 0.75", 5.0)
    assert np.array_equal(mended.image, np.rint(255 * (image / 255) ** 0.75).astype(np.uint8))
    assert judge.mend(image, 0.1) is not None
    assert judge.mend(image, 0.1, {"noise"}) is None
    assert (judge.mends, known.mends) == (True, False)
    with pytest.raises(ValueError, match="ask `mends` first"):
        known.mend(image, 0.1)


def test_a_repair_that_weakens_no_fault_and_raises_no_score_is_not_kept(rules: ScoringSettings) -> None:
    noise = Found("noise", probability=0.9, strength=20.0, alarm=0.01)
    same = replace(after(1.5, quality=0.48), faults=(noise,))
    weaker = replace(same, faults=(replace(noise, strength=8.0, probability=0.7),))
    better = replace(after(1.5, quality=0.52), faults=(noise,))
    refused = settle(FIRST, SCORES, same, rules, there=(noise,))
    assert refused.decision == "review"
    assert refused.reasons[-1] == "no_gain: no fault is weaker after enhancing, and quality changes by -0.020"
    for kept in (weaker, better):
        assert settle(FIRST, SCORES, kept, rules, there=(noise,)).decision == "enhance"
    assert settle(FIRST, SCORES, replace(same, faults=None), rules, there=(noise,)).decision == "enhance"
    assert settle(FIRST, SCORES, same, rules).decision == "enhance", "a catalogue rule asked for it, no fault is there"
