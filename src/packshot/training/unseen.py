"""How attributes are judged under damage that was never in training: one family of degradations left out at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from packshot.config import Settings
from packshot.degrade.catalogue import FAMILY_ATTRIBUTE, Family
from packshot.degrade.mixes import families_of
from packshot.model.network import PackshotNet
from packshot.model.parallel import one_core
from packshot.progress import track
from packshot.training.build import architecture_of
from packshot.training.dataset import Dataset, Pairs, Rows
from packshot.training.fit import rank_correlation
from packshot.training.warm_start import start_attributes

FEWEST_COPIES = 20
"""A family with fewer validation copies than this gets no figure."""


def unseen_family_figures(settings: Settings, data: Dataset, pairs: Pairs) -> dict[str, float]:
    """Rank correlation of the attributes' product with the full-reference score, on validation copies, by family.

    `degradations/srcc_seen/<family>`: from heads, in closed form, that learned from all families of the training
    copies; `degradations/srcc_unseen/<family>`: from heads, axes and standardisation to which the family was unknown.
    The means and the worst over families stand beside them. Empty without pairs.
    """
    families = [families_of(text) for text in pairs.index["degradations"]]
    single = pairs.attributes.isfinite().all(dim=1).numpy()
    split = pairs.index["split"].to_numpy(dtype=object)
    tested: dict[Family, Rows] = {}
    for family in sorted(FAMILY_ATTRIBUTE):
        mine = np.array([found == {family} for found in families], dtype=bool)
        rows = np.flatnonzero(mine & single & (split == "validation"))
        if len(rows) >= FEWEST_COPIES:
            tested[family] = rows
    if len(tested) < 2:
        return {}
    learn = np.flatnonzero(split == "train")
    with one_core():
        seen = _judged(settings, data, pairs, learn, np.concatenate(list(tested.values())))
        unseen = {
            family: _judged(settings, data, pairs, learn[[family not in families[row] for row in learn]], rows)
            for family, rows in track(tested.items(), "families left out", len(tested), "families")
        }
    found: dict[str, float] = {}
    for family, rows in tested.items():
        reference = 1 - pairs.severity[rows].numpy()
        for name, judged in (("seen", seen), ("unseen", unseen[family])):
            values = np.array([judged[row] for row in rows.tolist()])
            found[f"degradations/srcc_{name}/{family}"] = _agreement(values, reference)
    for name in ("seen", "unseen"):
        of_families = [found[f"degradations/srcc_{name}/{family}"] for family in tested]
        found[f"degradations/srcc_{name}_mean"] = float(np.mean(of_families))
        found[f"degradations/srcc_{name}_worst"] = min(of_families)
    return found


def _agreement(judged: npt.NDArray[np.float64], reference: npt.NDArray[np.float32]) -> float:
    """Spearman's rank correlation; 0 for a judge that says the same of all."""
    return 0.0 if np.ptp(judged) == 0 or np.ptp(reference) == 0 else rank_correlation(judged, reference)


@torch.no_grad()
def _judged(settings: Settings, data: Dataset, pairs: Pairs, learn: Rows, rows: Rows) -> dict[int, float]:
    """Product of the attributes of each of the pair rows `rows`, by heads that learned from the pair rows `learn`.

    The product, since damage of an unknown kind may show in any of them.
    """
    network = PackshotNet(architecture_of(settings, data.styles, 1, max(len(learn), 1)))
    start_attributes(network, data, data.of_splits("train"), pairs, learn, settings.training.seed)
    judged = network.eval().aspects(pairs.stats[rows]).prod(dim=1)
    return dict(zip(rows.tolist(), judged.tolist(), strict=True))
