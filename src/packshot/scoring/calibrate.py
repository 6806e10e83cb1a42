"""`packshot calibrate`: torch and OpenVINO in each precision on held-out pictures; the fastest that is as good."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from packshot.bundle import Image, Judge, Judgement, read_network
from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import ImageLimits, resolve_inside
from packshot.catalog.texts import row_text
from packshot.config import Profile, ScoringSettings, Settings
from packshot.errors import PackshotError
from packshot.evaluation import metrics as m
from packshot.evaluation.digest import bundle_digest
from packshot.evaluation.heldout import labelled_rows, profile_of
from packshot.evaluation.pairs import IMAGES
from packshot.inference.kept import CalibrationRecord, Machine, Measured, folder_of, keep, read_record
from packshot.inference.looking import PRECISIONS, Precision
from packshot.inference.openvino_runtime import Graphs, OpenVinoRuntime, graphs_of
from packshot.inference.quantise import quantised
from packshot.inference.runtime import OpenRuntime
from packshot.inference.torch_runtime import open_torch
from packshot.model.preprocess import views
from packshot.progress import say, track
from packshot.registry.models import bundle_path
from packshot.scoring.decisions import Scores, decide
from packshot.scoring.verdicts import SCORES

CHUNK = 8
ENHANCED = 4
"""Pictures of the first chunk that are enhanced too."""


class NothingToCalibrateOn(PackshotError):
    """No held-out picture has a human score."""

    exit_code = 65


@dataclass
class Answers:
    """What one runtime said of the held-out rows, in order, and the seconds it took."""

    judged: list[Judgement] = field(default_factory=list)
    enhanced: list[Image] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def quality(self) -> Any:
        return np.array([each.quality for each in self.judged])


def calibrate(
    settings: Settings, model: str, workspace: Path, *, force: bool = False
) -> tuple[CalibrationRecord, bool]:
    """Compare, choose and keep; the record, and whether it was made now.

    A calibration that holds for this bundle and machine is not made again, unless by `force`. Raises HeldOutError where
    a split has no labelled row, NothingToCalibrateOn, MetricError for a score that is no number.
    """
    bundle, _ = bundle_path(settings, model)
    digest = bundle_digest(bundle)
    kept = None if force else read_record(folder_of(digest), digest)
    if kept is not None:
        return kept, False
    profile = profile_of(settings, workspace)
    rows = _held_out(profile, workspace, settings)
    source = read_network(bundle)
    say("calibrate: quantising")
    graphs = graphs_of(source)
    pictures = _pictures_to_quantise(profile, workspace, settings, source.architecture.long_sides)
    int8 = quantised(graphs.features, pictures)
    made = {each: Graphs(int8, graphs.repair) if each == "int8" else graphs for each in PRECISIONS}
    answers = _answers(_judges(bundle, settings, made), rows, settings, workspace)
    measured = compare(answers, rows, settings.scoring)
    machine = Machine.here()
    record = CalibrationRecord(
        bundle_sha256=digest,
        openvino=machine.openvino,
        cpu=list(machine.cpu),
        graphs_sha256=machine.graphs,
        rows=len(rows),
        chosen=fastest(measured).name,
        measured=measured,
    )
    keep(record, graphs, int8)
    return record, True


def fastest(measured: Sequence[Measured]) -> Measured:
    """The fastest that was not refused; torch never is."""
    return max((each for each in measured if each.refused is None), key=lambda each: each.images_per_s)


def _held_out(profile: Profile, workspace: Path, settings: Settings) -> pd.DataFrame:
    splits = [labelled_rows(profile, workspace, split) for split in ("validation", "test")]
    rows = _drawn(pd.concat(splits, ignore_index=True), settings.scoring.calibration_rows, settings.training.seed)
    if rows["quality_mos"].notna().sum() < 3:
        raise NothingToCalibrateOn(
            f"of {len(rows)} held-out pictures with labels in {workspace}, fewer than 3 have a human score: "
            "what a runtime costs in rank correlation cannot be measured"
        )
    return rows


def _drawn(rows: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    return rows.sample(min(count, len(rows)), random_state=seed).reset_index(drop=True)


def _pictures_to_quantise(profile: Profile, workspace: Path, settings: Settings, sides: Sequence[int]) -> list[Image]:
    rows = labelled_rows(profile, workspace, "train")
    drawn = _drawn(rows, settings.scoring.quantisation_pictures, settings.training.seed)
    images = (_picture(row, settings, workspace) for row in drawn.to_dict("records"))
    return [view for image in images for view in {id(each): each for each in views(image, sides)}.values()]


def _picture(row: Mapping[Any, Any], settings: Settings, workspace: Path) -> Image:
    limits = ImageLimits.from_settings(settings.validation)
    return decode(resolve_inside(workspace / IMAGES, str(row["path"])), limits)


def _judges(bundle: Path, settings: Settings, graphs: Mapping[Precision, Graphs]) -> dict[str, Judge]:
    def opener(precision: Precision) -> OpenRuntime:
        return lambda source, threads: OpenVinoRuntime(source, graphs[precision], precision, threads)

    openers: dict[str, OpenRuntime] = {"torch": partial(open_torch, device="cpu")} | {
        each: opener(each) for each in graphs
    }
    threads = settings.training.threads
    return {name: Judge.load(bundle, "cpu", threads, opened) for name, opened in openers.items()}


def _answers(
    judges: Mapping[str, Judge], rows: pd.DataFrame, settings: Settings, workspace: Path
) -> dict[str, Answers]:
    """All judges take turns on the same few pictures, so that what else the machine does slows them alike."""
    found = {name: Answers() for name in judges}
    for chunk in _chunks(track(rows.to_dict("records"), "calibrating")):
        images = [_picture(row, settings, workspace) for row in chunk]
        texts = [row_text(row) for row in chunk]
        ids, groups = [str(row["image_id"]) for row in chunk], [str(row["group"]) for row in chunk]
        for name, judge in judges.items():
            begun = time.perf_counter()
            found[name].judged.extend(judge.judge(images, texts, judge.blind_heads(ids, groups)))
            found[name].seconds += time.perf_counter() - begun
            if not found[name].enhanced:
                found[name].enhanced = [judge.enhance(image) for image in images[:ENHANCED]]
    return found


def _chunks(items: Iterator[dict[Any, Any]]) -> Iterator[list[dict[Any, Any]]]:
    while chunk := list(islice(items, CHUNK)):
        yield chunk


def compare(answers: Mapping[str, Answers], rows: pd.DataFrame, rules: ScoringSettings) -> list[Measured]:
    """Each runtime's answers beside those of `torch`."""
    torch_srcc = _srcc(answers["torch"], rows)
    return [_measured(name, each, answers["torch"], torch_srcc, rows, rules) for name, each in answers.items()]


def _srcc(answers: Answers, rows: pd.DataFrame) -> dict[str, float]:
    scored = rows["quality_mos"].notna()
    frame = rows[scored].assign(quality=answers.quality[scored.to_numpy()])
    return {
        str(name): m.srcc(part["quality"], part["quality_mos"])
        for name, part in frame.groupby("source")
        if len(part) > 2
    }


def _measured(
    name: str,
    answers: Answers,
    torch: Answers,
    torch_srcc: Mapping[str, float],
    rows: pd.DataFrame,
    rules: ScoringSettings,
) -> Measured:
    shift = answers.quality - torch.quality
    srcc = _srcc(answers, rows)
    psnr = min(m.psnr(one, other) for one, other in zip(torch.enhanced, answers.enhanced, strict=True))
    loss = max(torch_srcc[each] - srcc[each] for each in torch_srcc)
    record: dict[str, Any] = {
        "name": name,
        "srcc": srcc,
        "srcc_torch": m.srcc(answers.quality, torch.quality),
        "mean_shift": float(shift.mean()),
        "max_shift": float(np.abs(shift).max()),
        "same_style": _same(torch, answers, lambda judged: judged.style),
        "same_decision": _same(
            torch, answers, lambda judged: decide(_scores(judged), rules, faults=judged.faults).decision
        ),
        "enhanced_psnr": psnr,
        "images_per_s": len(rows) / answers.seconds,
    }
    return Measured(**record, refused=_why_not(loss, float(shift.mean()), psnr, rules))


def _same(torch: Answers, other: Answers, of: Callable[[Judgement], str | None]) -> float:
    return float(np.mean([of(one) == of(two) for one, two in zip(torch.judged, other.judged, strict=True)]))


def _scores(judged: Judgement) -> Scores:
    return Scores(**{name: float(getattr(judged, name)) for name in SCORES})


def _why_not(loss: float, mean_shift: float, psnr: float, rules: ScoringSettings) -> str | None:
    # written so that a NaN is refused
    if not loss <= rules.max_srcc_loss:
        return f"rank correlation falls by {loss:.4f}, allowed is {rules.max_srcc_loss:g}"
    if not abs(mean_shift) <= rules.max_mean_shift:
        return f"scores shift by {mean_shift:+.4f} in the mean, allowed is {rules.max_mean_shift:g}"
    if not psnr >= rules.min_enhanced_psnr:
        return f"enhanced pictures agree to {psnr:.1f} dB, needed are {rules.min_enhanced_psnr:g}"
    return None


def table(record: CalibrationRecord) -> str:
    """The record in lines for a reader."""
    frame = pd.DataFrame(
        {
            "runtime": each.name,
            **{f"SRCC {name}": value for name, value in each.srcc.items()},
            "SRCC to torch": each.srcc_torch,
            "mean shift": each.mean_shift,
            "largest shift": each.max_shift,
            "same style": each.same_style,
            "same decision": each.same_decision,
            "enhanced dB": each.enhanced_psnr,
            "images/s": each.images_per_s,
            "refused": each.refused or "",
        }
        for each in record.measured
    )
    shown = frame.to_string(index=False, float_format=lambda value: f"{value:.4f}")
    return f"{shown}\n{record.rows} held-out pictures; chosen: {record.chosen}"
