"""How many pictures a second the batch engine judges, where the time goes, and what the same cores do otherwise.

    python benchmarks/engine_rate.py --images FOLDER [--bundle starter] [--cleanvision FOLDER] [--json FILE]

Pictures of the folder are written as JPEG of 400 x 533 pixels; all contenders work on the same files, on as many cores
as `training.threads` says, and take turns in each repetition. Rates are `cores / CPU seconds`, at the least CPU time of
the repetitions: what they would be were the machine idle. Wall-clock rates stand beside them, and what else the machine
did (load) is printed. "Bare network" is the backbone alone, in OpenVINO, at the views that the judge looks at: the
share of the work that cannot be saved. CleanVision is taken from a folder that
`pip install --no-deps --target FOLDER -r requirements-cleanvision.txt` filled; it runs all its checks and no network.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import openvino as ov
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from judged_pictures import Pixels, options, pictures
from packshot.bundle import Judge, read_network
from packshot.catalog.image import ImageLimits, decode
from packshot.catalog.statistics import image_statistics
from packshot.config import Settings, load_settings
from packshot.evaluation.digest import bundle_digest
from packshot.files import write_json
from packshot.inference.converted_graph import EXAMPLE, converted
from packshot.inference.heads import Heads
from packshot.inference.looking import PRECISIONS, Precision, Requests
from packshot.inference.openvino_runtime import Graphs, OpenVinoRuntime, graphs_of, open_openvino
from packshot.inference.quantise import quantised
from packshot.inference.signal_on_cpu import signal_on_cpu
from packshot.inference.torch_runtime import open_torch
from packshot.inference.weights import Source
from packshot.model.backbone import Backbone
from packshot.model.parallel import each_on_one_core, keep_freed_memory, one_core, worker_count
from packshot.model.preprocess import views
from packshot.progress import say
from packshot.registry.lineage import Lineage
from packshot.scoring.batch import score
from packshot.scoring.judging import Scorer
from packshot.trained import read_trained

SIZE = (400, 533)
JPEG = 90
TO_QUANTISE = 24
Work = Callable[[], object]


@dataclass
class Taken:
    """Least seconds of one contender over the repetitions: by the clock, and of all its cores together."""

    wall: float = float("inf")
    cpu: float = float("inf")

    def note(self, work: Work) -> None:
        before, begun = os.times(), time.perf_counter()
        work()
        after = os.times()
        self.wall = min(self.wall, time.perf_counter() - begun)
        self.cpu = min(self.cpu, sum(after[:4]) - sum(before[:4]))


def written(images: Sequence[Pixels], folder: Path) -> list[Path]:
    """The pictures as JPEG of SIZE, upright."""
    files = [folder / f"{place:04d}.jpg" for place in range(len(images))]
    for file, image in zip(files, images, strict=True):
        shrunk = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(file), cv2.cvtColor(shrunk, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG])
    return files


class Bare(nn.Module):
    """A backbone to its last maps."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values = pixels.permute(0, 3, 1, 2).float().div(255.0)
        return tuple(member(values)[-1] for member in self.backbone.members)


def bare_networks(bundle: Path, shown: Sequence[Pixels]) -> dict[Precision, Any]:
    """The backbone alone in each precision."""
    example = torch.zeros(1, *EXAMPLE, 3, dtype=torch.uint8)
    bare = converted(Bare(read_trained(bundle).backbone), (example,), [ov.PartialShape([1, -1, -1, 3])])
    return {"f32": bare, "bf16": bare, "int8": quantised(bare, shown[:TO_QUANTISE])}


def networks(judge: Judge, bundle: Path, images: Sequence[Pixels], threads: int) -> dict[str, Work]:
    """The bare network in each precision."""
    sides = judge.bundle.architecture.long_sides
    distinct = [list({id(view): view for view in views(image, sides)}.values()) for image in images]
    found: dict[str, Work] = {}
    for precision, graph in bare_networks(bundle, [view for each in distinct for view in each]).items():
        requests = Requests(graph, "f32" if precision == "int8" else precision, threads)
        found[f"bare network, {precision}"] = partial(asked, requests, distinct, worker_count(threads))
    return found


def asked(requests: Requests, distinct: Sequence[Sequence[Pixels]], cores: int) -> None:
    """All views of all pictures through a compiled graph."""

    def one(shown: Sequence[Pixels]) -> None:
        with requests.one() as request:
            for view in shown:
                request(view[None])

    deque(each_on_one_core(one, distinct, cores), maxlen=0)


def judges(bundle: Path, images: Sequence[Pixels], threads: int) -> dict[str, Judge]:
    """The judge in torch and in OpenVINO, by name."""
    source = read_network(bundle)
    graphs = graphs_of(source)
    shown = [view for image in images[:TO_QUANTISE] for view in views(image, source.architecture.long_sides)]
    int8 = Graphs(quantised(graphs.features, shown[:TO_QUANTISE]), graphs.repair)
    found = {"torch": Judge.load(bundle, "cpu", threads, open_torch)}
    for precision in PRECISIONS:
        chosen = int8 if precision == "int8" else graphs
        found[precision] = Judge.load(bundle, "cpu", threads, partial(opened, chosen, precision))
    return found


def opened(graphs: Graphs, precision: Precision, source: Source, threads: int) -> OpenVinoRuntime:
    """An OpenRuntime of graphs that are there."""
    return OpenVinoRuntime(source, graphs, precision, threads)


def engines(judge: Judge, name: str, bundle: Path, folder: Path, out: Path, settings: Settings) -> dict[str, Work]:
    """Full verdicts: with what the rules of the settings enhance, and where every picture is accepted."""
    scorer = Scorer(
        lambda: judge, Lineage("benchmark", None, None, None, None, None), bundle_digest(bundle), runtime=name
    )
    accepted = settings.model_copy(
        update={"scoring": settings.scoring.model_copy(update={"accept_at": 0.0, "review_width": 1.0})}
    )
    fresh = count()

    def run(rules: Settings) -> None:
        score(rules, folder, out / f"{name}-{next(fresh)}", scorer=scorer)

    return {
        f"verdicts, {name}": lambda: run(accepted),
        f"verdicts with enhancing, {name}": lambda: run(settings),
    }


def clean_vision(package: Path, folder: Path, cores: int) -> Work:
    """All checks of CleanVision over the folder."""
    sys.path.append(str(package))
    from cleanvision import Imagelab

    def run() -> None:
        with redirect_stdout(sys.stderr):
            Imagelab(data_path=str(folder)).find_issues(n_jobs=cores, verbose=False)

    return run


def stages(judge: Judge, bundle: Path, files: Sequence[Path], images: Sequence[Pixels], out: Path) -> dict[str, Work]:
    """The parts of a verdict that are not the network, each on one core."""
    sides = judge.bundle.architecture.long_sides
    limits = ImageLimits.from_settings(load_settings().validation)
    source = read_network(bundle)
    features = open_openvino(source, 0).features(images[:1])
    above = Heads(source)

    def heads() -> None:
        with one_core():
            for _ in images:
                above.perceive(features)

    def of_each(work: Callable[[Any], Any], items: Sequence[Any]) -> Work:
        return lambda: [work(each) for each in items]

    return {
        "decoding": of_each(lambda file: decode(file, limits), files),
        "views": of_each(lambda image: views(image, sides), images),
        "signal statistics": of_each(signal_on_cpu, [views(image, sides)[0] for image in images]),
        "heads": heads,
        "plain statistics": of_each(image_statistics, images),
    }


def measured(works: Mapping[str, Work], repetitions: int) -> dict[str, Taken]:
    """Every contender once unmeasured, then in turns."""
    found = {name: Taken() for name in works}
    for repetition in range(repetitions + 1):
        for name, work in works.items():
            (found[name] if repetition else Taken()).note(work)
        say(f"repetition {repetition} of {repetitions}; load {os.getloadavg()[0]:.1f}")
    return found


def rates(found: Mapping[str, Taken], pictures_: int, cores: int) -> dict[str, float]:
    """Images a second by CPU time; `verdicts, bf16` is under `verdicts/bf16`, CleanVision under `cleanvision`."""
    return {name.lower().replace(", ", "/"): cores * pictures_ / taken.cpu for name, taken in found.items()}


def print_rates(found: Mapping[str, Taken], pictures_: int, cores: int) -> None:
    """One line a contender, with its ratios to the bare network of its precision and to CleanVision."""
    title = f"{pictures_} JPEGs of {SIZE[0]} x {SIZE[1]}, {cores} cores, OpenVINO {ov.get_version()}"
    columns = ("", "images/s", "by the clock", "CPU ms/image", "to bare network", "to CleanVision")
    table = Table(title=title)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for name, taken in found.items():
        bare = found.get(f"bare network, {name.rpartition(', ')[2]}")
        table.add_row(
            name,
            f"{cores * pictures_ / taken.cpu:.1f}",
            f"{pictures_ / taken.wall:.1f}",
            f"{1000 * taken.cpu / pictures_:.1f}",
            f"{bare.cpu / taken.cpu:.2f}" if bare and bare is not taken else "",
            f"{found['CleanVision'].cpu / taken.cpu:.2f}" if "CleanVision" in found else "",
        )
    Console(width=120).print(table)


def main() -> None:
    """Measure and print."""
    parser = options(__doc__ or "", 64)
    parser.add_argument("--cleanvision", type=Path, help="folder that holds the package cleanvision")
    parser.add_argument("--repetitions", type=int, default=3, help="of each contender (default 3)")
    parser.add_argument("--json", type=Path, help="write the rates there too: images/s by CPU time, by contender")
    parser.add_argument("--only", default="torch,f32,bf16,int8", help="runtimes, comma-separated")
    given = parser.parse_args()
    settings = load_settings()
    threads = settings.training.threads
    cores = worker_count(threads)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary) / "in", Path(temporary) / "out"
        folder.mkdir()
        files = written(pictures(given.images, given.seed, given.count), folder)
        limits = ImageLimits.from_settings(settings.validation)
        images = [decode(file, limits) for file in files]
        wanted = given.only.split(",")
        chosen = {name: each for name, each in judges(given.bundle, images, threads).items() if name in wanted}
        some = next(iter(chosen.values()))
        works = networks(some, given.bundle, images, threads)
        works |= {f"judge, {name}": partial(judge.judge, images) for name, judge in chosen.items()}
        for name, judge in chosen.items():
            works |= engines(judge, name, given.bundle, folder, out, settings)
        if given.cleanvision:
            works["CleanVision"] = clean_vision(given.cleanvision, folder, cores)
        before = os.getloadavg()
        found = measured(works, given.repetitions)
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        parts = measured(stages(some, given.bundle, files, images, out), given.repetitions)
    print_rates(found, len(files), cores)
    if given.json:
        write_json(given.json, rates(found, len(files), cores))
    table = Table("part of a verdict", "CPU ms/image", title="on one core")
    for name, taken in parts.items():
        table.add_row(name, f"{1000 * taken.cpu / len(files):.2f}")
    Console(width=120).print(table)
    print(f"load before {before[0]:.1f}, after {os.getloadavg()[0]:.1f}; above {cores} the machine was shared")


if __name__ == "__main__":
    main()
