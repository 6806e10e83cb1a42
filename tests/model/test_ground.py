"""White stays white, and only white."""

import cv2
import numpy as np
import pytest

from packshot.model import ground as module
from packshot.model.ground import GREY, keep_white_ground, white_ground, with_grey_ground


def packshot(ground: int = 255) -> np.ndarray:
    """A brown disc with a white label on a plain ground, smooth at its edge; 80 x 100."""
    image = np.full((80, 100, 3), ground, np.uint8)
    cv2.circle(image, (50, 40), 25, (150, 90, 40), -1, cv2.LINE_AA)
    cv2.rectangle(image, (44, 34), (56, 46), (255, 255, 255), -1)
    return image


def darker(image: np.ndarray) -> np.ndarray:
    return np.clip(image.astype(np.int16) - 20, 0, 255).astype(np.uint8)


def test_the_ground_is_what_is_white_as_far_as_the_border():
    ground = white_ground(packshot())
    assert ground[0].all() and ground[:, -1].all() and ground[5, 5]
    assert not ground[40, 50], "a white label on the product is product"
    assert not ground[40, 30]


@pytest.mark.parametrize("value", [200, 249])
def test_a_grey_ground_is_no_white_ground(value):
    assert not white_ground(packshot(value)).any()


def test_noise_and_specks_are_no_ground():
    random = np.random.default_rng(0)
    noisy = np.clip(packshot() + random.normal(0, 12, (80, 100, 3)), 0, 255).astype(np.uint8)
    assert white_ground(noisy).mean() < 0.01


def test_the_ground_is_kept_to_the_level_and_the_product_is_enhanced():
    image = packshot()
    kept = keep_white_ground(image, darker(image))
    ground = white_ground(image)
    assert np.array_equal(kept[ground], image[ground])
    inside = cv2.erode((~ground).astype(np.uint8), np.ones((13, 13), np.uint8)).astype(bool)
    assert inside.any() and np.array_equal(kept[inside], darker(image)[inside])


def test_there_is_no_step_between_ground_and_product():
    image = np.full((40, 60, 3), 255, np.uint8)
    image[:, 30:] = 245  # the product is nearly as white as the ground
    kept = keep_white_ground(image, darker(image)).astype(int)
    hard = np.where(white_ground(image)[..., None], image, darker(image)).astype(int)
    assert np.abs(np.diff(hard, axis=1)).max() == 30
    assert np.abs(np.diff(kept, axis=1)).max() <= 20
    assert (np.diff(kept[20, :, 0]) <= 0).all(), "no halo: it falls from the ground to the product"


def test_specks_on_the_ground_are_not_brought_back():
    image = packshot()
    image[10, 10] = image[70, 20] = 0
    clean = packshot()
    assert np.array_equal(keep_white_ground(image, clean)[:12, :20], clean[:12, :20])
    assert np.array_equal(keep_white_ground(image, clean)[70, 20], clean[70, 20])


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 3)])
@pytest.mark.parametrize("value", [0, 255])
def test_small_pictures_keep_their_shape(shape, value):
    image = np.full((*shape, 3), value, np.uint8)
    assert keep_white_ground(image, darker(image)).shape == image.shape


def test_the_ground_of_a_packshot_is_shown_grey_and_its_product_as_it_is():
    image = packshot()
    shown = with_grey_ground(image)
    assert (shown[0] == GREY).all() and (shown[:, -1] == GREY).all()
    assert np.array_equal(shown[30:50, 40:60], image[30:50, 40:60])


def test_a_ground_that_is_not_white_and_a_blown_out_sky_are_shown_as_they_are():
    grey = packshot(230)
    sky = np.full((80, 100, 3), 90, np.uint8)
    sky[:30] = 255
    assert white_ground(sky).mean() > 0.3
    for image in (grey, sky):
        assert with_grey_ground(image) is image


@pytest.mark.parametrize("seed", range(6))
def test_ground_and_seam_are_mixed_pixel_by_pixel(seed):
    random = np.random.default_rng(seed)
    image = packshot()
    image[random.integers(0, 80, 40), random.integers(0, 100, 40)] = random.integers(200, 256, (40, 3))
    enhanced = random.integers(0, 256, image.shape, dtype=np.uint8)
    ground, square = white_ground(image), np.ones((module.SOLID, module.SOLID), np.uint8)
    share = cv2.GaussianBlur(ground.astype(np.uint8) * 255, (0, 0), module.FEATHER)
    product = cv2.dilate(cv2.morphologyEx((~ground).astype(np.uint8), cv2.MORPH_OPEN, square), square) > 0
    weight = np.where(ground, 1, np.where(product, np.minimum(share / np.float32(127.5), 1), 0))[..., None]
    expected = np.rint(weight * image + (1 - weight) * enhanced)
    for given in (enhanced, np.asfortranarray(enhanced)):
        kept = keep_white_ground(image, given)
        assert np.abs(kept - expected).max() <= 1
        assert (kept == expected).mean() > 0.999
