"""The drill for the gates: a bundle whose judgement is spoilt on purpose, to see that it is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from packshot.errors import PackshotError
from packshot.files import write_bytes

WEIGHTS = "weights.safetensors"
HEADS = re.compile(r"(quality|style_space|classifier)\.")
STRENGTH = 3.0
"""Standard deviation of the noise, in standard deviations of the weights of each tensor."""


class NothingToDamage(PackshotError):
    """The bundle has no weights of a quality or style head."""


def damaged_copy(bundle: Path, out: Path, seed: int) -> Path:
    """Copy `bundle` to `out` with noise on the weights behind the quality and style scores; returns `out`.

    It loads and serves like any other bundle, only its figures fall. Same seed, same bytes. Raises NothingToDamage
    where no weights have the name of a head, FileExistsError where `out` exists.
    """
    import torch
    from safetensors.torch import load_file, save

    shutil.copytree(bundle, out)
    weights = load_file(out / WEIGHTS)
    chosen = sorted(name for name, tensor in weights.items() if HEADS.match(name) and tensor.is_floating_point())
    if not chosen:
        raise NothingToDamage(f"{bundle / WEIGHTS} has no weight of a quality or style head: {sorted(weights)[:8]} ...")
    generator = torch.Generator().manual_seed(seed)
    for name in chosen:
        tensor = weights[name]
        scale = float(tensor.float().std()) if tensor.numel() > 1 else float(tensor.abs().max())
        noise = torch.randn(tensor.shape, generator=generator) * STRENGTH * scale
        damaged = tensor.float() + noise
        # A scale or a deviation stays one: the copy has to answer, only wrongly.
        weights[name] = (damaged.abs() if bool((tensor >= 0).all()) else damaged).to(tensor.dtype)
    write_bytes(out / WEIGHTS, save(weights))
    return out
