"""Compiled graphs that several threads may ask, and the backbone as a function of the views of a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import openvino as ov

from packshot.inference.features import Features
from packshot.model.parallel import worker_count
from packshot.model.preprocess import Image

Precision = Literal["f32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "int8")
Floats = npt.NDArray[np.float32]


class Looking:
    """A feature graph as a function of the views of one image; several threads may ask, each on one core."""

    def __init__(self, graph: Any, precision: Precision, threads: int) -> None:
        self._requests = Requests(graph, "f32" if precision == "int8" else precision, threads)

    def __call__(self, shown: Sequence[Image]) -> Features:
        """What the backbone says of the views (`packshot.model.preprocess.views`) of one image, N is 1."""
        seen: dict[int, tuple[Floats, ...]] = {}
        with self._requests.one() as request:
            for view in shown:
                if id(view) not in seen:  # equal views are the same object
                    seen[id(view)] = tuple(each.copy() for each in request(view[None]))
        stats = np.concatenate([seen[id(view)][0] for view in shown], axis=1)
        return Features(stats, seen[id(shown[0])][1])


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
