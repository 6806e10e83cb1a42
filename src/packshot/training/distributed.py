"""Several processes, one training: what torchrun starts, on several GPUs or on a CPU.

Every process draws the same rows from the same seeds. The dear part of a step is shared out: each process puts its
part of the images through the backbone and its part of the patches through the enhancer; the features are gathered,
and the cheap heads are computed by all. Gradients are averaged by DistributedDataParallel (Li et al. 2020), so that a
step changes the weights as in one process, but for rounding.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from packshot.model.network import Features
from packshot.training.dataset import Rows
from packshot.training.sources import FeatureSource


@dataclass(frozen=True)
class Ranks:
    """This process among those of the training; alone by default."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes: checkpoints, records, the bundle."""
        return self.rank == 0

    def part(self, rows: Rows) -> Rows:
        """This process's part of `rows`; the parts are equally long, the last row repeated to fill the last."""
        each = -(-len(rows) // self.world)
        padded = np.concatenate([rows, np.repeat(rows[-1:], each * self.world - len(rows))])
        return padded[self.rank * each : (self.rank + 1) * each]

    def turn(self, count: int) -> tuple[slice, float]:
        """Which of `count` items are this process's, and the weight of their mean, so that the mean over processes is
        that over all items. A process for which none is left takes one, at weight 0: all must take part in a step."""
        if self.rank >= count:
            return slice(0, 1), 0.0
        mine = slice(self.rank, None, self.world)
        return mine, len(range(count)[mine]) * self.world / count

    def gather(self, part: torch.Tensor) -> torch.Tensor:
        """The parts of all processes in order, with gradients to the process that each came from."""
        if self.world == 1:
            return part
        gathered: torch.Tensor = _Gather.apply(part, self)
        return gathered

    def mean(self, value: float) -> float:
        """Mean of `value` over the processes."""
        if self.world == 1:
            return value
        held = torch.tensor([value], dtype=torch.float64, device=_device())
        distributed.all_reduce(held)
        return float(held) / self.world

    def wait(self) -> None:
        """Return when all processes are here."""
        if self.world > 1:
            distributed.barrier()

    def wrap(self, step: nn.Module) -> nn.Module:
        """`step` such that its gradients are averaged over the processes."""
        if self.world == 1:
            return step
        return nn.parallel.DistributedDataParallel(step, find_unused_parameters=True, broadcast_buffers=False)

    def apart(self, step: nn.Module) -> AbstractContextManager[None]:
        """Within this, gradients of the wrapped `step` add up in each process; the next one outside averages them."""
        return step.no_sync() if isinstance(step, nn.parallel.DistributedDataParallel) else nullcontext()


class SharedFeatures:
    """Each process computes the features of its part of the rows; all get all of them."""

    def __init__(self, source: FeatureSource, ranks: Ranks) -> None:
        self.source, self.ranks = source, ranks

    def rows(self, rows: Rows) -> Features:
        """Features of catalogue rows."""
        mine = self.source.rows(self.ranks.part(rows))
        stats, gram = (self.ranks.gather(part)[: len(rows)] for part in (mine.stats, mine.gram))
        return Features(stats, gram)

    def pairs(self, rows: Rows) -> torch.Tensor:
        """Statistics of degraded copies, N x S."""
        return self.ranks.gather(self.source.pairs(self.ranks.part(rows)))[: len(rows)]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: torch.Tensor, ranks: Ranks) -> torch.Tensor:
        ctx.ranks, ctx.length = ranks, len(part)
        parts = [torch.empty_like(part) for _ in range(ranks.world)]
        distributed.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        start = ctx.ranks.rank * ctx.length
        return total[start : start + ctx.length], None


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, as its environment says; alone without it.

    `device` is auto, cpu or cuda; on CUDA each process takes the device of its local rank.
    """
    if processes() == 1:
        yield Ranks()
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def local_processes() -> int:
    """How many processes share this machine's cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def processes() -> int:
    """How many processes train together, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process, before it has joined, is the one that will write."""
    return int(os.environ.get("RANK", "0")) == 0


def started_by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def start_again(processes: int, command: Sequence[str]) -> None:
    """Replace this process by torchrun, which starts `command` so many times on this machine."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    os.execv(sys.executable, [*torchrun, "--nproc-per-node", str(processes), "--no-python", *command])


def _device() -> torch.device:
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
