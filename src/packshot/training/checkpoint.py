"""Checkpoints: one safetensors file an epoch, replaced atomically; no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from packshot.files import remove_unfinished, write_bytes
from packshot.progress import say

FILE = "state.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name and a JSON-able state, of the end of one epoch."""

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors under `prefix.`, without it."""
        return {
            name.removeprefix(prefix + "."): value
            for name, value in self.tensors.items()
            if name.startswith(prefix + ".")
        }


def prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies of `tensors` on the CPU, with `prefix.` before each name."""
    return {f"{prefix}.{name}": value.detach().cpu().clone().contiguous() for name, value in tensors.items()}


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Moments and step counts, by parameter number and name."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{name}": value if torch.is_tensor(value) else torch.tensor(float(value))
        for number, values in state.items()
        for name, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `optimiser_tensors` gave; the groups must be the same."""
    state = optimiser.state_dict()
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        entries.setdefault(int(number), {})[name] = value
    state["state"] = entries
    optimiser.load_state_dict(state)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` as the latest of `folder`; a kill at any moment leaves the one before."""
    remove_unfinished(folder / FILE)
    write_bytes(folder / FILE, save(checkpoint.tensors, metadata={"state": json.dumps(checkpoint.state)}))


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The latest checkpoint of `folder`, or None where there is none or it cannot be read."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as opened:
            state = json.loads(opened.metadata()["state"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        say(f"train: the checkpoint {path} cannot be read ({error}); starting anew")
        return None
    return Checkpoint(tensors, state)
