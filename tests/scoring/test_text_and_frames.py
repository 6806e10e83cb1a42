"""An arrangement of small parts is not text, and a frame is around the picture, not in it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from clean_products import KINDS, Material
from packshot.config import load_settings
from packshot.errors import PackshotError
from packshot.home import project_root
from packshot.inference import text_spotter as networks
from packshot.scoring.rules import RULES, Picture, findings, measure, overlay
from planted_faults import PLANTS, Cutout

PROFILE = load_settings(project_root() / "params.yaml").scoring.profiles["google-merchant"]


def photograph(width: int = 500, height: int = 400) -> np.ndarray:
    """Light, coarse noise: nothing in it is even or straight."""
    coarse = np.random.default_rng(7).integers(150, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def packshot() -> np.ndarray:
    """A round product on white."""
    page = np.full((500, 500, 3), 255, np.uint8)
    cv2.circle(page, (250, 250), 210, (160, 70, 40), -1, cv2.LINE_AA)
    return page


def padded(image: np.ndarray, thick: int, colour: tuple[int, int, int], beside: int | None = None) -> np.ndarray:
    sides = (thick, thick, thick if beside is None else beside, thick if beside is None else beside)
    return cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=colour)


def broken(image: np.ndarray) -> dict[str, str]:
    """What of text and frame is found, and to what effect."""
    bounds = {name: PROFILE[name] for name in ("overlay", "border", "framed")}
    return {one.rule: one.effect for one in findings(measure(Picture(image), bounds), bounds)}


@pytest.fixture(scope="module")
def material() -> Material:
    jar = np.full((120, 80, 3), (60, 120, 60), np.uint8)
    cv2.putText(jar, "Tea", (8, 70), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (240, 240, 230), 2, cv2.LINE_AA)
    return Material([Cutout("jar", jar, np.ones((120, 80), np.float32))], [photograph()])


@pytest.mark.parametrize(("kind", "place"), [("small parts", 0), ("small parts", 1), ("sets of products", 1)])
def test_an_arrangement_of_small_parts_is_not_text(material: Material, kind: str, place: int) -> None:
    random = np.random.default_rng(3)
    pictures = [KINDS[kind][place](material, random) for _ in range(2)]
    assert any(RULES["overlay"].measure(Picture(image)) > PROFILE["overlay"].threshold for image in pictures)
    assert [broken(image) for image in pictures] == [{}] * 2


@pytest.mark.parametrize("plant", PLANTS["overlay"])
def test_text_that_is_laid_over_is_found_by_the_second_look_too(plant) -> None:  # type: ignore[no-untyped-def]
    image = plant(packshot(), np.random.default_rng(1))
    assert RULES["overlay"].measure(Picture(image)) > 2.5
    assert broken(image) == {"overlay": "reject"}


def test_print_on_a_white_carton_is_the_cartons() -> None:
    page = np.full((600, 600, 3), 255, np.uint8)
    page[60:540, 100:500] = 251  # no darker than what the ground may be
    cv2.rectangle(page, (180, 380), (420, 500), (60, 90, 160), -1)
    for row, text in enumerate(("Oats", "500 g")):
        cv2.putText(page, text, (190, 180 + 90 * row), cv2.FONT_HERSHEY_DUPLEX, 1.8, (40, 60, 40), 3, cv2.LINE_AA)
    assert RULES["overlay"].measure(Picture(page)) > 2.5
    assert broken(page) == {}
    page[page.min(axis=2) == 251] = 255
    assert broken(page) == {"overlay": "reject"}


def test_the_second_look_is_asked_only_where_the_first_one_finds_something() -> None:
    asked: list[Picture] = []
    rule = replace(RULES["overlay"], second_look=lambda picture: asked.append(picture) or 7.0)
    assert rule.value(Picture(packshot()), 2.5) == 0 and asked == []
    crowd = Picture(PLANTS["overlay"][1](packshot(), np.random.default_rng(1)))
    assert rule.value(crowd, 2.5) == 7 and asked == [crowd]
    assert rule.value(Picture(photograph()), 2.5) is None


def test_without_the_networks_the_first_look_answers_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], material: Material
) -> None:
    monkeypatch.setattr(networks, "PACKAGE", "packshot-has-no-such-package")
    overlay.text_spotter.cache_clear()
    try:
        image = KINDS["small parts"][1](material, np.random.default_rng(3))
        assert broken(image) == broken(image) == {"overlay": "reject"}
        assert capsys.readouterr().err.count("is not installed; install what requirements.lock names") == 1
    finally:
        overlay.text_spotter.cache_clear()
    assert issubclass(networks.TextSpotterMissing, PackshotError)


AMAZON = load_settings(project_root() / "params.yaml").scoring.profiles["amazon-main"]
PRINT = padded(photograph(), 24, (120, 80, 45))
MOUNTED = padded(padded(photograph(), 40, (252, 250, 246)), 24, (20, 20, 20))
SCREEN = padded(photograph(640, 360), 12, (12, 12, 14))
CARTON = padded(photograph(), 60, (170, 172, 174), beside=90)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param(padded(SCREEN, 20, (255, 255, 255)), {}, id="a screen on white"),
        pytest.param(padded(MOUNTED, 20, (255, 255, 255)), {}, id="a mounted print on white"),
        pytest.param(padded(photograph(), 30, (240, 240, 240)), {}, id="a carton on off-white"),
        pytest.param(CARTON, {}, id="a carton on grey"),
        pytest.param(PRINT, {"framed": "review"}, id="a framed print that fills the picture"),
        pytest.param(MOUNTED, {"framed": "review"}, id="a mounted one"),
        pytest.param(SCREEN, {"framed": "review"}, id="a screen that fills the picture"),
        pytest.param(padded(packshot(), 12, (30, 60, 120)), {"border": "reject"}, id="a frame around a packshot"),
        pytest.param(
            padded(padded(packshot(), 12, (30, 60, 120)), 12, (255, 255, 255)),
            {"border": "reject"},
            id="one a little further in",
        ),
        pytest.param(padded(photograph(), 2, (200, 40, 40)), {"border": "reject"}, id="a line around a photograph"),
        pytest.param(padded(photograph(), 50, (0, 0, 0), beside=0), {"border": "reject"}, id="bars above and below it"),
        pytest.param(photograph(), {}, id="a photograph"),
    ],
)
def test_a_frame_is_around_the_picture_not_in_it(image: np.ndarray, expected: dict[str, str]) -> None:
    assert broken(image) == expected


@pytest.mark.parametrize("image", [PRINT, MOUNTED, SCREEN])
def test_what_fills_the_picture_up_to_its_frame_has_no_ground_to_be_white(image: np.ndarray) -> None:
    """Where white is asked for, too, a person looks at a framed print."""
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    bounds = {name: AMAZON[name] for name in ("white_ground", "border", "framed")}
    assert {one.rule: one.effect for one in findings(measure(Picture(large), bounds), bounds)} == {"framed": "review"}


@pytest.mark.parametrize("image", [photograph(), CARTON, np.full((400, 400, 3), 200, np.uint8)])
def test_a_ground_of_another_colour_is_still_no_white_one(image: np.ndarray) -> None:
    assert measure(Picture(image), {"white_ground": AMAZON["white_ground"]})["white_ground"] < 0.1
