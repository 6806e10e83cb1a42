"""Catalogue rules: a planted fault is found and its clean twin breaks nothing; rules decide before scores."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sample_batch import BrightnessJudge, picture, save, scorer

from packshot.config import RuleBound, ScoringSettings, SettingsError, load_settings
from packshot.home import project_root
from packshot.scoring.batch import score
from packshot.scoring.decisions import Enhanced, Scores, decide, reason_code, settle
from packshot.scoring.rules import RULES, Picture, findings, measure, profile_in_force
from packshot.scoring.rules.findings import UnknownRule
from packshot.scoring.shards import OutputHolds
from planted_faults import PLANTS, Plant

SETTINGS = load_settings(project_root() / "params.yaml")
SCORING = SETTINGS.scoring
GOOD = Scores(0.9, 0.85, 0.95, 0.8, 0.8, 0.8)
MISSING_THE_BOUND = [(rule, plant) for rule, plants in sorted(PLANTS.items()) for plant in plants]


def bounds(profile: str) -> dict[str, RuleBound]:
    return dict(profile_in_force(SCORING.model_copy(update={"profile": profile})))


@cache
def clean(side: int = 560) -> np.ndarray:
    """A printed box with a lid in the middle of a white page: edges, even paint and fine print."""
    large = np.full((2 * side, 2 * side, 3), 255, np.uint8)
    box = (slice(round(0.1 * side), round(1.9 * side)), slice(round(0.35 * side), round(1.65 * side)))
    random = np.random.default_rng(3)
    shape = large[box].shape
    large[box] = (70, 110, 60)
    large[box][: shape[0] // 5] = (150, 60, 50)
    shade = np.linspace(1, 0.6, shape[1])[None, :, None] * np.linspace(1, 0.7, shape[0])[:, None, None]
    large[box] = large[box] * shade
    for _ in range(15):
        down, across = random.integers(shape[0] // 5, shape[0] - 90), random.integers(20, shape[1] - 160)
        cv2.putText(large[box], "oats", (int(across), int(down)), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (190, 180, 90), 4)
    corner = np.array([[0, 0], [0.2 * side, 0], [0, 0.3 * side]], np.int32)
    cv2.fillPoly(large[box], [corner], (255, 255, 255))
    return cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)


def broken(image: np.ndarray, profile: str, format: str = "PNG", file_bytes: int = 400_000) -> list[str]:
    chosen = bounds(profile)
    return [one.rule for one in findings(measure(Picture(image, format, file_bytes), chosen), chosen)]


@pytest.mark.parametrize("profile", ["own", "amazon-main", "google-merchant"])
def test_a_clean_packshot_breaks_no_rule(profile: str) -> None:
    assert broken(clean(), profile) == []


@pytest.mark.parametrize(("rule", "plant"), MISSING_THE_BOUND)
def test_a_planted_fault_is_found(rule: str, plant: Plant) -> None:
    profile = "amazon-main" if rule in bounds("amazon-main") else "google-merchant"
    random = np.random.default_rng(11)
    for _ in range(3):
        assert rule in broken(plant(clean(), random), profile)


@pytest.mark.parametrize("profile", ["own", "amazon-main", "google-merchant"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 5000), (5000, 1), (2, 2), (7, 9), (33, 40)], ids=lambda shape: f"{shape[0]}x{shape[1]}"
)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_every_rule_bears_any_picture(profile: str, shape: tuple[int, int], level: int) -> None:
    values = measure(Picture(np.full((*shape, 3), level, np.uint8), "GIF", 1), bounds(profile))
    assert values and all(np.isfinite(value) for value in values.values())
    assert broken(np.full((*shape, 3), level, np.uint8), profile)


def test_a_blurred_product_on_white_is_blurred_and_a_blurred_ground_is_not() -> None:
    blur, most = RULES["blur"].measure, bounds("amazon-main")["blur"].threshold
    assert blur(Picture(cv2.GaussianBlur(clean(), (0, 0), 2.5))) > most
    page = np.full((1200, 1200, 3), 255, np.uint8)
    page[320:880, 320:880] = clean()
    assert blur(Picture(page)) < most, "a wide white margin takes no sharpness away"
    product = (clean() < 250).any(axis=2)[..., None]
    room = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, clean().shape, dtype=np.uint8), (0, 0), 6)
    room = cv2.normalize(room, None, 0, 255, cv2.NORM_MINMAX)
    assert blur(Picture(np.where(product, clean(), room))) < most, "a shallow depth of field is no fault"


def test_format_and_size_of_the_file_are_judged_where_there_is_one() -> None:
    assert broken(clean(), "amazon-main", "WEBP", 11_000_000) == ["format", "file_size"]
    assert broken(clean(), "google-merchant", "WEBP") == []
    alone = measure(Picture(clean()), bounds("amazon-main"))
    assert "format" not in alone and "file_size" not in alone and "blur" in alone


def test_findings_stand_by_effect_then_by_weight_times_the_share_missed() -> None:
    chosen = {
        "dark": RuleBound(threshold=0.5, effect="note"),
        "aspect": RuleBound(threshold=2.0, effect="review"),
        "noise": RuleBound(threshold=2.0, effect="review", weight=3.0),
        "border": RuleBound(threshold=1, effect="reject"),
        "longest_side": RuleBound(threshold=10_000, effect="note"),
    }
    found = findings({"dark": 0.1, "aspect": 4.0, "noise": 3.0, "border": 2.0, "longest_side": 8_064.0}, chosen)
    assert [one.rule for one in found] == ["border", "noise", "aspect", "dark", "longest_side"]
    assert found[0].reason == "border: 2 is above 1" and found[3].reason == "dark: 0.1 is below 0.5"
    assert found[4].reason == "longest_side: 8064 is below 10000"
    assert found[0].sentence == "A frame or a bar runs along the edge of the picture; upload the picture without it."


def found_with(**effects: str) -> tuple:
    values = {"blur": 3.0, "aspect": 9.0, "dark": 0.2, "noise": 9.0}
    return findings(
        {name: values[name] for name in effects},
        {name: RuleBound(threshold=0.5, effect=effect) for name, effect in effects.items()},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("scores", "effects", "expected", "first"),
    [
        (GOOD, {"blur": "note"}, "accept", None),
        (GOOD, {"blur": "enhance"}, "enhance", "blur"),
        (GOOD, {"blur": "enhance", "aspect": "review"}, "review", "aspect"),
        (GOOD, {"aspect": "review", "noise": "reject"}, "reject", "noise"),
        (replace(GOOD, quality_low=0.1), {"blur": "enhance"}, "review", "blur"),
        (replace(GOOD, quality=0.1), {"aspect": "review"}, "review", "aspect"),
        (replace(GOOD, quality=float("nan")), {"noise": "reject"}, "reject", "noise"),
        (replace(GOOD, quality=float("nan")), {"blur": "enhance"}, "review", "blur"),
    ],
)
def test_rules_decide_before_scores(scores: Scores, effects: dict[str, str], expected: str, first: str | None) -> None:
    decision = decide(scores, SCORING, found_with(**effects))
    assert decision.decision == expected
    assert [reason_code(reason) for reason in decision.reasons][:1] == ([first] if first else [])


def test_an_enhanced_image_breaks_no_rule_but_what_was_noted_before() -> None:
    after = Enhanced(replace(GOOD, quality=0.97), 0.95, 0.1)
    asked = found_with(blur="enhance")
    first = decide(GOOD, SCORING, asked)
    assert settle(first, GOOD, after, SCORING, asked).decision == "enhance"
    still = settle(first, GOOD, replace(after, findings=asked), SCORING, asked)
    assert (still.decision, still.reasons[-1]) == ("review", "breaks_blur: 3 is above 0.5")
    noted = found_with(blur="enhance", noise="note")
    again = settle(first, GOOD, replace(after, findings=found_with(noise="note")), SCORING, noted)
    assert again.decision == "enhance"
    new = settle(first, GOOD, replace(after, findings=found_with(dark="note")), SCORING, noted)
    assert (new.decision, reason_code(new.reasons[-1])) == ("review", "breaks_dark")


def test_verdicts_hold_what_was_measured_and_another_profile_asks_for_another_folder(tmp_path: Path) -> None:
    save(tmp_path / "in/clean.png", clean())
    save(tmp_path / "in/grey.png", np.full((600, 600, 3), 190, np.uint8))
    (tmp_path / "in/broken.png").write_bytes(b"nothing")
    shop = SETTINGS.model_copy(update={"scoring": SCORING.model_copy(update={"profile": "amazon-main"})})
    score(shop, tmp_path / "in", tmp_path / "out", scorer=scorer())
    rows = pd.read_parquet(tmp_path / "out/verdicts.parquet").set_index("path")
    grey = rows.loc["grey.png"]
    assert grey.decision == "reject" and grey.profile == "amazon-main"
    assert [one["rule"] for one in grey.findings][:2] == ["low_information", "white_ground"]
    assert next(iter(grey.reasons)) == "low_information: 0 is below 0.02"
    assert {name for name, _ in rows.loc["clean.png"].measures} >= {"blur", "fill", "file_size"}
    assert len(rows.loc["clean.png"].findings) == 0 and rows.loc["broken.png"].findings is None
    with pytest.raises(OutputHolds, match=r"scoring\.profile: amazon-main, now own"):
        score(SETTINGS, tmp_path / "in", tmp_path / "out", scorer=scorer())


def test_what_enhancing_would_break_is_not_enhanced(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png", np.clip(picture(120).astype(int) * (1.3, 0.9, 0.7), 0, 255).astype(np.uint8))
    bound = {"light": RuleBound(threshold=0.5, effect="note")}
    scoring = SCORING.model_copy(update={"profile": "strict", "profiles": {"strict": bound}, "accept_at": 0.6})
    rules = SETTINGS.model_copy(update={"scoring": scoring})
    score(rules, tmp_path / "in", tmp_path / "out", scorer=scorer(BrightnessJudge(step=60)))
    row = pd.read_parquet(tmp_path / "out/verdicts.parquet").iloc[0]
    assert row.decision == "review" and row.reasons[-1].startswith("breaks_light: "), row.reasons
    assert not list((tmp_path / "out/enhanced").rglob("*.png"))


def test_a_profile_that_is_not_there_or_names_an_unknown_rule_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKSHOT__SCORING__PROFILE", "ebay")
    with pytest.raises(SettingsError, match=r"'ebay' is none of amazon-main, google-merchant, own"):
        load_settings(project_root() / "params.yaml")
    odd: ScoringSettings = SCORING.model_copy(
        update={"profiles": {"own": {"blurr": RuleBound(threshold=1, effect="note")}}}
    )
    with pytest.raises(UnknownRule, match=r"own names blurr; rules are .*blur"):
        profile_in_force(odd)


@pytest.mark.parametrize("profile", sorted(SCORING.profiles))
def test_a_sentence_says_what_to_do_and_no_figure_twice(profile: str) -> None:
    """A value that just misses its bound rounds to it: `reach 35% of white, so that they reach 35%` helps nobody."""
    chosen = bounds(profile)
    for name, bound in chosen.items():
        step = -1e-6 if RULES[name].bound == "least" else 1e-6
        (found,) = findings({name: bound.threshold + step}, chosen)
        figures = re.findall(r"\d+(?:\.\d+)?", found.sentence)
        assert len(figures) == len(set(figures)), found.sentence
        assert re.search(r"\b(upload|take|use|set|crop|save|show|leave|move|expose|hold|check)\b", found.sentence), name
