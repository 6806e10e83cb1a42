"""How far the enhancer's guess of tones is followed, chosen on validation pictures."""

from __future__ import annotations

import numpy as np
import torch

from packshot.model.network import PackshotNet
from packshot.progress import say
from packshot.training.dataset import Pairs, Rows
from packshot.training.fit import Task, patch_pairs, psnr
from packshot.training.sources import FeatureSource

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
BATCH = 24
MOST_PAIRS = 480


@torch.no_grad()
def fit_tone_trust(network: PackshotNet, task: Task, source: FeatureSource) -> dict[float, float]:
    """Set `network.enhancer.tone_trust` to the share that gains most PSNR on degraded validation patches.

    Returns the gain in dB at each share. Without validation pairs nothing changes.
    """
    pairs = task.pairs
    if pairs is None:
        return {}
    rows = pairs.repairable(task.validation_pairs)
    rows = rows[pairs.index["copy"].to_numpy()[rows] > 0]
    if not len(rows):
        return {}
    network.eval()
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_PAIRS)).astype(np.int64)]
    gains = {share: _gain(network, pairs, some, source, share) for share in SHARES}
    best = max(gains, key=lambda share: gains[share])
    network.enhancer.tone_trust.fill_(best)
    told = ", ".join(f"{share:g}: {gain:+.2f}" for share, gain in gains.items())
    say(f"train: tones are followed by {best:g}; dB on {len(some)} validation patches by share: {told}")
    return gains


def _gain(network: PackshotNet, pairs: Pairs, rows: Rows, source: FeatureSource, share: float) -> float:
    network.enhancer.tone_trust.fill_(share)
    found = []
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        degraded, clean = patch_pairs(pairs, some, np.zeros(len(some), dtype=np.int64), network.device)
        enhanced = network.enhancer(degraded, network.enhancer_codes(source.pairs(some))).clamp(0, 1)
        found.append(psnr(enhanced, clean) - psnr(degraded, clean))
    return float(torch.cat(found).mean())
