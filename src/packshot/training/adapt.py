"""A trained network adapted to pictures without labels: their own degraded copies teach it.

Within one picture the more damaged copy must score lower, while the answers on whole undamaged pictures stay near
those of the network as it was. By gradient only the upper stages of the backbone learn. The attribute heads are then
corrected in closed form. Trunks, quality heads, style space, classifier and enhancer keep their weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from packshot.config import AdaptSettings, Recipe
from packshot.degrade import Step
from packshot.model.backbone import UnknownBackbone
from packshot.model.losses import ranking_loss
from packshot.model.network import PackshotNet
from packshot.model.preprocess import Image, to_tensor, views
from packshot.model.quality import KernelHead
from packshot.model.signal import signal_statistics
from packshot.model.statistics import stage_statistics
from packshot.progress import track
from packshot.training.pairs import crop_of, spoiled, steps_of, teachers

GRADIENT_NORM = 1.0
RANKING_WEIGHT, ATTRIBUTE_WEIGHT = 10.0, 10.0
SCORE_UNIT = 0.05
"""An answer that moved by this much costs the anchor 1: about the noise of a mean of human scores."""
RISING_SHARE = 0.1
JITTER = 1e-6


@dataclass(frozen=True)
class Ladder:
    """Copies of one picture, C in all, the first undamaged.

    `copies`: uint8 H x W x 3 RGB of one shape; `steps`: what was done to each; `near`: C full-reference scores, 1 is
    undamaged; `attributes`: C x 3, 1 where that attribute is unhurt, NaN where it cannot be told (mixes).
    """

    image_id: str
    copies: list[Image]
    steps: list[tuple[Step, ...]]
    near: torch.Tensor
    attributes: torch.Tensor


@dataclass(frozen=True)
class Lesson:
    """A whole picture, uint8 H x W x 3 RGB, and a ladder on a part of it."""

    whole: Image
    ladder: Ladder


@dataclass(frozen=True)
class _Half:
    """What the frozen stages say of N pictures of one shape: for each view, None where it is the one before, for each
    member of the backbone its statistics (N x L) and its last map (float16); and the statistics of the signal."""

    views: list[list[tuple[torch.Tensor, torch.Tensor]] | None]
    signal: torch.Tensor


@dataclass(frozen=True)
class _Known:
    """A lesson as the fit sees it: frozen halves, and the answers before."""

    copies: _Half
    whole: _Half
    near: torch.Tensor
    quality: torch.Tensor
    aspects: torch.Tensor
    """What the attributes of each copy should be, C x 3: those of the undamaged copy before, times what is left."""
    anchor: torch.Tensor
    """Quality heads and attributes of the whole picture before, 1 x (heads + 3)."""


def ladder_of(clean: Image, image_id: str, recipe: Recipe, settings: AdaptSettings, seed: int) -> Ladder:
    """`clean` (uint8 H x W x 3 RGB) with `mixes` + `singles` degraded copies; the same for the same id and seed."""
    steps = steps_of(image_id, _small(recipe, settings), seed)
    copies = [spoiled(clean, image_id, each, copy, seed) for copy, each in enumerate(steps)]
    told = {
        name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in teachers(clean, copies, steps).items()
    }
    return Ladder(image_id, copies, steps, 1 - told["severity"], told["attributes"])


def lessons(pictures: Iterable[tuple[str, Image]], recipe: Recipe, settings: AdaptSettings) -> Iterator[Lesson]:
    """What `adapt` learns from: for each picture (id, uint8 H x W x 3 RGB) a ladder on a part drawn by its id."""
    for image_id, image in pictures:
        part = crop_of(image, image_id, _small(recipe, settings), settings.seed)
        yield Lesson(image, ladder_of(part, image_id, recipe, settings, settings.seed))


def adapt(network: PackshotNet, taught: Iterable[Lesson], settings: AdaptSettings, learning_rate: float) -> None:
    """Train the backbone stages above `frozen_stages` of `network` in place, at `backbone_lr_factor` of
    `learning_rate`, then correct its attribute heads; it ends frozen, in evaluation mode.

    Deterministic for one number of threads. Raises ValueError without lessons, UnknownBackbone where the backbone is
    not made of stages that can run apart.
    """
    if any(len(member.stages) != len(member.channels) for member in network.backbone.members):
        raise UnknownBackbone(
            f"{network.architecture.backbone} cannot be cut into stages, so its upper ones cannot be adapted; "
            "name a model with an EfficientNet-Lite or torchvision backbone"
        )
    network.requires_grad_(False).eval()
    # one lesson at a time: what is kept of it is smaller than its pictures
    known = [_known(network, lesson, settings) for lesson in taught]
    if not known:
        raise ValueError("there is nothing to learn from: no lesson was given")
    network.backbone.freeze(settings.frozen_stages)
    learned = [each for each in network.backbone.parameters() if each.requires_grad]
    if learned:
        _fit(network, learned, known, settings, learning_rate * settings.backbone_lr_factor)
    network.requires_grad_(False)
    _correct_attributes(network, known, settings)


def _small(recipe: Recipe, settings: AdaptSettings) -> Recipe:
    return recipe.model_copy(
        update={"crop": settings.crop, "patch": 1, "mixes": settings.mixes, "singles": settings.singles}
    )


@torch.no_grad()
def _known(network: PackshotNet, lesson: Lesson, settings: AdaptSettings) -> _Known:
    copies, whole = (_half(network, each, settings) for each in (lesson.ladder.copies, [lesson.whole]))
    stats, of_whole = (_stats(network, each, settings) for each in (copies, whole))
    device = network.device
    return _Known(
        copies,
        whole,
        lesson.ladder.near.to(device),
        network.quality(network.trunk(stats)),
        lesson.ladder.attributes.to(device) * network.aspects(stats)[:1],
        _answers(network, of_whole),
    )


def _half(network: PackshotNet, images: Sequence[Image], settings: AdaptSettings) -> _Half:
    found: list[list[tuple[torch.Tensor, torch.Tensor]] | None] = []
    sides = network.architecture.long_sides
    shape: torch.Size | None = None
    by_view = [
        torch.cat([to_tensor(each, network.device) for each in view])
        for view in zip(*(views(image, sides) for image in images), strict=True)
    ]
    for pixels in by_view:
        if pixels.shape == shape:
            found.append(None)
            continue
        shape = pixels.shape
        maps = [member.lower(pixels, settings.frozen_stages) for member in network.backbone.members]
        found.append([(stage_statistics(each), each[-1].half()) for each in maps])
    return _Half(found, signal_statistics(by_view[0]))


def _stats(network: PackshotNet, half: _Half, settings: AdaptSettings) -> torch.Tensor:
    """As `PackshotNet.features_of_views`, from the frozen half: N x S."""
    found: list[torch.Tensor] = []
    for view in half.views:
        if view is None:
            found.append(found[-1])
            continue
        parts = []
        for member, (lower, values) in zip(network.backbone.members, view, strict=True):
            upper = member.upper(values.float(), settings.frozen_stages)
            parts += [lower, stage_statistics(upper)] if upper else [lower]
        found.append(torch.cat(parts, dim=1))
    return torch.cat([*found, half.signal], dim=1)


def _answers(network: PackshotNet, stats: torch.Tensor) -> torch.Tensor:
    return torch.cat([network.quality(network.trunk(stats)), network.attributes(network.damage(stats))], dim=1)


def _fit(
    network: PackshotNet, learned: Sequence[nn.Parameter], known: Sequence[_Known], settings: AdaptSettings, rate: float
) -> None:
    optimiser = torch.optim.AdamW(learned, lr=rate, weight_decay=0.0)
    generator = np.random.default_rng(settings.seed)
    for step in track(range(settings.steps), "adapt: learning", unit="steps"):
        done = step / settings.steps
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (done + 1 / settings.steps) / RISING_SHARE) * (1 - done)
        chosen = generator.permutation(len(known))[: settings.batch_size]
        optimiser.zero_grad(set_to_none=True)
        for place in chosen.tolist():
            (_loss(network, known[place], settings) / len(chosen)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learned, GRADIENT_NORM)
        optimiser.step()


def _loss(network: PackshotNet, known: _Known, settings: AdaptSettings) -> torch.Tensor:
    stats = _stats(network, known.copies, settings)
    quality, aspects = network.quality(network.trunk(stats)), network.attributes(network.damage(stats))
    told = known.aspects.isfinite()
    loss: torch.Tensor = ATTRIBUTE_WEIGHT * F.mse_loss(aspects[told], known.aspects[told])
    ranks = ranking_loss(quality.mean(dim=1), known.near, torch.zeros_like(known.near))
    if ranks is not None:
        loss = loss + RANKING_WEIGHT * ranks
    now = _answers(network, _stats(network, known.whole, settings))
    moved = ((now - known.anchor) / SCORE_UNIT).square().mean()
    shifted: torch.Tensor = ((quality[:1] - known.quality[:1]) / SCORE_UNIT).square().mean()
    return loss + settings.anchor * (moved + shifted)


@torch.no_grad()
def _correct_attributes(network: PackshotNet, known: Sequence[_Known], settings: AdaptSettings) -> None:
    """Kernel ridge regression of what the attribute heads still lack, on their own landmarks; whole pictures keep
    their answers."""
    heads = network.quality.bias.numel()
    rows, lacking = [], []
    for each in known:
        z, of_whole = (network.damage(_stats(network, half, settings)) for half in (each.copies, each.whole))
        told = each.aspects.isfinite().all(dim=1)
        rows += [z[told], of_whole]
        lacking += [
            each.aspects[told] - network.attributes(z[told]),
            each.anchor[:, heads:] - network.attributes(of_whole),
        ]
    _correct(network.attributes, torch.cat(rows), torch.cat(lacking), settings.ridge)


def _correct(head: KernelHead, z: torch.Tensor, lacking: torch.Tensor, ridge: float) -> None:
    landmarks, gamma = head.landmarks.double(), head.log_gamma.double().exp()
    across = torch.exp(-gamma * torch.cdist(z.double(), landmarks).square())
    within = torch.exp(-gamma * torch.cdist(landmarks, landmarks).square())
    jitter = JITTER * torch.eye(len(landmarks), dtype=torch.float64, device=z.device)
    found = torch.linalg.solve(across.T @ across + ridge * within + jitter, across.T @ lacking.double())
    head.weights.add_(found.to(head.weights.dtype))
