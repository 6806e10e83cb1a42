"""How fast the service answers, how much it can, what it does above that, and what the batch engine does beside it.

    python benchmarks/serve_load.py --images FOLDER [--bundle starter] [--rate 5] [--seconds 120] [--json FILE]

Pictures of the folder are written as JPEG of one megapixel. A service is started on loopback; then in one run:

- at `--rate` requests a second, sent when they are due and not when the last was answered, for `--seconds`: times of
  the answers, errors, and the memory of the service and its decoders (PSS) at the beginning and at the end;
- as many as it can: 16 clients that ask again at once, a third of the time; above what it admits it says 503, which is
  counted and asked again after the time it names;
- the batch engine on the same files, and a plain FastAPI application that judges each request by itself, in the order
  in which they come, with the same model: what a service without a queue and without isolation would do.

Rates are by the clock, on all cores that `training.threads` allows; what else the machine did (load) is printed.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import cv2
import httpx
import numpy as np
import psutil
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image
from rich.console import Console
from rich.table import Table

from judged_pictures import Pixels, options, pictures
from packshot.config import load_settings
from packshot.files import write_json
from packshot.progress import say
from packshot.scoring.batch import score
from packshot.scoring.scorer import open_scorer
from packshot.service.keys import Keys

MEGAPIXEL = 1_000_000
QUALITY = 90
CLIENTS = 16
PLAIN = "--plain"


@dataclass
class Answers:
    """Seconds to each answer that came, and how many had which status (0: none came)."""

    seconds: list[float] = field(default_factory=list)
    status: Counter[int] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, status: int, seconds: float) -> None:
        """One answer."""
        with self.lock:
            self.status[status] += 1
            if status == 200:
                self.seconds.append(seconds)

    def at(self, share: float) -> float:
        """Milliseconds within which a share of the answers came."""
        return 1000 * float(np.quantile(self.seconds, share)) if self.seconds else float("nan")


def of_a_megapixel(image: Pixels) -> bytes:
    """A JPEG of the picture at 1,000,000 pixels."""
    scale = (MEGAPIXEL / (image.shape[0] * image.shape[1])) ** 0.5
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    code = io.BytesIO()
    Image.fromarray(cv2.resize(image, size, interpolation=kernel)).save(code, "JPEG", quality=QUALITY)
    return code.getvalue()


def plain(bundle: str, port: int) -> None:
    """The application without a queue: decode and judge in the order in which requests come."""
    from packshot.service.engine import Sent, judged

    settings = load_settings()
    scorer = open_scorer(settings, bundle)
    _ = scorer.judge
    app, turn = FastAPI(), asyncio.Lock()

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {}

    @app.post("/v1/verdicts")
    async def verdicts(request: Request) -> dict[str, object]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "picture"
            file.write_bytes(await request.body())
            async with turn:
                found = await asyncio.to_thread(judged, settings, scorer, [Sent(file, "picture")])
        return {"verdicts": [each.verdict for each in found]}

    uvicorn.run(app, port=port, log_level="error")


@contextmanager
def running(command: list[str]) -> Iterator[tuple[str, psutil.Process]]:
    """A server as a process of its own, once it is ready."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen([*command, str(port)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise SystemExit(f"{command} ended with {process.returncode}")
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def memory_mib(process: psutil.Process) -> float:
    """PSS of a process and all its children."""
    return sum(each.memory_full_info().pss for each in [process, *process.children(recursive=True)]) / 2**20


def ask(client: httpx.Client, content: bytes, answers: Answers) -> float:
    """One question; the seconds after which it may be asked again where it was not answered."""
    begun = time.perf_counter()
    try:
        answer = client.post("/v1/verdicts", content=content, headers={"Content-Type": "image/jpeg"})
    except httpx.TransportError:
        answers.note(0, 0.0)
        return 0.0
    answers.note(answer.status_code, time.perf_counter() - begun)
    return float(answer.headers.get("Retry-After", 0)) if answer.status_code in (429, 503) else 0.0


def at_a_rate(client: httpx.Client, contents: list[bytes], rate: float, seconds: float) -> Answers:
    """Questions sent when they are due, whatever became of those before."""
    answers, begun = Answers(), time.perf_counter()
    with ThreadPoolExecutor(256) as pool:
        for number, content in zip(range(int(rate * seconds)), cycle(contents), strict=False):
            time.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            pool.submit(ask, client, content, answers)
    return answers


def as_many_as_it_can(client: httpx.Client, contents: list[bytes], seconds: float) -> tuple[Answers, float]:
    """CLIENTS that ask again at once; with the pictures a second that were answered."""
    answers, begun = Answers(), time.perf_counter()

    def one(place: int) -> None:
        for content in cycle(contents[place % len(contents) :] + contents[: place % len(contents)]):
            if time.perf_counter() - begun > seconds:
                return
            time.sleep(ask(client, content, answers))

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one, range(CLIENTS)))
    return answers, answers.status[200] / (time.perf_counter() - begun)


def of_the_batch(bundle: str, contents: list[bytes]) -> float:
    """Pictures a second of `score`, by the clock, its first run left out."""
    settings = load_settings()
    scorer = open_scorer(settings, bundle)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "in"
        folder.mkdir()
        for number, content in enumerate(contents * max(1, 96 // len(contents))):
            (folder / f"{number:04d}.jpg").write_bytes(content)
        count, times = len(list(folder.iterdir())), []
        for turn in range(2):
            begun = time.perf_counter()
            score(settings, folder, Path(scratch) / f"out{turn}", scorer=scorer)
            times.append(time.perf_counter() - begun)
    return count / times[-1]


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == [PLAIN]:
        plain(sys.argv[2], int(sys.argv[3]))
        return
    parser = options(__doc__ or "", 32)
    parser.add_argument("--rate", type=float, default=5, help="requests a second (default 5)")
    parser.add_argument("--seconds", type=float, default=120, help="at that rate (default 120)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    bundle = str(given.bundle)
    contents = [of_a_megapixel(image) for image in pictures(given.images, given.seed, given.count)]
    with tempfile.TemporaryDirectory() as home:
        os.environ["PACKSHOT_HOME"] = home
        os.environ |= {"PACKSHOT__SERVICE__RATE_PER_S": "10000", "PACKSHOT__SERVICE__BURST": "10000"}
        key = Keys().add("load", "score", None)
        found = measured(bundle, contents, key, given.rate, given.seconds)
    show(found, given.rate, len(contents))
    if given.json:
        write_json(given.json, found)


def measured(bundle: str, contents: list[bytes], key: str, rate: float, seconds: float) -> dict[str, float]:
    """The figures by name."""
    headers, packshot = {"Authorization": f"Bearer {key}"}, [sys.executable, "-m", "packshot.cli"]
    limits = httpx.Limits(max_connections=300, max_keepalive_connections=300)
    client: Callable[[str], httpx.Client] = lambda url: httpx.Client(  # noqa: E731
        base_url=url, headers=headers, timeout=120, limits=limits
    )
    found: dict[str, float] = {"load_before": os.getloadavg()[0]}
    with running([*packshot, "serve", "--model", bundle, "--port"]) as (url, process), client(url) as asked:
        at_a_rate(asked, contents, rate, 5)  # everything is loaded then
        found["memory_begin_mib"] = memory_mib(process)
        say(f"{rate:g} requests a second for {seconds:g} s")
        steady = at_a_rate(asked, contents, rate, seconds)
        found["memory_end_mib"] = memory_mib(process)
        found |= {f"p{share}_ms": steady.at(share / 100) for share in (50, 95, 99)}
        found["errors"] = steady.status.total() - steady.status[200]
        say(f"as many as it can for {seconds / 3:g} s")
        full, found["saturated_per_s"] = as_many_as_it_can(asked, contents, seconds / 3)
        found["shed"] = full.status[503]
        found["saturated_errors"] = full.status.total() - full.status[200] - full.status[503]
        found["saturated_p95_ms"] = full.at(0.95)
    with running([sys.executable, __file__, PLAIN, bundle]) as (url, _), client(url) as asked:
        say("a plain application, likewise")
        at_a_rate(asked, contents, rate, 5)
        found["plain_p95_ms"] = at_a_rate(asked, contents, rate, seconds / 4).at(0.95)
        _, found["plain_saturated_per_s"] = as_many_as_it_can(asked, contents, seconds / 6)
    found["batch_per_s"] = of_the_batch(bundle, contents)
    return found | {"load_after": os.getloadavg()[0]}


def show(found: dict[str, float], rate: float, count: int) -> None:
    """The figures as a table."""
    table = Table("", "service", "plain FastAPI", title=f"{count} JPEGs of one megapixel, {os.cpu_count()} cores")
    table.add_row(f"p50 / p95 / p99 at {rate:g}/s, ms", " / ".join(f"{found[f'p{n}_ms']:.0f}" for n in (50, 95, 99)),
                  f"– / {found['plain_p95_ms']:.0f} / –")  # fmt: skip
    table.add_row("errors", f"{found['errors']:.0f}", "")
    table.add_row("memory, MiB", f"{found['memory_begin_mib']:.0f} to {found['memory_end_mib']:.0f}", "")
    table.add_row("at most, pictures/s", f"{found['saturated_per_s']:.1f}", f"{found['plain_saturated_per_s']:.1f}")
    table.add_row("batch engine, pictures/s", f"{found['batch_per_s']:.1f}", "")
    table.add_row("share of the batch engine", f"{found['saturated_per_s'] / found['batch_per_s']:.2f}", "")
    table.add_row("told to come again, failed", f"{found['shed']:.0f}, {found['saturated_errors']:.0f}", "")
    Console(width=110).print(table)
    print(f"load before {found['load_before']:.1f}, after {found['load_after']:.1f}")


if __name__ == "__main__":
    main()
