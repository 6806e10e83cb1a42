import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from packshot.inference.signal_on_cpu import signal_on_cpu
from packshot.model.preprocess import to_tensor
from packshot.model.signal import signal_statistics

SIDES = st.integers(32, 150)


def _scene(height, width, seed):
    """Blurred noise of three channels, somewhat noisy and sometimes cut off, as photographs are."""
    generator = np.random.default_rng(seed)
    blurred = cv2.GaussianBlur(generator.random((height, width, 3)), (0, 0), generator.uniform(0.5, 12))
    stretched = (blurred - 0.5) / (blurred.std() + 1e-6) * generator.uniform(20, 120, 3) + generator.uniform(0, 255)
    return np.clip(stretched + generator.normal(0, generator.uniform(0, 6), stretched.shape), 0, 255).astype(np.uint8)


def _compressed(height, width, seed):
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(np.random.default_rng(seed).integers(5, 95))]
    return cv2.imdecode(cv2.imencode(".jpg", _scene(height, width, seed), quality)[1], cv2.IMREAD_COLOR)


def _packshot(height, width, seed):
    image = _scene(height, width, seed)
    image[: height // 3], image[:, : width // 3] = 255, 255
    return image


KINDS = {
    "scene": _scene,
    "compressed": _compressed,
    "packshot": _packshot,
    "grey": lambda *given: np.repeat(_scene(*given)[..., :1], 3, axis=2),
    "noise": lambda height, width, seed: np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8),
    "black": lambda height, width, seed: np.zeros((height, width, 3), np.uint8),
    "white": lambda height, width, seed: np.full((height, width, 3), 255, np.uint8),
    "checks": lambda height, width, seed: np.repeat(
        (np.add.outer(np.arange(height) // 8, np.arange(width) // 8) % 2 * 255)[..., None], 3, axis=2
    ).astype(np.uint8),
}


def in_torch(image):
    return signal_statistics(to_tensor(image)).numpy()


@pytest.fixture(scope="module")
def spread():
    """Deviation of each number over pictures of many kinds."""
    kinds = (_scene, _compressed, _packshot)
    return np.std([in_torch(kinds[seed % 3](96, 80, seed))[0] for seed in range(60)], axis=0) + 1e-3


@settings(max_examples=120, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), height=SIDES, width=SIDES, seed=st.integers(0, 10_000))
def test_it_gives_the_numbers_of_torch(spread, kind, height, width, seed):
    image = KINDS[kind](height, width, seed)
    # torch takes the deviation of a channel as a difference of squares: of a small one it has few digits
    assume(kind in ("black", "white") or image.std(axis=(0, 1)).min() > 12)
    np.testing.assert_array_less(np.abs(signal_on_cpu(image) - in_torch(image)) / spread, 1e-4)


def test_a_picture_of_one_tone_has_no_deviation_but_that_of_rounding():
    image = np.full((64, 48, 3), (90, 130, 17), np.uint8)
    found = signal_on_cpu(image)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, in_torch(image), atol=0.1)
