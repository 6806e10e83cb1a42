"""Which runtime scores: OpenVINO in float32 or in the precision that a calibration chose, or torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.home import Home
from packshot.progress import say

if TYPE_CHECKING:  # what computes takes a while to import: only once it is known which model scores
    from packshot.inference.looking import Precision
    from packshot.inference.openvino_runtime import Graphs
    from packshot.inference.runtime import OpenRuntime, Runtime
    from packshot.inference.weights import Source

TORCH: Final = "torch"


class NotCalibrated(PackshotError):
    """Int8 is asked for, and nobody has calibrated this bundle on this machine."""

    exit_code = 66


@dataclass(frozen=True)
class ChosenRuntime:
    """`label` tells runtimes apart that may give other scores; `open`, which pickles, makes it of arrays."""

    label: str
    open: OpenRuntime


def choose_runtime(settings: Settings, bundle_sha256: str) -> ChosenRuntime:
    """The runtime for a bundle by `scoring.runtime` and `scoring.precision`; says which, and why.

    `auto` is what the calibration of this bundle on this machine chose, float32 where there is none, torch on a GPU.
    Raises NotCalibrated, CalibrationDamaged.
    """
    from packshot.inference.devices import on_cuda

    rules = settings.scoring
    device = settings.training.device
    if rules.runtime == TORCH or (rules.runtime == "auto" and on_cuda(device)):
        return _torch(device, "as it was trained")
    if not Home.from_environment().runtime_of(bundle_sha256).is_dir() and rules.precision == "auto":
        return _uncalibrated("`packshot calibrate` may find a faster way")
    return _openvino(settings, bundle_sha256)


def _torch(device: str, why: str) -> ChosenRuntime:
    from packshot.inference.torch_runtime import open_torch

    say(f"scoring with torch: {why}")
    return ChosenRuntime(TORCH, partial(open_torch, device=device))


def _uncalibrated(why: str) -> ChosenRuntime:
    """Float32, which differs from torch by rounding alone: nothing has to be measured first."""
    from packshot.inference.kept import Machine
    from packshot.inference.openvino_runtime import graphs_of

    return _opened("f32", Machine.here().openvino, graphs_of, f"; {why}")


def _openvino(settings: Settings, bundle_sha256: str) -> ChosenRuntime:
    from packshot.inference.kept import Machine, folder_of, graphs_digest, read_record
    from packshot.inference.openvino_runtime import graphs_of

    rules, folder = settings.scoring, folder_of(bundle_sha256)
    record = read_record(folder, bundle_sha256)
    if record is None and rules.runtime == "auto":
        return _uncalibrated("calibrated for another machine or version; `packshot calibrate` does it again")
    chosen = record.chosen if record is not None and record.chosen != TORCH else "f32"
    wanted = chosen if rules.precision == "auto" else rules.precision
    if record is not None:
        refused = next((each.refused for each in record.measured if each.name == wanted), None)
        if refused:
            say(f"scoring.precision asks for {wanted}, which the calibration refused: {refused}")
        of = f"{record.openvino}, graphs {graphs_digest(folder, wanted)}"
        return _opened(wanted, of, partial(_kept, folder, wanted))
    if wanted == "int8":
        raise NotCalibrated("int8 needs a calibration of this bundle on this machine: run `packshot calibrate`")
    return _opened(wanted, Machine.here().openvino, graphs_of)


def _kept(folder: Path, precision: Precision, source: Source) -> Graphs:
    from packshot.inference.kept import read_graphs

    return read_graphs(folder, precision)


def _opened(precision: Precision, of: str, graphs: Callable[[Source], Graphs], more: str = "") -> ChosenRuntime:
    say(f"scoring with OpenVINO in {precision}{more}")
    return ChosenRuntime(f"openvino {precision} ({of})", partial(_open, precision, graphs))


def _open(precision: Precision, graphs: Callable[[Source], Graphs], source: Source, threads: int) -> Runtime:
    from packshot.inference.openvino_runtime import OpenVinoRuntime

    return OpenVinoRuntime(source, graphs(source), precision, threads)
