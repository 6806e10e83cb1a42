"""Few examples: the spread of all pictures must not drown what tells styles apart."""

import numpy as np
import pytest

from packshot.model.examples import ExampleSpace, nearest, prototypes


def loud_and_quiet(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Style shows in one quiet axis; four loud ones say nothing of it."""
    random = np.random.default_rng(seed)
    style = random.integers(0, 2, rows)
    quiet = random.normal(np.where(style, 0.8, -0.8), 0.3)
    loud = random.normal(0, 3, (rows, 4))
    return np.column_stack([loud, quiet]), style


def accuracy(space: ExampleSpace) -> float:
    right = []
    for seed in range(20):
        shown, told = loud_and_quiet(20, 100 + seed)
        points, style = loud_and_quiet(200, 200 + seed)
        names, centres = prototypes(space.place([shown]), [str(each) for each in told])
        best, _, _ = nearest(space.place([points]), centres)
        right.append(np.mean(np.array(names)[best].astype(int) == style))
    return float(np.mean(right))


def test_loud_directions_are_quietened_by_unlabelled_pictures() -> None:
    plain = ExampleSpace.fit([loud_and_quiet(10, 0)[0]])
    quietened = ExampleSpace.fit([loud_and_quiet(2000, 0)[0]])
    assert accuracy(quietened) > accuracy(plain) + 0.1


def test_blocks_weigh_the_same_whatever_their_units() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(200, 5)), random.normal(size=(200, 3))
    points = ExampleSpace.fit([first, second]).place([first, second])
    scaled = ExampleSpace.fit([1e4 * first, second]).place([1e4 * first, second])
    # principal axes have no sign; similarities do not depend on it
    assert points @ points.T == pytest.approx(scaled @ scaled.T, abs=1e-9)
    assert np.linalg.norm(points, axis=1) == pytest.approx(1)


def test_constant_pictures_and_single_styles_give_numbers() -> None:
    space = ExampleSpace.fit([np.ones((100, 4))])
    points = space.place([np.eye(4)])
    assert np.isfinite(points).all()
    _, centres = prototypes(points, ["a"] * 4)
    _, similarity, margin = nearest(points, centres)
    assert np.isfinite(similarity).all() and np.isnan(margin).all()
