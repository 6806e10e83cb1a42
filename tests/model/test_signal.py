"""Each kind of damage moves the numbers that are about it."""

import numpy as np
import pytest
import torch

from packshot.degrade import apply
from packshot.model.preprocess import to_tensor
from packshot.model.signal import signal_statistics
from packshot.model.signal_layout import SIGNAL_SIZE


def picture(seed=0, side=128):
    """Soft shapes with edges and some colour, uint8."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    plane = np.full((side, side, 3), 0.45)
    for _ in range(12):
        centre, radius, tint = generator.random(2), 0.05 + 0.2 * generator.random(), generator.random(3)
        plane[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2] = 0.2 + 0.6 * tint
    return np.rint(255 * (plane + 0.05 * np.sin(12 * columns)[..., None])).clip(0, 255).astype(np.uint8)


def seen(image):
    return signal_statistics(to_tensor(image))[0]


@pytest.mark.parametrize(
    "pixels",
    [torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 32, 512), torch.rand(2, 3, 32, 32), torch.rand(1, 3, 45, 77)],
)
def test_numbers_and_gradients_are_finite(pixels):
    pixels.requires_grad_()
    found = signal_statistics(pixels)
    assert found.shape == (len(pixels), SIGNAL_SIZE) and found.isfinite().all()
    # they are kept as float16
    assert found.abs().max() < 1000
    found.sum().backward()
    assert pixels.grad.isfinite().all()


def test_a_picture_alone_and_in_a_batch_says_the_same():
    pictures = torch.cat([to_tensor(picture(seed)) for seed in range(3)])
    together = signal_statistics(pictures)
    for place in range(3):
        assert torch.allclose(signal_statistics(pictures[place : place + 1])[0], together[place], atol=1e-5)


@pytest.mark.parametrize("name", ["gaussian_noise", "gaussian_blur", "jpeg", "underexposure", "warm_cast"])
def test_damage_is_told_from_another_picture_and_grows_with_its_level(name):
    """Standardised over pictures, the numbers that move most move further than pictures lie apart, and in one way."""
    pictures = [picture(seed) for seed in range(8)]
    clean = torch.stack([seen(each) for each in pictures])
    deviation = clean.std(dim=0) + 0.02
    moved = torch.stack(
        [
            torch.stack([(seen(apply(each, name, level, 1)) - seen(each)) / deviation for each in pictures]).mean(dim=0)
            for level in (1, 3, 5)
        ]
    )
    most = moved[2].abs().topk(5).indices
    assert moved[2][most].abs().min() > 2
    assert (moved[:, most].abs().diff(dim=0) > 0).float().mean() > 0.8
    assert (moved[:, most].sign() == moved[2, most].sign()).all()


def test_block_edges_are_looked_for_where_codecs_put_them():
    tile = np.repeat(np.repeat(np.random.default_rng(0).integers(60, 200, (16, 16, 1)), 8, 0), 8, 1)
    blocks = np.broadcast_to(tile, (128, 128, 3)).astype(np.uint8)
    shifted = np.roll(blocks, (4, 4), axis=(0, 1))
    grids = signal_statistics(torch.cat([to_tensor(blocks), to_tensor(shifted)]))
    place = int((grids[0] - grids[1]).argmax())
    assert grids[0, place] > 2 and grids[1, place] < 0
