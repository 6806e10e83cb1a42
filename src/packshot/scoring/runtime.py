"""Which runtime scores: torch, or OpenVINO in the precision that a calibration chose."""

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

if TYPE_CHECKING:  # torch takes seconds to import: only once it is known which model scores
    from packshot.inference.openvino_runtime import Graphs, Precision
    from packshot.inference.runtime import OpenRuntime, Runtime
    from packshot.model.network import PackshotNet

TORCH: Final = "torch"


class NotCalibrated(PackshotError):
    """Int8 is asked for, and nobody has calibrated this bundle on this machine."""

    exit_code = 66


@dataclass(frozen=True)
class ChosenRuntime:
    """`label` tells runtimes apart that may give other scores; `open`, which pickles, makes it of a loaded network."""

    label: str
    open: OpenRuntime


def choose_runtime(settings: Settings, bundle_sha256: str) -> ChosenRuntime:
    """The runtime for a bundle by `scoring.runtime` and `scoring.precision`; says which, and why.

    `auto` is what the calibration of this bundle on this machine chose, torch where there is none or on a GPU.
    Raises NotCalibrated, CalibrationDamaged.
    """
    from packshot.bundle import choose_device

    rules = settings.scoring
    on_cpu = choose_device(settings.training.device).type == "cpu"
    if rules.runtime == TORCH or (rules.runtime == "auto" and not on_cpu):
        return _torch("as it was trained")
    if rules.runtime == "auto" and not Home.from_environment().runtime_of(bundle_sha256).is_dir():
        return _torch("`packshot calibrate` may find a faster way")
    return _openvino(settings, bundle_sha256)


def _torch(why: str) -> ChosenRuntime:
    from packshot.inference.runtime import TorchRuntime

    say(f"scoring with torch: {why}")
    return ChosenRuntime(TORCH, TorchRuntime)


def _openvino(settings: Settings, bundle_sha256: str) -> ChosenRuntime:
    from packshot.inference.kept import Machine, folder_of, graphs_digest, read_record
    from packshot.inference.openvino_runtime import graphs_of

    rules, folder = settings.scoring, folder_of(bundle_sha256)
    record = read_record(folder, bundle_sha256)
    if record is None and rules.runtime == "auto":
        return _torch("the bundle was calibrated for another machine or version; `packshot calibrate` does it again")
    chosen = record.chosen if record is not None else "f32"
    if chosen == TORCH and rules.runtime == "openvino":
        chosen = "f32"
    wanted = chosen if rules.precision == "auto" else rules.precision
    if wanted == TORCH:
        return _torch("the calibration found nothing faster that is as good")
    if record is not None:
        refused = next((each.refused for each in record.measured if each.name == wanted), None)
        if refused:
            say(f"scoring.precision asks for {wanted}, which the calibration refused: {refused}")
        of = f"{record.openvino}, graphs {graphs_digest(folder, wanted)}"
        return _opened(wanted, of, partial(_kept, folder, wanted))
    if wanted == "int8":
        raise NotCalibrated("int8 needs a calibration of this bundle on this machine: run `packshot calibrate`")
    return _opened(wanted, Machine.here().openvino, graphs_of)


def _kept(folder: Path, precision: Precision, network: PackshotNet) -> Graphs:
    from packshot.inference.kept import read_graphs

    return read_graphs(folder, precision)


def _opened(precision: Precision, of: str, graphs: Callable[[PackshotNet], Graphs]) -> ChosenRuntime:
    say(f"scoring with OpenVINO in {precision}")
    return ChosenRuntime(f"openvino {precision} ({of})", partial(_open, precision, graphs))


def _open(precision: Precision, graphs: Callable[[PackshotNet], Graphs], network: PackshotNet, threads: int) -> Runtime:
    from packshot.inference.openvino_runtime import OpenVinoRuntime

    return OpenVinoRuntime(network, graphs(network), precision, threads)
