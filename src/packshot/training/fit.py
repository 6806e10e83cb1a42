"""The fit loop: all tasks together from the closed-form start, with checkpoints and early stopping.

Everything random in an epoch is drawn from generators seeded by (seed, epoch), so a run that is resumed at an epoch
ends in the same numbers as one that was never broken.

With `accumulate` the optimiser takes one step for so many batches, down the mean of their losses; an epoch's last step
may be of fewer. Ranking still compares the pictures of one batch with one another, not those of all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from packshot.config import Recipe, TrainingSettings
from packshot.model.losses import (
    MultiTaskLoss,
    Terms,
    attribute_loss,
    enhance_loss,
    quality_loss,
    ranking_loss,
    style_loss,
)
from packshot.model.network import PackshotNet
from packshot.progress import say
from packshot.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimiser_tensors,
    prefixed,
    restore_optimiser,
    save_checkpoint,
)
from packshot.training.dataset import Dataset, Pairs, Rows
from packshot.training.distributed import Ranks, SharedFeatures
from packshot.training.recorder import NullRecorder, Recorder
from packshot.training.sources import FeatureSource, KeptFeatures
from packshot.training.warm_start import FEWEST_RATED

STYLE_BATCH = 64
PAIR_BATCH = 96
VALIDATION_PATCHES = 240
CLEAN_SHARE = 0.1
"""Share of the enhancer's batches that are undamaged pictures: they must stay as they are."""
GRADIENT_NORM = 5.0
FRESH = ("text.", "classifier.text", "classifier.mlp", "enhancer.")
UNDECAYED = ("quality.", "attributes.", "enhancer.luts")


@dataclass(frozen=True)
class Task:
    """What to learn from, and what to stop by. Rows index the data set, pair rows the pairs."""

    data: Dataset
    pairs: Pairs | None
    train: Rows
    validation: Rows
    train_pairs: Rows
    validation_pairs: Rows
    enhance: bool
    """False: without the enhancer, as in cross-validation."""


@dataclass
class Progress:
    """Where a run stands."""

    epoch: int = 0
    best_score: float = math.inf
    best_epoch: int = -1
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    network: PackshotNet,
    task: Task,
    source: FeatureSource,
    settings: TrainingSettings,
    *,
    checkpoints: Path | None = None,
    recorder: Recorder | None = None,
    ranks: Ranks | None = None,
    quiet: bool = False,
) -> Progress:
    """Train `network` in place, from the state it is in; it ends in the best state seen, the start included.

    `checkpoints` names a folder: a run stopped there goes on where it was. With several processes (`ranks`) each calls
    this with the same arguments; one of them writes. Returns the history: one entry an epoch, the first (epoch -1)
    being the start.
    """
    ranks = ranks or Ranks()
    if ranks.world > 1 and not isinstance(source, KeptFeatures):
        source = SharedFeatures(source, ranks)
    told = recorder if recorder is not None and ranks.leads else NullRecorder()
    loop = _Loop(network, task, source, settings, checkpoints, told, ranks, quiet or not ranks.leads)
    return loop.run()


@dataclass(frozen=True)
class _MicroStep:
    """Whether a batch is perceived, whether it is enhanced, and how much of the epoch is over before it."""

    perceive: bool
    enhance: bool
    share: float


class _Step(nn.Module):
    """One batch's loss, as a module, so that its gradients can be averaged over processes."""

    def __init__(self, network: PackshotNet, loss: MultiTaskLoss, terms: Callable[..., Terms]) -> None:
        super().__init__()
        self.network, self.loss, self._terms = network, loss, terms

    def forward(self, generator: np.random.Generator, perceive: bool, enhance: bool) -> tuple[torch.Tensor, Terms]:
        """The loss and the terms it is of."""
        terms = self._terms(generator, perceive, enhance)
        return self.loss(terms), terms


class _Loop:
    def __init__(
        self,
        network: PackshotNet,
        task: Task,
        source: FeatureSource,
        settings: TrainingSettings,
        checkpoints: Path | None,
        recorder: Recorder,
        ranks: Ranks,
        quiet: bool,
    ) -> None:
        self.ranks = ranks
        self.network, self.task, self.source = network, task, source
        self.settings, self.recipe = settings, settings.chosen
        self.folder, self.recorder, self.quiet = checkpoints, recorder, quiet
        weights = settings.loss.model_dump(exclude={"weighting"})
        self.loss = MultiTaskLoss(weights, settings.loss.weighting).to(network.device)
        # ranking repeats what the quality loss says; by itself it is too uneven to stop by
        self.measure = MultiTaskLoss(weights | {"ranking": 0.0}, "fixed").to(network.device)
        precision = self.recipe.enhance_precision
        network.enhancer.half_precision = precision == "bf16" or (precision == "auto" and has_bf16(network.device))
        self.optimiser = build_optimiser(network, self.loss, self.recipe)
        self.step = ranks.wrap(_Step(network, self.loss, self._terms))
        self.progress = Progress()
        self.best: dict[str, torch.Tensor] = {}
        self.rated = task.data.with_quality(task.train)
        self.styled = task.data.with_style(task.train)
        self.class_weights = class_weights(task.data, self.styled).to(network.device)

    def run(self) -> Progress:
        self.ranks.wait()
        kept = load_checkpoint(self.folder) if self.folder else None
        if kept is None:
            self._begin()
        else:
            self._resume(kept)
        while self.progress.epoch < self.recipe.epochs and not self._out_of_patience():
            self._epoch()
        self.network.load_state_dict(self.best, strict=False)
        self.network.eval()
        return self.progress

    def _out_of_patience(self) -> bool:
        return self.progress.epoch - 1 - self.progress.best_epoch >= self.recipe.patience

    def _begin(self) -> None:
        self.network.eval()
        with torch.no_grad():
            terms = self._terms(np.random.default_rng([self.settings.seed, 0]), True, self.task.enhance)
        self.loss.start({name: torch.tensor(self.ranks.mean(float(value))) for name, value in terms.items()})
        terms, figures = self._validate()
        self.measure.start(terms)
        self._note(-1, terms, figures, 0.0)

    def _resume(self, kept: Checkpoint) -> None:
        self.network.load_state_dict(kept.part("network"), strict=False)
        self.best = {name: value.to(self.network.device) for name, value in kept.part("best").items()}
        self.loss.load_state_dict(kept.part("loss"))
        self.measure.load_state_dict(kept.part("measure"))
        restore_optimiser(self.optimiser, kept.part("optimiser"))
        self.progress = Progress(**kept.state)
        say(f"train: going on after epoch {self.progress.epoch} of {self.recipe.epochs}")

    def _epoch(self) -> None:
        begun = time.monotonic()
        epoch = self.progress.epoch
        torch.manual_seed(self.settings.seed * 100_003 + epoch)
        generator = np.random.default_rng([self.settings.seed, 1, epoch])
        self.network.train()
        totals: dict[str, list[float]] = {}
        steps, size = list(self._steps()), self.recipe.accumulate
        for start in range(0, len(steps), size):
            self._set_rates((epoch + steps[start].share) / self.recipe.epochs)
            self._descend(steps[start : start + size], generator, totals)
        terms, figures = self._validate()
        figures |= {f"train/{name}": self.ranks.mean(float(np.mean(values))) for name, values in totals.items()}
        self._note(epoch, terms, figures, time.monotonic() - begun)
        self.progress.epoch = epoch + 1
        self._keep()

    def _steps(self) -> Iterator[_MicroStep]:
        rows = max(len(self.rated), len(self.styled)) or len(self.task.train_pairs)
        perceiving = max(1, math.ceil(rows / self.recipe.batch_size))
        enhancing = self.recipe.enhance_steps if self.task.enhance else 0
        count = max(perceiving, enhancing)
        for step in range(count):
            perceive = (step + 1) * perceiving // count > step * perceiving // count
            yield _MicroStep(perceive, step < enhancing, step / count)

    def _set_rates(self, done: float) -> None:
        """Cosine from the full rate to a twentieth, after a short rise."""
        share = min(1.0, 0.2 + 4 * self.recipe.epochs * done / 4)
        share *= 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        for group in self.optimiser.param_groups:
            group["lr"] = group["full_rate"] * share

    def _descend(
        self, steps: Sequence[_MicroStep], generator: np.random.Generator, totals: dict[str, list[float]]
    ) -> None:
        """One step of the optimiser down the mean loss of `steps`, whose terms are added to `totals`."""
        self.optimiser.zero_grad(set_to_none=True)
        learned = False
        for each in steps:
            with nullcontext() if each is steps[-1] else self.ranks.apart(self.step):
                loss, terms = self.step(generator, each.perceive, each.enhance)
                if loss.requires_grad:
                    (loss / len(steps)).backward()
                    learned = True
            for name, value in terms.items():
                totals.setdefault(name, []).append(float(value.detach()))
        if not learned:
            return
        for group in self.optimiser.param_groups:
            # each by itself: a large gradient of one head must not slow the others
            nn.utils.clip_grad_norm_(group["params"], GRADIENT_NORM)
        self.optimiser.step()

    def _terms(self, generator: np.random.Generator, perceive: bool, enhance: bool) -> Terms:
        terms: Terms = {}
        if perceive:
            rated = draw(generator, self.rated, self.recipe.batch_size)
            styled = draw(generator, self.styled, STYLE_BATCH)
            copies = draw(generator, self.task.train_pairs, PAIR_BATCH)
            terms = self._perception(rated, styled, copies)
        if enhance and self.task.pairs is not None and len(self.task.train_pairs):
            terms["enhance"] = self._enhancement(generator)
        return terms

    def _perception(self, rated: Rows, styled: Rows, copies: Rows) -> Terms:
        found: dict[str, torch.Tensor | None] = {}
        ranked: list[torch.Tensor | None] = []
        if len(rated):
            data, device = self.task.data, self.network.device
            stats = self.source.rows(rated).stats
            predicted = self.network.overall(self.network.trunk(stats))
            target = data.quality[rated].to(device)
            found["quality"] = quality_loss(predicted, target)
            ranked.append(ranking_loss(predicted, target, data.source[rated].to(device)))
            if self.settings.loss.gradient_norm:
                found["gradient_norm"] = self.network.steepness(stats)
        if len(styled):
            found["style"] = self._style(styled)
        if len(copies):
            found |= self._copies(copies, ranked)
        known = [each for each in ranked if each is not None]
        if known:
            found["ranking"] = torch.stack(known).mean()
        return {name: value for name, value in found.items() if value is not None}

    def _style(self, styled: Rows) -> torch.Tensor | None:
        data, device = self.task.data, self.network.device
        features = self.source.rows(styled)
        text = mask = None
        if data.text.shape[1]:
            text, mask = data.text[styled].float().to(device), data.has_text[styled].float().to(device)
        _, logits = self.network.style(self.network.trunk(features.stats), features.gram, text, mask)
        kind = self.network.architecture.style_classifier
        return style_loss(logits, data.style[styled].to(device), self.class_weights, kind)

    def _copies(self, copies: Rows, ranked: list[torch.Tensor | None]) -> dict[str, torch.Tensor | None]:
        """Attributes of degraded copies and their clean originals, which also must rank above them."""
        pairs, device = self.task.pairs, self.network.device
        assert pairs is not None
        both = np.concatenate([copies, pairs.clean.numpy()[copies]])
        stats = self.source.pairs(both)
        nearness = (1 - pairs.severity[both]).to(device)
        predicted = self.network.overall(self.network.trunk(stats))
        ranked.append(ranking_loss(predicted, nearness, torch.from_numpy(pairs.clean.numpy()[both]).to(device)))
        attributes = attribute_loss(self.network.aspects(stats), pairs.attributes[both].to(device))
        found: dict[str, torch.Tensor | None] = {"attributes": attributes}
        if len(self.rated) < FEWEST_RATED:
            found["quality"] = quality_loss(predicted, nearness)
        return found

    def _enhancement(self, generator: np.random.Generator) -> torch.Tensor:
        pairs = self.task.pairs
        assert pairs is not None
        rows = draw(generator, pairs.repairable(self.task.train_pairs), self.recipe.enhance_batch_size)
        clean_too = generator.random(len(rows)) < CLEAN_SHARE
        rows = np.where(clean_too, pairs.clean.numpy()[rows], rows)
        patch = generator.integers(pairs.patches.shape[1], size=len(rows))
        degraded, clean = patch_pairs(pairs, rows, patch, self.network.device)
        turns, mirrored = int(generator.integers(4)), bool(generator.random() < 0.5)
        degraded, clean = (_turned(each, turns, mirrored) for each in (degraded, clean))
        codes = self.network.enhancer_codes(self.source.pairs(rows))
        # this process's patches, weighted so that the mean over processes is the mean over patches
        mine, weight = self.ranks.turn(len(clean))
        return weight * enhance_loss(self.network.enhancer(degraded[mine], codes.of(mine)), clean[mine])

    @torch.no_grad()
    def _validate(self) -> tuple[Terms, dict[str, float]]:
        self.network.eval()
        task, data = self.task, self.task.data
        rated, styled = data.with_quality(task.validation), data.with_style(task.validation)
        terms = self._perception(rated, styled, task.validation_pairs)
        figures = {f"validation/{name}_loss": float(value) for name, value in terms.items()}
        if len(rated) > 2:
            predicted = self.network.overall(self.network.trunk(self.source.rows(rated).stats)).cpu()
            figures["validation/srcc"] = rank_correlation(predicted.numpy(), data.quality[rated].numpy())
        if len(styled):
            features = self.source.rows(styled)
            _, logits = self.network.style(self.network.trunk(features.stats), features.gram)
            right = logits.argmax(dim=1).cpu() == data.style[styled]
            figures["validation/style_accuracy"] = float(right.float().mean())
        if task.enhance and len(task.validation_pairs):
            terms["enhance"], gain = self._validate_enhancer()
            figures |= {"validation/enhance_loss": float(terms["enhance"]), "validation/psnr_gain": gain}
        return terms, {name: value for name, value in figures.items() if math.isfinite(value)}

    def _validate_enhancer(self) -> tuple[torch.Tensor, float]:
        pairs = self.task.pairs
        assert pairs is not None
        generator = np.random.default_rng([self.settings.seed, 2])
        shown = pairs.repairable(self.task.validation_pairs)
        spoiled = shown[pairs.index["copy"].to_numpy()[shown] > 0]
        rows = np.sort(draw(generator, spoiled, VALIDATION_PATCHES))
        degraded, clean = patch_pairs(pairs, rows, np.zeros(len(rows), dtype=np.int64), self.network.device)
        enhanced = self.network.enhancer(degraded, self.network.enhancer_codes(self.source.pairs(rows)))
        gain = psnr(enhanced.clamp(0, 1), clean) - psnr(degraded, clean)
        return enhance_loss(enhanced, clean), float(gain.mean())

    def _note(self, epoch: int, terms: Terms, figures: dict[str, float], seconds: float) -> None:
        score = float(self.measure(terms))
        figures = {**figures, "validation/score": score}
        better = score < self.progress.best_score
        if better or epoch < 0:
            self.progress.best_score, self.progress.best_epoch = score, epoch
            self.best = {name: value.detach().clone() for name, value in learned_state(self.network).items()}
        self.progress.history.append({"epoch": float(epoch), **figures})
        self.recorder.metrics(figures, max(epoch + 1, 0))
        if not self.quiet:
            say(_line(epoch, self.recipe.epochs, figures, seconds, better))

    def _keep(self) -> None:
        if self.folder is None or not self.ranks.leads:
            return
        tensors = {
            **prefixed("network", learned_state(self.network)),
            **prefixed("best", self.best),
            **prefixed("loss", self.loss.state_dict()),
            **prefixed("measure", self.measure.state_dict()),
            **prefixed("optimiser", optimiser_tensors(self.optimiser)),
        }
        save_checkpoint(self.folder, Checkpoint(tensors, dict(vars(self.progress))))


def _line(epoch: int, epochs: int, figures: Mapping[str, float], seconds: float, better: bool) -> str:
    shown = ("srcc", "style_accuracy", "psnr_gain", "score")
    parts = [f"{name} {figures[f'validation/{name}']:.3f}" for name in shown if f"validation/{name}" in figures]
    name = "start" if epoch < 0 else f"epoch {epoch + 1}/{epochs}"
    return f"train: {name}: {', '.join(parts)}{' (best)' if better else ''} in {seconds:.1f} s"


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def draw(generator: np.random.Generator, rows: Rows, count: int) -> Rows:
    """At most `count` of `rows`, without repetition, in random order."""
    chosen: Rows = rows[generator.permutation(len(rows))[:count]]
    return chosen


def patch_pairs(pairs: Pairs, rows: Rows, patch: Rows, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Degraded and clean patches, each N x 3 x side x side in 0..1."""
    chosen = torch.from_numpy(patch)
    degraded = pairs.patches[torch.from_numpy(rows), chosen]
    clean = pairs.patches[pairs.clean[rows], chosen]
    first, second = (each.to(device).permute(0, 3, 1, 2).float() / 255 for each in (degraded, clean))
    return first, second


def _turned(patches: torch.Tensor, turns: int, mirrored: bool) -> torch.Tensor:
    patches = torch.rot90(patches, turns, dims=(2, 3))
    return patches.flip(3) if mirrored else patches


def psnr(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio of each of N images in 0..1, dB; at most 60, so that identity stays finite."""
    error = ((first - second) ** 2).mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp_min(1e-6))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation; NaN where one side is constant."""
    return float(spearmanr(first, second).statistic)


def class_weights(data: Dataset, styled: Rows) -> torch.Tensor:
    """Inverse frequencies of the classes, mean 1 over those present."""
    counts = torch.bincount(data.style[styled], minlength=max(len(data.styles), 1)).float()
    weights = torch.where(counts > 0, 1 / counts.clamp_min(1), 0.0)
    return weights / weights[weights > 0].mean() if bool((weights > 0).any()) else torch.ones_like(weights)


def learned_state(network: PackshotNet) -> dict[str, torch.Tensor]:
    """The state without the backbone where that is frozen: it comes with its name."""
    live = any(parameter.requires_grad for parameter in network.backbone.parameters())
    return {name: value for name, value in network.state_dict().items() if live or not name.startswith("backbone.")}


def build_optimiser(network: PackshotNet, loss: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW: new layers at the full rate, closed-form ones and unfrozen backbone stages at their shares of it."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(_rate_and_decay(name, recipe), []).append(parameter)
    learned = [each for each in loss.parameters() if each.requires_grad]
    if learned:
        groups.setdefault((recipe.learning_rate, 0.0), []).extend(learned)
    options: list[dict[str, Any]] = [
        {"params": parameters, "lr": rate, "full_rate": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    return torch.optim.AdamW(options, betas=(0.9, 0.99))


def _rate_and_decay(name: str, recipe: Recipe) -> tuple[float, float]:
    decay = 0.0 if name.startswith(UNDECAYED) or name.endswith("bias") else recipe.weight_decay
    if name.startswith("backbone."):
        return recipe.learning_rate * recipe.backbone_lr_factor, decay
    if name.startswith(("trunk.", "damage.")):
        return recipe.learning_rate * recipe.trunk_lr_factor, decay
    if name.startswith(FRESH):
        return recipe.learning_rate, decay
    return recipe.learning_rate * recipe.warm_lr_factor, decay
