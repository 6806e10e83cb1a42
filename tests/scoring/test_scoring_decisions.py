"""Decisions and their reasons; fidelity."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_batch import picture
from small_workspace import make_settings

from packshot.scoring.decisions import Enhanced, Scores, decide, reason_code, settle
from packshot.scoring.fidelity import STRIP_ROWS, colour_shift, luma_similarity, with_colours_of

RULES = make_settings().scoring.model_copy(
    update={
        "accept_at": 0.6,
        "reject_below": 0.35,
        "review_width": 0.5,
        "min_gain": 0.02,
        "max_enhanced_shift": 0.3,
        "max_colour_shift": 2.0,
        "max_attribute_fall": 0.05,
        "attribute_floor": 0.5,
        "profiles": {"own": {}},
    }
)
MIDDLING = Scores(0.5, 0.4, 0.6, 0.7, 0.7, 0.7)


def codes(decision: object) -> list[str]:
    return [reason_code(reason) for reason in decision.reasons]


def test_reasons_come_heaviest_first() -> None:
    decision = decide(Scores(0.54, 0.5, 0.6, 0.1, 0.9, 0.3), RULES)
    assert decision.decision == "enhance"
    assert codes(decision) == ["low_sharpness", "low_detail", "low_quality"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (replace(MIDDLING, quality=0.6), "accept"),
        (replace(MIDDLING, quality=0.599), "enhance"),
        (replace(MIDDLING, quality=0.9, quality_low=0.3, quality_high=0.95), "review"),
        (replace(MIDDLING, detail=float("nan")), "review"),
    ],
)
def test_first_look(scores: Scores, expected: str) -> None:
    assert decide(scores, RULES).decision == expected


def after(quality: float = 0.6, similarity: float = 0.9, colour_shift: float = 0.5, **attributes: float) -> Enhanced:
    return Enhanced(replace(MIDDLING, quality=quality, **attributes), similarity, colour_shift)


@pytest.mark.parametrize(
    ("before", "enhanced", "expected", "last"),
    [
        (0.5, after(0.53), "enhance", "low_quality"),
        (0.5, after(0.51), "review", "no_gain"),
        (0.2, after(0.21), "reject", "no_gain"),
        (0.5, after(0.9, similarity=0.6), "review", "changed_too_much"),
        (0.2, after(0.3), "reject", "still_poor"),
        (0.2, after(0.4), "enhance", "low_quality"),
        (0.5, after(float("nan")), "review", "not_enhanced"),
        (0.5, after(0.9, similarity=float("nan")), "review", "not_enhanced"),
        (0.5, after(0.9, colour_shift=float("nan")), "review", "not_enhanced"),
        (0.5, after(0.9, detail=float("nan")), "review", "not_enhanced"),
        (0.5, after(0.9, colour_shift=2.1), "review", "colour_changed"),
        (0.5, after(0.9, colour_shift=1.9), "enhance", "low_quality"),
        (0.5, after(0.9, colour_shift=9, colour_balance=0.73), "enhance", "low_quality"),
        (0.5, after(0.9, colour_shift=9, colour_balance=0.71), "review", "colour_changed"),
        (0.5, after(0.9, sharpness=0.64), "review", "worse_sharpness"),
        (0.5, after(0.9, sharpness=0.66), "enhance", "low_quality"),
        (0.5, after(0.9, detail=0.64), "review", "worse_detail"),
        (0.5, after(0.9, colour_balance=0.64), "review", "worse_colour_balance"),
        (0.5, None, "review", "not_enhanced"),
    ],
)
def test_an_enhanced_image_is_kept_only_when_it_is_better_and_the_same_picture(
    before: float, enhanced: Enhanced | None, expected: str, last: str
) -> None:
    scores = replace(MIDDLING, quality=before)
    decision = settle(decide(scores, RULES), scores, enhanced, RULES)
    assert (decision.decision, codes(decision)[-1]) == (expected, last)


unit = st.floats(0, 1)


scored = st.builds(Scores, unit, unit, unit, unit, unit, unit)


@given(scored, st.builds(Enhanced, scored, st.floats(-1, 1), st.floats(0, 50)))
def test_whatever_is_not_accepted_says_why(scores: Scores, enhanced: Enhanced) -> None:
    decision = decide(scores, RULES)
    if decision.decision == "enhance":
        decision = settle(decision, scores, enhanced, RULES)
    assert decision.decision in {"accept", "enhance", "review", "reject"}
    assert decision.decision == "accept" or decision.reasons


def test_similarity_is_that_of_the_whole_image_whatever_the_strips() -> None:
    tall = picture(120, size=(STRIP_ROWS + 300, 40))
    other = np.clip(tall.astype(int) + np.random.default_rng(1).normal(0, 20, tall.shape), 0, 255).astype(np.uint8)
    assert luma_similarity(tall, tall) == pytest.approx(1.0)
    whole = luma_similarity(tall, other)
    from packshot.scoring import fidelity

    full = fidelity._ssim_map(fidelity._luma(tall), fidelity._luma(other)).mean()
    assert whole == pytest.approx(float(full), abs=1e-5) and whole < 0.9
    with pytest.raises(ValueError, match="equal shapes"):
        luma_similarity(tall, other[1:])


def test_colours_move_with_a_cast_and_not_with_light_or_noise() -> None:
    random = np.random.default_rng(4)
    image = np.full((90, 70, 3), 255, np.uint8)
    image[20:70, 10:60] = (170, 90, 60)
    noisy = np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    assert colour_shift(image, image) == 0
    assert colour_shift(image, noisy) < 1.5
    greyer = np.full_like(image, 90)
    assert colour_shift(greyer, np.full_like(image, 140)) == pytest.approx(0, abs=0.1)
    warm = image.copy()
    warm[20:70, 10:60] = (190, 90, 40)
    only_product = colour_shift(image[20:70, 10:60], warm[20:70, 10:60])
    assert only_product > 8
    # the ground is left out, so the product counts in full; parts at its edge hold some of both
    assert colour_shift(image, warm) > 0.7 * only_product
    assert colour_shift(np.full_like(image, 255), greyer) == 0
    with pytest.raises(ValueError, match="equal shapes"):
        colour_shift(image, image[1:])


def test_the_colours_of_the_input_come_back_and_the_light_stays() -> None:
    random = np.random.default_rng(7)
    image = random.integers(60, 180, (STRIP_ROWS + 20, 30, 3)).astype(np.uint8)
    image[:, :8] = 255
    lighter = np.clip(image.astype(float) * (1.2, 1.1, 0.9) + 5, 0, 255).astype(np.uint8)
    assert colour_shift(image, lighter) > 4
    mended = with_colours_of(image, lighter)
    assert colour_shift(image, mended) < 0.5
    assert np.array_equal(mended[:, :8], image[:, :8])

    def lightness(pixels: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[:, 12:, 0]

    assert (
        np.abs(lightness(mended) - lightness(lighter)).mean() < 1 < np.abs(lightness(mended) - lightness(image)).mean()
    )
    with pytest.raises(ValueError, match="equal shapes"):
        with_colours_of(image, lighter[1:])
