"""The model that scores a batch, and who it is. How it is found is another matter: `packshot.scoring.scorer`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from packshot.config import ScoringSettings
from packshot.evaluation.thresholds import InForce, Rated, in_force
from packshot.scoring.runtime import TORCH

if TYPE_CHECKING:
    from packshot.bundle import Judgement, Mended
    from packshot.registry.lineage import Lineage
    from packshot.registry.shop_scales import ShopScale

Pixels = NDArray[np.uint8]


class JudgeLike(Protocol):
    """What scoring asks of a model; `packshot.bundle.Judge` is the one in use. Two threads ask at a time."""

    def judge(self, images: Sequence[Pixels], texts: Sequence[str | None] | None = None) -> list[Judgement]:
        """One judgement for each H x W x 3 uint8 RGB image, the same alone or among others."""

    def enhance(self, image: Pixels) -> Pixels:
        """The image enhanced at full resolution, same shape."""


@runtime_checkable
class MenderLike(Protocol):
    """A model that may know what its repairs gain: `packshot.bundle.Judge` again."""

    @property
    def mends(self) -> bool:
        """Whether it knows."""

    def mend(self, image: Pixels, max_harm: float, faults: Collection[str] | None = None) -> Mended | None:
        """The best repair of an image, None where none is sure to gain; see `packshot.bundle.Judge.mend`."""


@dataclass(frozen=True)
class Scorer:
    """A model with its lineage. `load` opens it, once, when `judge` is first asked for; `digest` is the sha256 of its
    files, so that two bundles of equal bytes are one; `rated`, where it brings them, are the scored pictures that its
    thresholds are tuned on; `runtime` is what computes, in words; `folder` holds the files, and is None for a model
    of another kind; `scale` is the shop's own, where one is in force for these files."""

    load: Callable[[], JudgeLike]
    lineage: Lineage
    digest: str
    rated: Rated | None = field(default=None, compare=False)
    runtime: str = TORCH
    folder: Path | None = None
    scale: ShopScale | None = None

    @cached_property
    def judge(self) -> JudgeLike:
        """The loaded model. Raises what `load` raises, BundleError for a damaged bundle."""
        return self.load()

    def bounds(self, settings: ScoringSettings) -> InForce:
        """The thresholds that decide on its scores: of the shop's scale where there is one, unless they are fixed; and
        the faults that its labels accept."""
        if self.scale is None:
            return in_force(settings, self.rated)
        accepted = self.scale.accepted_faults
        if settings.thresholds == "fixed":
            return replace(in_force(settings, self.rated), accepted_faults=accepted)
        why = f"least cost by {self.scale.labels} labels of the shop, scale {self.scale.id}"
        return InForce(self.scale.line.thresholds(settings.costs), "shop", why, accepted)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "judge"}  # each process loads its own
