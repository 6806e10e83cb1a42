import cv2
import numpy as np
import pytest

from packshot.degrade import DEGRADATIONS, FAMILY_ATTRIBUTE, LEVELS, DegradationError, apply, draw_singles
from packshot.degrade.full_reference import score, scores


def textured(height: int = 128, width: int = 128, seed: int = 3) -> np.ndarray:
    """Shapes, gradients and texture in many colours: something every degradation can hurt."""
    generator = np.random.default_rng(seed)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    image = np.stack([xs / width, ys / height, 0.5 + 0.4 * np.sin(xs / 7 + ys / 11)], axis=-1) * 150 + 40
    image = np.ascontiguousarray(image.astype(np.uint8))
    for _ in range(12):
        centre = tuple(int(v) for v in generator.integers(10, 118, 2))
        colour = tuple(float(v) for v in generator.integers(20, 235, 3))
        cv2.circle(image, centre, int(generator.integers(5, 20)), colour, -1, cv2.LINE_AA)
        cv2.putText(image, "Ag", centre, cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour[::-1], 1, cv2.LINE_AA)
    grain = cv2.GaussianBlur(generator.standard_normal((height, width), dtype=np.float32), (0, 0), 0.8)
    return np.clip(image.astype(np.float32) + 14 * grain[..., None], 0, 255).astype(np.uint8)


def test_there_are_enough_degradations_in_every_family():
    assert len(DEGRADATIONS) >= 20
    assert {d.family for d in DEGRADATIONS.values()} == set(FAMILY_ATTRIBUTE)
    assert {d.attribute for d in DEGRADATIONS.values()} == {"sharpness", "colour_balance", "detail"}


@pytest.mark.parametrize("name", sorted(DEGRADATIONS))
def test_each_level_is_worse_than_the_one_before(name):
    images = [textured(seed=seed) for seed in (3, 4)]
    values = [scores(images, [apply(image, name, level, seed=7) for image in images]).mean() for level in LEVELS]
    assert all(low < high for low, high in zip(values[1:], values, strict=False)), values
    assert values[0] < 0.999
    assert values[0] - values[-1] > 0.05


@pytest.mark.parametrize("name", sorted(DEGRADATIONS))
def test_a_degradation_is_pure(name):
    image = textured()
    before = image.copy()
    first, second = apply(image, name, 3, seed=11), apply(image, name, 3, seed=11)
    assert np.array_equal(image, before)
    assert np.array_equal(first, second)
    assert first.shape == image.shape and first.dtype == np.uint8


def test_seeds_give_different_noise():
    image = textured()
    assert not np.array_equal(apply(image, "gaussian_noise", 3, 1), apply(image, "gaussian_noise", 3, 2))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 700, 3), (700, 2, 3)])
@pytest.mark.parametrize("name", sorted(DEGRADATIONS))
def test_any_size_keeps_its_size(name, shape):
    assert apply(np.full(shape, 128, np.uint8), name, 5, seed=0).shape == shape


def test_score_is_one_for_the_same_image_and_works_on_flat_and_tiny_ones():
    image = textured()
    assert score(image, image) == 1.0
    white, black = np.full((9, 9, 3), 255, np.uint8), np.zeros((9, 9, 3), np.uint8)
    assert 0.0 <= score(white, black) < 0.8
    assert score(white, white) == 1.0


@pytest.mark.parametrize(
    ("image", "name", "level"),
    [
        (np.zeros((4, 4, 3), np.uint8), "no_such", 1),
        (np.zeros((4, 4, 3), np.uint8), "jpeg", 6),
        (np.zeros((4, 4), np.uint8), "jpeg", 1),
        (np.zeros((4, 4, 3), np.float32), "jpeg", 1),
    ],
)
def test_wrong_arguments_are_named(image, name, level):
    with pytest.raises(DegradationError, match=r"unknown|level|RGB"):
        apply(image, name, level, 0)


def test_scores_refuses_pairs_of_different_sizes():
    with pytest.raises(DegradationError, match="one size"):
        score(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8))


def test_singles_come_in_pairs_of_levels_and_repeat_late():
    drawn = [steps[0] for steps in draw_singles(2 * len(DEGRADATIONS), seed=3)]
    assert {step.name for step in drawn} == set(DEGRADATIONS)
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert first.name == second.name and first.level != second.level
    assert draw_singles(7, seed=3) == draw_singles(7, seed=3) != draw_singles(7, seed=4)
