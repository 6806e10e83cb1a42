"""A bundle's network in torch: written, read again to learn further, and asked as it is."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save

from packshot.bundle import RECORD, WEIGHTS, BundleRecord, Judge, read_network
from packshot.faults.detector import Detector
from packshot.files import write_bytes, write_json
from packshot.inference.gain import Forest
from packshot.inference.torch_runtime import TorchRuntime, network_of, source_of
from packshot.model.network import PackshotNet


def save_bundle(folder: Path, network: PackshotNet, record: BundleRecord) -> None:
    """Write weights and record; the same network gives the same bytes."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(state))
    write_json(folder / RECORD, record.model_dump(mode="json", exclude_none=True))


def read_trained(folder: Path) -> PackshotNet:
    """The network of a bundle folder, on the CPU, for inference. Raises BundleError, WeightsUnreadable."""
    return network_of(read_network(folder))


def judge_of(
    network: PackshotNet,
    record: BundleRecord,
    threads: int = 0,
    detector: Detector | None = None,
    gain: Forest | None = None,
) -> Judge:
    """What a network says as it is now, computed by torch: what it learns later, the judge does not know."""
    return Judge(source_of(network), record, TorchRuntime(network, threads), None, detector, gain)
