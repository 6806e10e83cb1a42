"""The closed-form start of a network: standardisation, PCA trunk, kernel ridge, style space, ridge classifier."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from packshot.model.network import PackshotNet, Trunk
from packshot.model.quality import KernelHead
from packshot.training.axes import DAMAGE, FLOOR, QUALITY, fit_trunk
from packshot.training.closed_form import (
    KernelRidge,
    kernel_ridge,
    kernel_ridge_of_first,
    kernel_ridge_without,
    principal_components,
    ridge_classifier,
    ridge_regression,
)
from packshot.training.dataset import Dataset, Pairs, Rows
from packshot.training.teaching import Lessons, lessons

FEWEST_RATED = 24
"""With fewer human scores than this the full-reference scores of the pairs teach the overall score."""
BLOCK_NORM = 10.0
"""Typical length of each block of the classifier's input, so that neither block outweighs the other."""
STYLE_ROWS = 1500
TEXT_SPREAD = 0.5
"""Root mean square of the text branch's first coordinate before its tanh, which is nearly linear there."""


@torch.no_grad()
def warm_start(
    network: PackshotNet,
    data: Dataset,
    rows: Rows,
    pairs: Pairs | None,
    pair_rows: Rows,
    seed: int,
    steepness: float = 0.0,
) -> None:
    """Fit everything that has a closed form on `rows` (training rows only), in place; deterministic.

    `steepness` holds a steep overall score against its kernel, see `kernel_ridge`.
    """
    start_trunk(network, data, rows, pairs, pair_rows, seed)
    if pairs is not None:
        start_attributes(network, data, rows, pairs, pair_rows, seed)
    refit_quality(network, data, rows, pairs, pair_rows, seed, steepness)
    start_style_space(network, data, rows, seed)
    _start_classifier(network, data, data.with_style(rows), seed)


@torch.no_grad()
def start_trunk(
    network: PackshotNet, data: Dataset, rows: Rows, pairs: Pairs | None, pair_rows: Rows, seed: int
) -> None:
    """Fit the axes of quality and style, and the embedding; in place, deterministic.

    The axes are those of the rated pictures where there are enough, since their ranks are the hardest to tell apart;
    degraded copies count only where they have to teach the overall score.
    """
    rated = data.with_quality(rows)
    scored, *_ = quality_targets(data, rated, pairs, pair_rows)
    seen = scored if len(rated) >= FEWEST_RATED else _with_copies(data.stats[rows], pairs, pair_rows)
    fit_trunk(network.trunk, seen, scored if len(scored) else data.stats[rows], QUALITY, seed)
    _start_embedding(network, data.stats[rows] if len(rows) else scored, seed)


@torch.no_grad()
def start_attributes(network: PackshotNet, data: Dataset, rows: Rows, pairs: Pairs, pair_rows: Rows, seed: int) -> None:
    """Fit the axes of damage and the attributes on the degraded copies `pair_rows`; in place, deterministic."""
    rated = data.with_quality(rows)
    pictures = data.stats[rated if len(rated) >= FEWEST_RATED else rows]
    seen = _with_copies(pictures, pairs, pair_rows)
    fit_trunk(network.damage, seen, pairs.stats[pair_rows] if len(pair_rows) else seen, DAMAGE, seed)
    told = pair_rows[pairs.attributes[pair_rows].isfinite().all(dim=1).numpy()]
    originals = pairs.clean[told].numpy()
    _start_kernel(network.damage, network.attributes, pairs.stats[told], pairs.attributes[told], originals, seed)


@torch.no_grad()
def refit_quality(
    network: PackshotNet,
    data: Dataset,
    rows: Rows,
    pairs: Pairs | None,
    pair_rows: Rows,
    seed: int,
    steepness: float = 0.0,
) -> KernelRidge | None:
    """Solve the quality head anew, in place, on the trunk as training left it.

    `rows` are training and validation rows: once training has stopped, those that stopped it may teach too; where there
    is a teacher, rows without a score as well. `steepness` is as in `warm_start`. Returns the solution; None where
    there is nothing to learn from.
    """
    rated = data.with_quality(rows)
    taught = lessons(data, rows, seed, steepness) if len(rated) >= FEWEST_RATED else None
    if taught is not None:
        return _start_taught(network, data, taught, seed, steepness)
    stats, scores, pictures = quality_targets(data, rated, pairs, pair_rows)
    return _start_kernel(network.trunk, network.quality, stats, scores[:, None], pictures, seed, steepness)


def _start_taught(network: PackshotNet, data: Dataset, taught: Lessons, seed: int, steepness: float) -> KernelRidge:
    head = network.quality
    z = network.trunk(data.stats[taught.rows].to(network.device)).double().cpu().numpy()
    scores, groups = taught.scores.double().numpy()[:, None], taught.groups
    found = kernel_ridge_of_first(z, scores, taught.rated, len(head.weights), seed, steepness, groups)
    _place(head, found)
    return found


@torch.no_grad()
def refit_heads(
    network: PackshotNet, data: Dataset, rated: Rows, fold: npt.NDArray[np.int64], like: KernelRidge, seed: int
) -> None:
    """Solve one quality head for each fold of the scored rows `rated`, on the rows of the other folds, in place.

    Width and ridge are those of `like`, which need not have seen all of these rows.
    """
    head = network.quality
    z = network.trunk(data.stats[rated].to(network.device)).double().cpu().numpy()
    scores = data.quality[rated].double().numpy()[:, None]
    _place(
        head, kernel_ridge_without(z, scores, fold, head.bias.numel(), len(head.weights), like.gamma, like.ridge, seed)
    )


def quality_targets(
    data: Dataset, rated: Rows, pairs: Pairs | None, pair_rows: Rows
) -> tuple[torch.Tensor, torch.Tensor, Rows]:
    """Statistics and scores that teach the overall head, and the picture that each is of: people's scores where there
    are enough, else full-reference ones."""
    if len(rated) >= FEWEST_RATED or pairs is None or not len(pair_rows):
        return data.stats[rated], data.quality[rated], rated
    return pairs.stats[pair_rows], 1 - pairs.severity[pair_rows], pairs.clean[pair_rows].numpy()


def _start_embedding(network: PackshotNet, stats: torch.Tensor, seed: int) -> None:
    """Principal components of all training pictures, with or without a score: drift is looked for in every kind."""
    standard = network.trunk.standardise(stats)
    centred = standard - standard.mean(dim=0)
    axes = principal_components(centred, network.embedding.shape[1], seed)
    # in units in which a typical pair of pictures is at distance 1
    unit = (2 * (centred @ axes.T).var(dim=0, unbiased=False).sum()).clamp_min(FLOOR).sqrt()
    network.embedding.copy_((axes / unit).T)


def _with_copies(pictures: torch.Tensor, pairs: Pairs | None, pair_rows: Rows) -> torch.Tensor:
    return pictures if pairs is None or not len(pair_rows) else torch.cat([pictures, pairs.stats[pair_rows]])


def _start_kernel(
    trunk: Trunk,
    head: KernelHead,
    stats: torch.Tensor,
    targets: torch.Tensor,
    pictures: Rows,
    seed: int,
    steepness: float = 0.0,
) -> KernelRidge | None:
    if not len(targets):
        return None
    z = trunk(stats.to(head.bias.device)).double().cpu().numpy()
    fitted = kernel_ridge(z, targets.double().numpy(), len(head.weights), seed, steepness, pictures)
    _place(head, fitted)
    return fitted


def _place(head: KernelHead, fitted: KernelRidge) -> None:
    count = len(fitted.weights)
    head.landmarks.zero_()
    head.weights.zero_()
    head.landmarks[:count] = torch.from_numpy(fitted.landmarks).float()
    head.weights[:count] = torch.from_numpy(fitted.weights).float()
    head.log_gamma.fill_(float(np.log(fitted.gamma)))
    head.bias.copy_(torch.from_numpy(fitted.bias).float())


@torch.no_grad()
def start_style_space(network: PackshotNet, data: Dataset, rows: Rows, seed: int, styled: bool = True) -> None:
    """Standardise and reduce Gram vectors by what `rows` show, in place; pictures that have a style count first, or,
    with `styled` off, as any other."""
    first = data.with_style(rows) if styled else rows[:0]
    others = np.random.default_rng(seed).permutation(np.setdiff1d(rows, first))
    some = np.sort(np.concatenate([first, others])[: max(STYLE_ROWS, len(first))])
    gram = data.gram[some].float()
    space = network.style_space
    space.centre.copy_(gram.mean(dim=0))
    deviation = gram.std(dim=0, unbiased=False)
    space.scale.copy_(torch.where(deviation > FLOOR, 1 / (deviation + FLOOR), 0.0))
    standard = space.standardise(gram)
    axes = principal_components(standard - standard.mean(dim=0), space.reduction.out_features, seed)
    space.reduction.weight.copy_(axes)


def _start_classifier(network: PackshotNet, data: Dataset, styled: Rows, seed: int) -> None:
    labels = data.style[styled]
    classifier = network.classifier
    if len(set(labels.tolist())) < 2:
        return
    vector = network.style_space(data.gram[styled].float())
    z = network.trunk(data.stats[styled])
    content = torch.cat([vector, z], dim=1)
    classifier.shift.copy_(content.mean(dim=0))
    centred = content - classifier.shift
    split = vector.shape[1]
    for block in (slice(0, split), slice(split, None)):
        length = centred[:, block].norm(dim=1).square().mean().sqrt().clamp_min(FLOOR)
        classifier.scale[block] = BLOCK_NORM / length
    scaled = (centred * classifier.scale).double().numpy()
    weights, bias = ridge_classifier(scaled, labels.tolist(), classifier.linear.out_features)
    # ridge scores are near probabilities; as logits they must spread further
    classifier.linear.weight.copy_(torch.from_numpy(weights * LOGIT_SCALE).float())
    classifier.linear.bias.copy_(torch.from_numpy(bias * LOGIT_SCALE).float())
    told = data.has_text[styled][:, 0] > 0
    if told.any():
        targets = np.eye(classifier.linear.out_features)[labels[told].numpy()]
        _start_text(network, data.text[styled][told].float(), targets - bias, seed)


def _start_text(network: PackshotNet, text: torch.Tensor, targets: npt.NDArray[np.float64], seed: int) -> None:
    """Text gives evidence of its own, added to that of the picture, which stays what it is where text is missing."""
    # not centred: absent text is zero, and that there is a text may tell something too
    axes = principal_components(text, network.text.projection.out_features, seed)
    spread = (text @ axes.T).square().mean(dim=0).max().sqrt().clamp_min(FLOOR)
    network.text.projection.weight.copy_(axes * (TEXT_SPREAD / spread))
    network.text.projection.bias.zero_()
    said = torch.tanh(network.text.projection(text))
    scale = BLOCK_NORM / float(said.norm(dim=1).square().mean().sqrt().clamp_min(FLOOR))
    weights = ridge_regression((said * scale).double().numpy(), targets)
    network.classifier.text.weight.copy_(torch.from_numpy(weights * scale * LOGIT_SCALE).float())


LOGIT_SCALE = 5.0
