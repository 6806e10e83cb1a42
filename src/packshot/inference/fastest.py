"""The runtime for a network as it was trained."""

from __future__ import annotations

from functools import partial

from packshot.inference.devices import on_cuda
from packshot.inference.runtime import OpenRuntime


def fastest_runtime(device: str) -> OpenRuntime:
    """The network as it was trained, to float32, by what is fastest: torch on a CUDA device, OpenVINO on a CPU.

    `device` is auto, cpu or cuda. Raises NoSuchDevice.
    """
    if on_cuda(device):
        from packshot.inference.torch_runtime import open_torch

        return partial(open_torch, device="cuda")
    from packshot.inference.openvino_runtime import open_openvino

    return open_openvino
