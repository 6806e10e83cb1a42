"""A network's features and enhancement by OpenVINO on a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch

from packshot.inference.graphs import feature_graph, repair_graph
from packshot.inference.runtime import stacked
from packshot.inference.signal_on_cpu import signal_on_cpu
from packshot.model.architecture import UNSHUFFLE
from packshot.model.enhancer import Codes, Enhancer, enhance_tiled
from packshot.model.network import Features, PackshotNet
from packshot.model.parallel import each_on_one_core, worker_count
from packshot.model.preprocess import Image, views

Precision = Literal["f32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "int8")
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Graphs:
    """What of a network OpenVINO computes: see `packshot.inference.graphs`. `features` may be quantised."""

    features: Any
    repair: Any


def graphs_of(network: PackshotNet) -> Graphs:
    """The graphs of a network as it is, in float32."""
    return Graphs(feature_graph(network.backbone), repair_graph(network.enhancer))


class OpenVinoRuntime:
    """Each image on one core, as many at a time as there are threads: an image's features do not depend on others."""

    def __init__(self, network: PackshotNet, graphs: Graphs, precision: Precision, threads: int) -> None:
        self._network = network
        self._workers = worker_count(threads)
        self._features = Requests(graphs.features, "f32" if precision == "int8" else precision, threads)
        repair = Requests(graphs.repair, "f32" if precision == "f32" else "bf16", threads)
        self._enhancer = _Repairing(network.enhancer, repair)

    def features(self, images: Sequence[Image]) -> Features:
        """See Runtime."""
        return stacked(list(each_on_one_core(self._one, images, min(self._workers, len(images)))))

    def enhanced(self, image: Image, codes: Codes) -> Image:
        """See Runtime."""
        pixels = torch.from_numpy(np.array(image, copy=True))
        return np.asarray(enhance_tiled(self._enhancer, pixels, codes).numpy(), dtype=np.uint8)

    def _one(self, image: Image) -> Features:
        shown = views(image, self._network.architecture.long_sides)
        seen: dict[int, tuple[Floats, ...]] = {}
        with self._features.one() as request:
            for view in shown:
                if id(view) not in seen:  # equal views are the same object
                    seen[id(view)] = request(view[None])
        signal = torch.from_numpy(signal_on_cpu(shown[0]))
        stats = [torch.from_numpy(seen[id(view)][0]) for view in shown]
        return Features(torch.cat([*stats, signal], dim=1), torch.from_numpy(seen[id(shown[0])][1]))


class _Repairing:
    """An enhancer whose convolutions OpenVINO computes."""

    def __init__(self, enhancer: Enhancer, requests: Requests) -> None:
        self._enhancer = enhancer
        self._requests = requests
        self.reach = enhancer.reach

    def __call__(self, pixels: torch.Tensor, codes: Codes) -> torch.Tensor:
        height, width = pixels.shape[2:]
        padding = ((0, 0), (0, 0), (0, height % UNSHUFFLE), (0, width % UNSHUFFLE))
        padded = np.pad(pixels.numpy(), padding, mode="edge")
        with self._requests.one() as request:
            (change,) = request(padded, codes.modulation.numpy())
        return self._enhancer.toned(pixels + torch.from_numpy(change)[..., :height, :width], codes)


class Requests:
    """A compiled graph that as many threads may ask at a time, each on one core.

    `threads` 0: all cores that this process may use, with a thread pinned to each. Who names a number shares the
    machine, and a pinned thread cannot leave a core that somebody else works on.
    """

    def __init__(self, graph: Any, precision: Literal["f32", "bf16"], threads: int) -> None:
        workers = worker_count(threads)
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": workers,
            "NUM_STREAMS": workers,
            "ENABLE_CPU_PINNING": threads == 0,
        }
        compiled = ov.Core().compile_model(graph, "CPU", options)
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(workers):
            self._free.put(compiled.create_infer_request())

    @contextmanager
    def one(self) -> Iterator[Request]:
        """A request that nobody else uses meanwhile."""
        request = self._free.get()
        try:
            yield Request(request)
        finally:
            self._free.put(request)


@dataclass(frozen=True)
class Request:
    """One of them: inputs to outputs, both in the order of the graph."""

    request: Any

    def __call__(self, *inputs: npt.NDArray[Any]) -> tuple[Floats, ...]:
        """Waits for the result."""
        given = {place: np.ascontiguousarray(values) for place, values in enumerate(inputs)}
        found = self.request.infer(given, share_inputs=True)
        return tuple(found[place] for place in range(len(found)))
