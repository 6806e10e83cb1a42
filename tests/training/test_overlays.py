"""What is laid over pictures to teach the network, and what is only printed on what they show."""

import numpy as np
import pytest

from packshot.training import overlays
from packshot.training.overlay_network import (
    SIDE,
    STRIDE,
    OverlayNetwork,
    calibrated,
    folded,
    installed_fonts,
    lessons_of,
    loss_of,
    paged,
    surest,
    teach,
    unfold,
)
from packshot.training.overlays import KINDS, SHARES, Fonts, LaidOver, lay_over, lesson, print_on, words


@pytest.fixture(scope="module")
def fonts() -> Fonts:
    return Fonts(list(installed_fonts()))


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    random = np.random.default_rng(0)
    coarse = random.integers(40, 200, (12, 16, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((20, 20, 1), np.uint8)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_laid_over_changes_the_picture_where_it_is_marked(
    kind: overlays.Kind, fonts: Fonts, photograph: np.ndarray
) -> None:
    marked = 0
    for seed in range(8):
        mask = np.zeros(photograph.shape[:2], np.uint8)
        after = kind(photograph, mask, fonts, np.random.default_rng(seed))
        changed = np.abs(after.astype(int) - photograph).max(axis=2) > 40
        assert after.shape == photograph.shape and after.dtype == np.uint8
        marked += int(mask.any() and (changed & (mask > 0)).any())
        assert (changed & (mask == 0)).mean() < 0.02, f"{kind.__name__} {seed} changes what it does not mark"
    assert marked >= 7


def test_kinds_have_shares_that_make_a_whole() -> None:
    assert len(KINDS) == len(SHARES) and sum(SHARES) == pytest.approx(1)


def test_a_picture_with_print_alone_has_nothing_laid_over_it(fonts: Fonts, photograph: np.ndarray) -> None:
    copies = [lesson(photograph, fonts, np.random.default_rng(seed)) for seed in range(120)]
    share = np.mean([copy.mask.any() for copy in copies])
    assert 1 - overlays.PRINTED - 0.12 < share < 1 - overlays.PRINTED + 0.12
    printed = print_on(photograph, fonts, np.random.default_rng(1))
    assert printed.shape == photograph.shape and (printed != photograph).mean() > 0.01


def test_a_lesson_is_the_same_for_the_same_lot_and_other_for_another(fonts: Fonts, photograph: np.ndarray) -> None:
    first, again, other = (lessons_of(photograph, fonts, np.random.default_rng([7, lot])) for lot in (1, 1, 2))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_a_page_marks_the_share_of_each_place_that_is_covered() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:STRIDE, : STRIDE // 2] = 1
    _, shares = paged(LaidOver(np.zeros((SIDE, SIDE, 3), np.uint8), mask))
    assert shares.shape == (SIDE // STRIDE, SIDE // STRIDE)
    assert shares[0, 0] == pytest.approx(0.5) and shares.sum() == pytest.approx(0.5)


def test_text_cannot_be_empty_and_fits_on_any_picture(fonts: Fonts) -> None:
    assert all(words(np.random.default_rng(seed)).strip() for seed in range(200))
    tiny = np.full((16, 9, 3), 128, np.uint8)
    for seed in range(60):
        assert lay_over(tiny, fonts, np.random.default_rng(seed)).image.shape == tiny.shape
        assert print_on(tiny, fonts, np.random.default_rng(seed)).shape == tiny.shape


def test_calibration_gives_the_share_that_was_laid_over() -> None:
    random = np.random.default_rng(4)
    over = (random.random(4000) < 0.4).astype(np.float32)
    values = (random.normal(0, 1, 4000) + 3 * over).astype(np.float32)
    (slope, offset), auc, recall = calibrated(values, over)
    probability = 1 / (1 + np.exp(-(slope * values + offset)))
    sure = (probability > 0.45) & (probability < 0.55)
    assert 0.35 < over[sure].mean() < 0.65
    assert auc == pytest.approx(0.983, abs=0.01)  # two normals three deviations apart
    assert recall == pytest.approx(0.83, abs=0.05)


def test_a_right_map_costs_less_than_a_wrong_one() -> None:
    import torch

    mask, over = torch.zeros(2, 20, 20), torch.tensor([1.0, 0.0])
    mask[0, :5, :6] = 1
    right = 12 * mask - 6
    assert float(loss_of(right, mask, over)) < 0.5 < float(loss_of(-right, mask, over))
    assert surest(right)[0] == pytest.approx(6) and surest(right)[1] == pytest.approx(-6)


def test_a_short_teaching_gives_all_weights_and_figures_of_other_pictures(fonts: Fonts, photograph: np.ndarray) -> None:
    said: list[str] = []
    dull = [photograph, np.full((240, 320, 3), 90, np.uint8)]
    taught = teach(dull, dull, fonts, copies=32, seed=3, log=said.append, checked=32)
    assert {"stem.weight", "fine.0.depthwise.weight", "coarse.5.pointwise.bias", "calibration"} <= taught.weights.keys()
    assert 0 <= taught.auc <= 1 and 0 <= taught.recall <= 1


def test_a_network_that_is_taken_up_again_says_what_it_said_and_learns_on_from_there() -> None:
    import torch

    torch.manual_seed(5)
    pages = torch.rand(6, 3, 64, 64) * 2 - 1
    first = OverlayNetwork().train()
    for _ in range(4):
        first(pages)
    said = first.eval()(pages)
    again = OverlayNetwork()
    unfold(again, folded(first), pages)
    assert torch.allclose(again.eval()(pages), said, atol=1e-3)
    assert torch.allclose(again.train()(pages), said, atol=1e-2), "by the statistics of the pages themselves too"
