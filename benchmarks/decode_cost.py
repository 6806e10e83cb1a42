"""CPU time of decoding in worker processes, beside that of decoding in the process itself, in one run.

    python benchmarks/decode_cost.py [--seconds 6]

Photograph-like JPEGs of several sizes are read as a batch reads (`read_ahead`), by turns with a pool of processes and
with threads that decode where they are, as it would be without isolation. CPU time is user and system time of this
process and all workers together. For the whole verdict that of judging with a real network of the champion's kind,
with two views of a picture, is added to both.

Printed a picture: CPU ms of both, and their ratio for decoding alone and for a whole verdict. Then the time until a
progressive JPEG of 20,000 scans is refused, which takes minutes to decode.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from packshot.catalog import image
from packshot.catalog.decoding import isolated
from packshot.catalog.decoding.attempts import Attempts
from packshot.catalog.decoding.pool import TIERS_MP, Admission, Decoders, Found, at_once, decoders
from packshot.catalog.limits import DECODABLE, BadImage, ImageLimits
from packshot.progress import say
from packshot.scoring import reading
from packshot.scoring.listing import BatchFile

SIZES = {"0.2 MP": (533, 400), "1 MP": (1000, 1000), "12 MP": (3000, 4000)}
FILES = 12
ROUNDS = 4
LIMITS = ImageLimits(64, 64, 1, DECODABLE)


def make_pictures(folder: Path, size: tuple[int, int]) -> list[BatchFile]:
    """FILES JPEGs of soft shapes and fine noise, with as many bytes a pixel as photographs have."""
    folder.mkdir(parents=True)
    random, found = np.random.default_rng(17), []
    for number in range(FILES):
        small = random.integers(0, 256, (size[0] // 20, size[1] // 20, 3), dtype=np.uint8)
        soft = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
        noisy = np.clip(soft + random.normal(0, 6, size)[..., None], 0, 255).astype(np.uint8)
        path = folder / f"{number}.jpg"
        Image.fromarray(noisy).save(path, quality=85)
        state = path.stat()
        found.append(BatchFile(path.name, path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino))
    return found


def cpu_ms(run: Callable[[], object]) -> float:
    """User and system time of this process and its children while something runs."""
    before = _cpu()
    run()
    return 1000 * (_cpu() - before)


def _cpu() -> float:
    own = os.times()
    children = (child.cpu_times() for child in psutil.Process().children(recursive=True))
    return own.user + own.system + sum(times.user + times.system for times in children)


class InProcess(Decoders):
    """Decodes in the thread that asks."""

    def call(
        self,
        function: Callable[..., Found],
        source: Path | bytes,
        limits: ImageLimits,
        admit: Admission = at_once,
        attempts: Attempts | None = None,
    ) -> Found:
        """`function(source, limits)`."""
        del attempts
        with admit(TIERS_MP[0]) as arrived:
            found = function(source, limits)
            arrived(found)
            return found


def read_all(files: list[BatchFile], by: Decoders) -> None:
    """As a batch does."""
    here = mock.patch.object(isolated, "decoders", lambda: by)
    with here, mock.patch.object(reading, "decoders", lambda: by):
        for opened in reading.read_ahead(iter(files), files[0].location.parent, LIMITS):
            assert opened.pixels is not None
            del opened


def judging(files: list[BatchFile]) -> float:
    """CPU ms a picture of a network with all parts, after one that is not counted."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/helpers"))
    from small_network import save_small_bundle, small_architecture

    from packshot.bundle import Judge

    with tempfile.TemporaryDirectory(prefix="packshot-judge-") as scratch:
        save_small_bundle(Path(scratch) / "bundle", small_architecture(long_sides=(256, 512)))
        judge = Judge.load(Path(scratch) / "bundle", "cpu", 1)
        pixels = image.decode(files[0].location, LIMITS)
        judge.judge([pixels])
        return cpu_ms(lambda: [judge.judge([pixels]) for _ in range(4)]) / 4


def rows(seconds: float) -> Iterator[tuple[str, float, float, float]]:
    """Of each size: CPU ms a picture in the process, by the pool, and of judging."""
    readers = InProcess(decoders().workers), decoders()
    with tempfile.TemporaryDirectory(prefix="packshot-cost-") as scratch:
        for name, size in SIZES.items():
            files = make_pictures(Path(scratch) / name, size)
            first = cpu_ms(partial(read_all, files, readers[0]))
            many = files * max(1, int(1000 * seconds / ROUNDS / first))
            for reader in readers:
                read_all(many, reader)
            spent = [0.0, 0.0]
            for turn in range(2 * ROUNDS):
                spent[turn % 2] += cpu_ms(partial(read_all, many, readers[turn % 2]))
            here, there = (total / ROUNDS / len(many) for total in spent)
            yield name, here, there, judging(files)


def many_scans(count: int) -> bytes:
    """A progressive JPEG of 9 MP in so many scans."""
    content = io.BytesIO()
    Image.new("RGB", (3000, 3000), (90, 120, 150)).save(content, "JPEG", progressive=True)
    whole = content.getvalue()
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * (count - whole.count(b"\xff\xda")) + whole[-2:]


def say_refusal() -> None:
    """Have the file of many scans refused, by the pool."""
    content, begun = many_scans(20_000), time.monotonic()
    try:
        isolated.decode(content, LIMITS)
    except BadImage as bad:
        say(f"{len(content) / 1e6:.1f} MB, 20,000 scans: {bad.reason} after {time.monotonic() - begun:.2f} s")


def main() -> None:
    """Measure each size and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="CPU time that decoding a size in the process takes")
    given = parser.parse_args()
    table = Table("size", "in the process, ms", "by the pool, ms", "ratio", "judging, ms", "ratio of a whole verdict")
    for name, here, there, judged in rows(given.seconds):
        whole = (there + judged) / (here + judged)
        table.add_row(name, f"{here:.2f}", f"{there:.2f}", f"{there / here:.2f}", f"{judged:.0f}", f"{whole:.3f}")
    Console().print(table)
    say_refusal()


if __name__ == "__main__":
    main()
