"""A network's features and enhancement by OpenVINO on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from packshot.errors import PackshotError
from packshot.inference.features import Features
from packshot.inference.lite_graph import is_lite, lite_feature_graph, repair_graph
from packshot.inference.looking import Looking, Precision, Requests
from packshot.inference.runtime import stacked
from packshot.inference.signal_on_cpu import signal_on_cpu
from packshot.inference.tones import Codes, Tones, enhance_tiled
from packshot.inference.weights import Source
from packshot.model.architecture import UNSHUFFLE, residual_reach
from packshot.model.parallel import each_on_one_core, worker_count
from packshot.model.preprocess import Image, views

Floats = npt.NDArray[np.float32]


class TorchMissing(PackshotError):
    """A backbone can be converted by torch alone, and that is not installed."""

    exit_code = 69


@dataclass(frozen=True)
class Graphs:
    """What of a network OpenVINO computes: see `packshot.inference.lite_graph`. `features` may be quantised."""

    features: Any
    repair: Any


def graphs_of(source: Source) -> Graphs:
    """The graphs of a network as it is, in float32. Raises TorchMissing."""
    return Graphs(_features_of(source), repair_graph(source))


def _features_of(source: Source) -> Any:
    if is_lite(source.architecture.backbone):
        return lite_feature_graph(source)
    try:
        from packshot.inference.converted_graph import feature_graph
        from packshot.inference.torch_runtime import network_of
    except ModuleNotFoundError as error:
        raise TorchMissing(
            f"backbone {source.architecture.backbone} is converted by torch, and {error.name} is not installed: "
            "pip install 'packshot[train]'"
        ) from error
    return feature_graph(network_of(source).backbone)


def open_openvino(source: Source, threads: int, precision: Precision = "f32") -> OpenVinoRuntime:
    """An OpenRuntime."""
    return OpenVinoRuntime(source, graphs_of(source), precision, threads)


class OpenVinoRuntime:
    """Each image on one core, as many at a time as there are threads: an image's features do not depend on others."""

    def __init__(self, source: Source, graphs: Graphs, precision: Precision, threads: int) -> None:
        self._sides = source.architecture.long_sides
        self._workers = worker_count(threads)
        self._look = Looking(graphs.features, precision, threads)
        self._repair = Requests(graphs.repair, "f32" if precision == "f32" else "bf16", threads)
        self._reach = residual_reach(source.architecture.residual_blocks)

    def features(self, images: Sequence[Image]) -> Features:
        """See Runtime."""
        if len(images) == 1:
            return self._one(images[0])
        return stacked(list(each_on_one_core(self._one, images, min(self._workers, len(images)))))

    def enhanced(self, image: Image, codes: Codes, tones: Tones) -> Image:
        """See Runtime."""
        return enhance_tiled(image, tones, codes.modulation, self._change, self._reach)

    def _change(self, pixels: Image, modulation: Floats) -> Floats:
        height, width = pixels.shape[:2]
        padded = np.pad(pixels, ((0, height % UNSHUFFLE), (0, width % UNSHUFFLE), (0, 0)), mode="edge")
        with self._repair.one() as request:
            (change,) = request(padded[None], modulation)
            return change[0, :height, :width].copy()

    def _one(self, image: Image) -> Features:
        shown = views(image, self._sides)
        found = self._look(shown)
        return Features(np.concatenate([found.stats, signal_on_cpu(shown[0])], axis=1), found.gram)
