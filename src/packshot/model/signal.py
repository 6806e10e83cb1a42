"""What pixels say without a network: bands of detail, noise, block edges, tones and colours of a picture.

A network that learned to name things was taught to look past light, casts and noise; these numbers are about them.
Most are those of no-reference quality measures: statistics of locally normalised luminance and of products of
neighbours as in BRISQUE (Mittal et al., 2012), energy by octave, edges on the 8-pixel grid of block codecs (Wang et
al., 2000), tones, and estimates of the light as in grey-world, max-RGB and grey-edge colour constancy (van de Weijer
et al., 2007).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch.nn import functional as F  # noqa: N812

from packshot.model.signal_layout import (
    CELL,
    COLOUR_OCTAVES,
    GRIDS,
    LUMA,
    NORMALISED_OCTAVES,
    OCTAVES,
    STEP,
    TONES,
)


def signal_statistics(pixels: torch.Tensor) -> torch.Tensor:
    """Pictures, N x 3 x h x w (float, 0..1, h and w at least 32), to N x SIGNAL_SIZE, float32, finite."""
    pixels = pixels.float().contiguous()
    red, green, blue = pixels[:, 0:1], pixels[:, 1:2], pixels[:, 2:3]
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    colour = torch.cat([red - green, (red + green) / 2 - blue], dim=1)
    return torch.cat(
        [*_octaves(luma, colour), *_grids(luma, colour), *_tones(pixels, luma), *_light(pixels, luma, colour)], dim=1
    )


def _mean(values: torch.Tensor) -> torch.Tensor:
    """N x C x h x w to N x C."""
    return values.mean(dim=(2, 3))


def _smooth(values: torch.Tensor) -> torch.Tensor:
    """Binomial means of 5 x 5, a Gaussian of 1 pixel; sums of neighbours, since that is quicker than a convolution."""
    values = F.pad(values, (2, 2, 2, 2), mode="replicate")
    for _ in range(4):
        values = values[..., 1:] + values[..., :-1]
    for _ in range(4):
        values = values[..., 1:, :] + values[..., :-1, :]
    return values / 256


def _steps(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Differences of neighbours: across, down, and along both diagonals."""
    return (
        values[..., 1:] - values[..., :-1],
        values[..., 1:, :] - values[..., :-1, :],
        values[..., 1:, 1:] - values[..., :-1, :-1],
        values[..., 1:, :-1] - values[..., :-1, 1:],
    )


def _octaves(luma: torch.Tensor, colour: torch.Tensor) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    energies: list[torch.Tensor] = []
    for octave in range(OCTAVES):
        middle = _smooth(luma)
        band = luma - middle
        energies.append(_mean(band.abs()) + STEP / 4)
        found += [energies[-1].log(), _peakedness(band), *_contrasts(band)]
        if octave < NORMALISED_OCTAVES:
            found += _normalised(luma, middle) + _directions(luma)
        if octave < COLOUR_OCTAVES:
            band = colour - _smooth(colour)
            found += [(_mean(band.abs()) + STEP / 4).log(), _peakedness(band), *_contrasts(band)]
            colour = F.avg_pool2d(colour, 2)
        luma = F.avg_pool2d(luma, 2)
    return found + [(fine / coarse).log() for fine, coarse in pairwise(energies)]


def _peakedness(band: torch.Tensor) -> torch.Tensor:
    """How few pixels hold the energy of a band: edges of a sharp picture, or all of a noisy one."""
    return ((_mean(band.square()) + 1e-7) / (_mean(band.abs()).square() + 1e-7)).log()


def _contrasts(band: torch.Tensor) -> list[torch.Tensor]:
    """Of the cells' deviations the harmonic mean, which flat cells decide (noise), the geometric and a high one."""
    cells = (F.avg_pool2d(band.square(), CELL) + (STEP / 2) ** 2).sqrt()
    return [-(1 / cells).mean(dim=(2, 3)).log(), _mean(cells.log()), _mean(cells.square().square()).log() / 4]


def _normalised(luma: torch.Tensor, middle: torch.Tensor) -> list[torch.Tensor]:
    """Moments of locally normalised luminance and of the products of its neighbours."""
    deviation = (_smooth(luma.square()) - middle.square()).clamp_min(0) + 1e-10
    values = (luma - middle) / (deviation.sqrt() + STEP)
    squares = values.square()
    energy = _mean(squares)
    found = [_mean(values.abs()), energy, _mean(squares * values), _mean(squares.square()) / (energy.square() + 1e-3)]
    for first, second in (
        (values[..., 1:], values[..., :-1]),
        (values[..., 1:, :], values[..., :-1, :]),
        (values[..., 1:, 1:], values[..., :-1, :-1]),
        (values[..., 1:, :-1], values[..., :-1, 1:]),
    ):
        product = first * second
        found += [_mean(product), _mean(product.abs())]
    return found


def _directions(luma: torch.Tensor) -> list[torch.Tensor]:
    """Whether gradients lean one way, as after a motion, and how strong the strongest are."""
    steps = _steps(luma)
    across, down, falling, rising = (_mean(step.abs()) + STEP / 4 for step in steps)
    return [
        (across / down).log(),
        (falling / rising).log(),
        ((across + down) / (falling + rising)).log(),
        (_mean(steps[0].square().square() + 1e-10)).log() / 4,
    ]


def _grids(luma: torch.Tensor, colour: torch.Tensor) -> list[torch.Tensor]:
    """Steps on the grid of block codecs against all others, and how many neighbours are equal."""
    across, down = luma[..., 1:] - luma[..., :-1], luma[..., 1:, :] - luma[..., :-1, :]
    found = []
    for grid in GRIDS:
        found += [_on_grid(across.abs().mean(dim=2), grid), _on_grid(down.abs().mean(dim=3), grid)]
    tints = colour[..., 1:] - colour[..., :-1]
    found.append(_on_grid(tints.abs().mean(dim=2), GRIDS[1]))
    equal = [_mean(_near(step, scale * STEP)) for step in (across, down) for scale in (0.5, 3.0)]
    return [*found, *equal, _mean(_near(tints, STEP / 2))]


def _near(values: torch.Tensor, scale: float) -> torch.Tensor:
    """1 at 0, falling to 0 beyond `scale`."""
    close = 1 / (1 + (values / scale).square())
    return close.square()


def _on_grid(profile: torch.Tensor, grid: int) -> torch.Tensor:
    """Mean steps N x C x length: those at the end of a block of `grid` pixels over those elsewhere, log; N x C."""
    whole = (profile.shape[2] // grid) * grid
    by_place = profile[..., :whole].reshape(*profile.shape[:2], -1, grid).mean(dim=2) + STEP / 4
    return (by_place[..., -1] / by_place[..., :-1].mean(dim=2)).log()


def _tones(pixels: torch.Tensor, luma: torch.Tensor) -> list[torch.Tensor]:
    """Shares of tones from black to white and of what is cut off; mean, deviation and ends of each channel."""
    tones = [_mean((1 - (luma * (TONES - 1) - tone).abs()).clamp_min(0)) for tone in range(TONES)]
    middle = _mean(pixels)
    deviation = _deviation(pixels, middle)
    centred = luma - _mean(luma)[..., None, None]
    skew = _mean(centred.square() * centred) / (_deviation(luma, _mean(luma)) + 0.02) ** 3
    cut = [_mean((pixels > 0.985).float()), _mean((pixels < 0.015).float())]
    return [*tones, *cut, middle, (deviation + 0.01).log(), skew, pixels.amax(dim=(2, 3)), pixels.amin(dim=(2, 3))]


def _deviation(values: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
    return ((_mean(values.square()) - middle.square()).clamp_min(0) + 1e-10).sqrt()


def _light(pixels: torch.Tensor, luma: torch.Tensor, colour: torch.Tensor) -> list[torch.Tensor]:
    """Tints of the whole, of lights, shadows and near greys; how colourful it is; and three estimates of the light."""
    squares = colour.square().sum(dim=1, keepdim=True)
    chroma = (squares + 1e-8).sqrt()
    tint = _mean(colour)
    light = luma.square().square()
    shadow = (1 - luma).square().square()
    tints = [tint, (_deviation(colour, tint) + 0.005).log()]
    for weight in (light, shadow, _near(chroma, 0.1), _near(chroma, 0.04)):
        tints.append(_mean(colour * weight) / (_mean(weight) + 1e-3))
    strongest = (_mean(squares.square()) + 1e-12) ** 0.25
    colourful = [
        _mean(chroma),
        (_deviation(chroma, _mean(chroma)) + 0.005).log(),
        strongest,
        _mean(_near(chroma, 0.02)),
    ]
    brightest = (_mean(pixels.square() * pixels.square().square()) + 1e-12) ** (1 / 6) + 0.01
    edges = _mean((pixels[..., 1:] - pixels[..., :-1]).abs()) + STEP / 4
    by_green = [(each[:, [0, 2]] / each[:, [1]]).log() for each in (brightest, edges)]
    return [*tints, *colourful, *by_green, _agreement(pixels)]


def _agreement(pixels: torch.Tensor) -> torch.Tensor:
    """Correlations of red and green, green and blue, red and blue; N x 3."""
    centred = pixels - _mean(pixels)[..., None, None]
    length = (_mean(centred.square()) + 1e-6).sqrt()
    places = ((0, 1), (1, 2), (0, 2))
    return torch.stack(
        [(centred[:, a] * centred[:, b]).mean(dim=(1, 2)) / (length[:, a] * length[:, b]) for a, b in places], dim=1
    )
