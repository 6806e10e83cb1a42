"""The enhancer: a residual network for noise, blur and blocks, then image-adaptive tone curves and a 3D LUT.

Curves and LUT follow Zeng et al. (2020): a few basis tables, mixed by coefficients that the trunk predicts for the
whole image. The residual network works on a 2 x 2 pixel unshuffle as FFDNet does (Zhang et al., 2018) and is
modulated by the trunk, which knows the kind of damage. At the start everything is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from packshot.model.architecture import TILE, UNSHUFFLE, residual_reach

HIDDEN = 256
DROP = 0.2
"""Of what the codes are read from: damage is told to the enhancer by thousands of images, which is few."""


@dataclass(frozen=True)
class Codes:
    """What the trunk says about one image. Shapes: N x 3 x (points + 1); N x count; N x blocks x 2 x width."""

    curves: torch.Tensor
    mixture: torch.Tensor
    modulation: torch.Tensor

    def of(self, images: slice) -> Codes:
        """The codes of some of the images."""
        return Codes(self.curves[images], self.mixture[images], self.modulation[images])


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a modulated activation, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        """N x width x h x w and N x 2 x width (gain - 1, shift)."""
        gain, shift = modulation[:, 0, :, None, None], modulation[:, 1, :, None, None]
        y: torch.Tensor = x + self.second(F.relu(self.first(x) * (1 + gain) + shift))
        return y


class Enhancer(nn.Module):
    """Full-resolution enhancement, conditioned on the trunk vector of the whole image.

    Outside training, curves and tables are applied by the share `tone_trust`: which tones a picture should have can
    only be guessed, and a wrong guess costs more than a right one brings.
    """

    tone_trust: torch.Tensor

    def __init__(self, inputs: int, width: int, blocks: int, curve_points: int, lut_size: int, lut_count: int) -> None:
        super().__init__()
        self.width, self.blocks, self.points, self.count = width, blocks, curve_points, lut_count
        outputs = 3 * (curve_points + 1) + lut_count + blocks * 2 * width
        self.codes_layer = nn.Sequential(
            *(nn.Dropout(DROP), nn.Linear(inputs, HIDDEN), nn.GELU()),
            *(nn.Dropout(DROP), nn.Linear(HIDDEN, HIDDEN), nn.GELU()),
            *(nn.Dropout(DROP), nn.Linear(HIDDEN, outputs)),
        )
        self.luts = nn.Parameter(torch.zeros(lut_count, 3, lut_size, lut_size, lut_size))
        packed = 3 * UNSHUFFLE**2
        self.enter = nn.Conv2d(packed, width, 3, padding=1)
        self.body = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.leave = nn.Conv2d(width, packed, 3, padding=1)
        for layer in (self.enter, self.body, self.leave):
            layer.to(memory_format=torch.channels_last)  # a third less time on a CPU
        self.register_buffer("tone_trust", torch.tensor(0.5))
        self.half_precision = False
        """While training, convolutions in bfloat16: faster where hardware has it. Results stay float32."""
        self._start_as_identity()

    def _start_as_identity(self) -> None:
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        last = self.codes_layer[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        # the tables start at zero, so their coefficients must not, or neither would ever get a gradient
        start = 3 * (self.points + 1)
        with torch.no_grad():
            last.weight[start : start + self.count].normal_(std=0.05)
            last.bias[start : start + self.count].fill_(1.0 / self.count)

    @property
    def reach(self) -> int:
        """Pixels of surroundings that a pixel's result depends on; the overlap of tiles."""
        return residual_reach(self.blocks)

    def codes(self, z: torch.Tensor) -> Codes:
        """Scaled trunk vectors, N x inputs, to the coefficients of each image."""
        raw = self.codes_layer(z)
        knots = 3 * (self.points + 1)
        curves = torch.tanh(raw[:, :knots].reshape(-1, 3, self.points + 1))
        mixture = raw[:, knots : knots + self.count]
        modulation = torch.tanh(raw[:, knots + self.count :]).reshape(-1, self.blocks, 2, self.width)
        if not self.training:
            curves, mixture = self.tone_trust * curves, self.tone_trust * mixture
        return Codes(curves, mixture, modulation)

    def forward(self, pixels: torch.Tensor, codes: Codes) -> torch.Tensor:
        """N x 3 x H x W in 0..1 to the same shape; unclamped, so that training has gradients everywhere."""
        repaired = pixels + self.residual(pixels, codes.modulation)
        return self.toned(repaired, codes)

    def residual(self, pixels: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
        """What is to be added to N x 3 x H x W in 0..1, under a modulation N x blocks x 2 x width."""
        height, width = pixels.shape[2:]
        padded = F.pad(pixels, (0, width % UNSHUFFLE, 0, height % UNSHUFFLE), mode="replicate")
        packed = F.pixel_unshuffle(padded, UNSHUFFLE).contiguous(memory_format=torch.channels_last)
        half = self.training and self.half_precision
        with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=half):
            x = self.enter(packed - 0.5)
            for place, block in enumerate(self.body):
                x = block(x, modulation[:, place])
            change = self.leave(x)
        return F.pixel_shuffle(change.float(), UNSHUFFLE)[..., :height, :width]

    def toned(self, pixels: torch.Tensor, codes: Codes) -> torch.Tensor:
        """N x 3 x H x W through the curves and tables of its codes."""
        place = pixels.clamp(0, 1) * self.points
        curved = pixels
        for knot in range(self.points + 1):
            hat = F.relu(1 - (place - knot).abs())
            curved = curved + codes.curves[:, :, knot, None, None] * hat
        table = torch.einsum("nm,mcxyz->ncxyz", codes.mixture, self.luts)
        # grid_sample reads the last axis first: a grid of (r, g, b) indexes a table stored as [b, g, r]
        grid = curved.clamp(0, 1).permute(0, 2, 3, 1)[:, None] * 2 - 1
        return curved + F.grid_sample(table, grid, align_corners=True, padding_mode="border")[:, :, 0]


class TileEnhancer(Protocol):
    """An Enhancer, or what stands in for one: N x 3 x h x w in 0..1 and codes to the same shape."""

    @property
    def reach(self) -> int:
        """Pixels of surroundings that a pixel's result depends on."""

    def __call__(self, pixels: torch.Tensor, codes: Codes) -> torch.Tensor:
        """Enhanced, unclamped."""


@torch.inference_mode()
def enhance_tiled(enhancer: TileEnhancer, pixels: torch.Tensor, codes: Codes, tile: int = TILE) -> torch.Tensor:
    """`pixels` (uint8, H x W x 3) enhanced in tiles with overlap; uint8 of the same shape.

    The overlap covers the receptive field, so tiles leave no seams; memory is bounded by one tile. A pixel that is
    not finite after the network keeps its input.
    """
    height, width = pixels.shape[:2]
    margin = enhancer.reach
    device = codes.curves.device
    result = torch.empty_like(pixels)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            upper, lower = max(0, top - margin), min(height, top + tile + margin)
            first, last = max(0, left - margin), min(width, left + tile + margin)
            source = pixels[upper:lower, first:last].to(device).permute(2, 0, 1)[None].float() / 255
            done = enhancer(source, codes)
            done = torch.where(done.isfinite(), done, source).clamp(0, 1)
            inner = done[0, :, top - upper : top - upper + tile, left - first : left - first + tile]
            bytes_ = (inner * 255).round().to(torch.uint8).permute(1, 2, 0).cpu()
            result[top : top + tile, left : left + tile] = bytes_
    return result
