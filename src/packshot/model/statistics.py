"""What is kept of a feature map: mean and deviation of each channel, and the Gram matrix between channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F  # noqa: N812

from packshot.model.architecture import gram_stages


def stage_statistics(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean, then deviation over space, of each channel of each map: N x sum(2 * channels), float32."""
    parts = []
    for values in maps:
        variance, mean = torch.var_mean(values.flatten(2).float(), dim=2, unbiased=False)
        parts += [mean, (variance + 1e-10).sqrt()]
    return torch.cat(parts, dim=1)


def gram_vector(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Upper triangles of the Gram matrices of the mid stages, N x gram_size, float32.

    G = F F^T / (h w) as in Gatys et al. (2016), then the signed square root and the L2 norm of each stage as in
    bilinear pooling (Lin et al., 2015).
    """
    parts = []
    for place in gram_stages([values.shape[1] for values in maps]):
        flat = maps[place].flatten(2).float()
        gram = flat @ flat.transpose(1, 2) / flat.shape[2]
        rows, columns = torch.triu_indices(gram.shape[1], gram.shape[2], device=gram.device)
        upper = gram[:, rows, columns]
        rooted = upper.sign() * (upper.abs() + 1e-12).sqrt()
        parts.append(F.normalize(rooted, dim=1))
    return torch.cat(parts, dim=1)


def statistics_of_views(
    backbone: Callable[[torch.Tensor], Sequence[torch.Tensor]], pixels: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stage statistics of all views side by side, and the Gram vector of the first.

    `backbone` gives the maps of a view. A view of the size of the one before is not looked at
    again. Raises ValueError where there is no view.
    """
    stats: list[torch.Tensor] = []
    gram: torch.Tensor | None = None
    previous: torch.Tensor | None = None
    for view in pixels:
        if previous is None or view.shape != previous.shape:
            maps = backbone(view)
            gram = gram_vector(maps) if gram is None else gram
            latest = stage_statistics(maps)
        stats.append(latest)
        previous = view
    if gram is None:
        raise ValueError("long_sides is empty: a network needs at least one view")
    return torch.cat(stats, dim=1), gram
