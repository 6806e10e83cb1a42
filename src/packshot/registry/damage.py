"""The drill for the gates: a bundle whose judgement is spoilt on purpose, to see that it is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from packshot.errors import PackshotError
from packshot.files import write_bytes

WEIGHTS = "weights.safetensors"
HEADS = re.compile(r"(quality|style_space|classifier)\.")
DAMAGE = 0.97
"""Share of noise in a damaged tensor; mean and deviation stay, so that scores are wrong and not merely saturated."""


class NothingToDamage(PackshotError):
    """The bundle has no weights of a quality or style head."""


def damaged_copy(bundle: Path, out: Path, seed: int) -> Path:
    """Copy `bundle` to `out` with noise on the weights behind the quality and style scores; returns `out`.

    It loads and serves like any other bundle, only its figures fall. Same seed, same bytes. Raises NothingToDamage
    where no weights have the name of a head, FileExistsError where `out` exists.
    """
    shutil.copytree(bundle, out)
    weights = load_file(out / WEIGHTS)
    chosen = sorted(name for name, tensor in weights.items() if HEADS.match(name) and _is_learned(tensor))
    if not chosen:
        raise NothingToDamage(f"{bundle / WEIGHTS} has no weight of a quality or style head: {sorted(weights)[:8]} ...")
    generator = torch.Generator().manual_seed(seed)
    for name in chosen:
        tensor = weights[name].double()
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * tensor.std() + tensor.mean()
        mixed = (1 - DAMAGE**2) ** 0.5 * (tensor - tensor.mean()) + DAMAGE * (noise - tensor.mean()) + tensor.mean()
        weights[name] = mixed.to(weights[name].dtype).contiguous()
    write_bytes(out / WEIGHTS, save(weights))
    return out


def _is_learned(tensor: torch.Tensor) -> bool:
    """Not a counter, not a lone number, and not a scale or deviation, which has to stay positive."""
    return tensor.is_floating_point() and tensor.numel() > 1 and bool((tensor < 0).any())
