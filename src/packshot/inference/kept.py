"""What a calibration found of one bundle on one kind of machine, and the graphs that it made, under PACKSHOT_HOME."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import openvino as ov
from pydantic import BaseModel, ConfigDict, ValidationError

from packshot.errors import PackshotError
from packshot.files import atomic_folder, write_json
from packshot.home import Home
from packshot.inference.lite_graph import source_digest
from packshot.inference.looking import Precision
from packshot.inference.openvino_runtime import Graphs

RECORD = "calibration.json"
FEATURES, INT8, REPAIR = "features.xml", "features-int8.xml", "repair.xml"


class CalibrationDamaged(PackshotError):
    """A kept calibration cannot be read."""

    exit_code = 65


class Measured(BaseModel):
    """One way to compute beside torch, on the same held-out pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Literal["torch", "f32", "bf16", "int8"]
    srcc: dict[str, float]
    """Set to rank correlation of the overall score with human scores."""
    srcc_torch: float
    """Rank correlation with the scores of torch."""
    mean_shift: float
    """Mean of the score minus that of torch."""
    max_shift: float
    """Largest difference of a score."""
    same_style: float
    """Share of pictures with the style that torch gives."""
    same_decision: float
    """Likewise for the first decision."""
    enhanced_psnr: float
    """Least PSNR, in dB, of enhanced pictures against those of torch."""
    images_per_s: float
    refused: str | None
    """Why it may not be chosen."""


class CalibrationRecord(BaseModel):
    """`calibration.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bundle_sha256: str
    openvino: str
    cpu: list[str]
    graphs_sha256: str
    """Of the code that the graphs are made of."""
    rows: int
    chosen: Literal["torch", "f32", "bf16", "int8"]
    measured: list[Measured]


@dataclass(frozen=True)
class Machine:
    """What decides, besides the bundle, whether a calibration still holds."""

    openvino: str
    cpu: tuple[str, ...]
    graphs: str

    @classmethod
    def here(cls) -> Machine:
        """This machine with this code."""
        capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return cls(ov.get_version(), tuple(sorted(capabilities)), source_digest())

    @property
    def key(self) -> str:
        """16 hex digits."""
        return hashlib.sha256(json.dumps([self.openvino, self.cpu, self.graphs]).encode()).hexdigest()[:16]


def folder_of(bundle_sha256: str) -> Path:
    """Where the calibration of a bundle for this machine lies, or would."""
    return Home.from_environment().runtime_of(bundle_sha256) / Machine.here().key


def keep(record: CalibrationRecord, graphs: Graphs, int8: Any) -> Path:
    """Keep a calibration with its graphs, in place of an earlier one; whole or not at all."""
    folder = folder_of(record.bundle_sha256)
    with atomic_folder(folder) as building:
        for name, graph in ((FEATURES, graphs.features), (INT8, int8), (REPAIR, graphs.repair)):
            ov.save_model(graph, building / name, compress_to_fp16=False)
        write_json(building / RECORD, record.model_dump(mode="json"))
    return folder


def read_record(folder: Path, bundle_sha256: str) -> CalibrationRecord | None:
    """The calibration in `folder`, None where there is none. Raises CalibrationDamaged, also where it is of another
    bundle."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record = CalibrationRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise CalibrationDamaged(f"{path} cannot be read; run `packshot calibrate --force`: {error}") from error
    if record.bundle_sha256 != bundle_sha256:
        raise CalibrationDamaged(f"{path} is of bundle {record.bundle_sha256[:12]}, not of {bundle_sha256[:12]}")
    return record


def read_graphs(folder: Path, precision: Precision) -> Graphs:
    """The graphs of a kept calibration. Raises CalibrationDamaged."""
    core = ov.Core()
    try:
        features, repair = (core.read_model(folder / name) for name in _files(precision))
    except RuntimeError as error:
        raise CalibrationDamaged(f"the graphs in {folder} cannot be read; run `packshot calibrate --force`") from error
    return Graphs(features, repair)


def graphs_digest(folder: Path, precision: Precision) -> str:
    """16 hex digits over the kept graphs: quantised anew they may score otherwise. Raises CalibrationDamaged."""
    digest = hashlib.sha256()
    try:
        for name in _files(precision):
            for ending in (".xml", ".bin"):
                digest.update(hashlib.sha256((folder / name).with_suffix(ending).read_bytes()).digest())
    except OSError as error:
        raise CalibrationDamaged(f"the graphs in {folder} cannot be read; run `packshot calibrate --force`") from error
    return digest.hexdigest()[:16]


def _files(precision: Precision) -> tuple[str, str]:
    return INT8 if precision == "int8" else FEATURES, REPAIR
